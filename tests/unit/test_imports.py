"""What is loaded at the start: each requirement, so that one that is missing is told then."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LATE = {"service.http.openapi.document", "tracemalloc", "statistics"}
NAMES = {"typing_extensions", "async-timeout"}
"""Requirements that only some versions of Python load."""


def loaded_by(program: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}; print(*sys.modules)"],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
        text=True,
    )
    return set(done.stdout.split())


def test_each_requirement_is_loaded_at_the_start_and_what_is_seldom_asked_for_is_not() -> None:
    loaded = loaded_by("import service.__main__, uvloop")
    pins = re.findall(r"^([\w-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert {pin for pin in pins if pin not in NAMES} - loaded == {"h11", "idna"}
    assert not LATE & loaded


def test_what_is_loaded_late_would_be_seen() -> None:
    names = ", ".join(sorted(LATE))
    assert loaded_by(f"import {names}") >= LATE
