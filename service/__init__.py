"""Ballast: sessions and chat history of bots, in Redis, inside the dyno's quota."""

__version__ = "0.1.0"
