"""Memory of this process: its quota, its use, and the governor that keeps one below the other."""
