"""A process that nearly uses up the quota that it shares, so that the highest tier must act.

    python -m scripts.storming.neighbour USAGE_FILE MARK_BYTES

It takes memory until the whole group is at the mark, keeps it, gives it back, and begins again.
"""

import sys
import time
from pathlib import Path

STEP_BYTES = 1_048_576
STEP_SECONDS = 0.005
HOLD_SECONDS = 6.0
"""The service takes what others use as the middle of the last 5 s: the kernel's sum lags."""


def fill(usage: Path, mark_bytes: int) -> list[bytearray]:
    """Take memory until the group is at the mark, at most so much as that is."""
    taken: list[bytearray] = []
    while int(usage.read_text()) < mark_bytes and len(taken) * STEP_BYTES < mark_bytes:
        taken.append(bytearray(b"x") * STEP_BYTES)
        time.sleep(STEP_SECONDS)
    return taken


def main() -> None:
    """Take and give back until somebody ends us."""
    usage, mark_bytes = Path(sys.argv[1]), int(sys.argv[2])
    while True:
        taken = fill(usage, mark_bytes)
        time.sleep(HOLD_SECONDS)
        taken.clear()
        time.sleep(HOLD_SECONDS)


if __name__ == "__main__":
    main()
