"""Memory of this process: its quota, its use, and what keeps one below the other.

counting    plan, admission, accounts, listeners: what may be held, and what is
probes      quota, usage, group_usage, tree_usage, kept_file, machine, heap: what is used
governing   governor, cascade, advanced, plain, record, policy, tiers, growth, pace; cleanup, levers
leaks       leak, allocations
"""
