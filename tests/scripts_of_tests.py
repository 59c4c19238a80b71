"""Scripts of tests, for calls whose effect can be counted."""

from hashlib import sha1

from service.store.scripts import Script


def script_of(source: bytes, *, writes: bool = True) -> Script:
    """Return a script as the store has them."""
    sha = sha1(source, usedforsecurity=False).hexdigest().encode()
    return Script(source, sha, writes=writes)


ECHO = script_of(b"return {ARGV[1]}", writes=False)
COUNT = script_of(b"return {redis.call('INCR', KEYS[1])}")
