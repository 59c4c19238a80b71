"""A child that keeps sessions as Python does: dicts in lists in a dict. Prints the bytes they take.

python -m scripts.benchmark.dicts SESSIONS MESSAGES < LINES
"""

import json
import os
import sys
from itertools import cycle, islice

from scripts.benchmark.cpu import rss_bytes


def main() -> None:
    """Fill, and print how the resident memory grew."""
    sessions, messages = map(int, sys.argv[1:])
    source = cycle(sys.stdin.buffer.read().splitlines())
    empty = rss_bytes(os.getpid())
    kept = {
        f"s{n}": [json.loads(line) for line in islice(source, messages)] for n in range(sessions)
    }
    print(rss_bytes(os.getpid()) - empty, len(kept))


if __name__ == "__main__":
    main()
