"""A wrong clock and a slow disk for one process: a small library that is loaded before libc."""

import shutil
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
KNOBS = struct.Struct("=qq")


def compiler() -> str | None:
    """Find a C compiler; None = there is none, and neither can be made here."""
    return shutil.which("cc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shim:
    """The library and its knobs, which may be turned while the process runs."""

    library: Path
    knobs: Path

    @property
    def environ(self) -> Mapping[str, str]:
        """Variables of the environment that let a process obey it."""
        return {"LD_PRELOAD": str(self.library), "FAULT_KNOBS": str(self.knobs)}

    def turn(self, *, clock_seconds: int = 0, fsync_ms: int = 0) -> None:
        """Put the wall clock off by some seconds, and let each fsync take longer."""
        with self.knobs.open("r+b") as file:  # in place: the process has it mapped
            file.write(KNOBS.pack(clock_seconds, fsync_ms))


def build_shim(directory: Path) -> Shim:
    """Compile the library into a directory; needs a `compiler`."""
    shim = Shim(library=directory / "shim.so", knobs=directory / "knobs")
    shim.knobs.write_bytes(KNOBS.pack(0, 0))
    words = [str(compiler()), "-O1", "-shared", "-fPIC", "-o", str(shim.library), str(SOURCE)]
    subprocess.run(words, check=True)
    return shim
