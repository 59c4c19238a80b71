"""The load generator wrk, where it is installed: it takes less of a small machine than ours."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmark.figures import BenchmarkError, Load
from scripts.benchmark.generator import HOST

SCRIPT = Path(__file__).with_name("wrk.lua")


def is_installed() -> bool:
    """Whether there is a wrk to run."""
    return shutil.which("wrk") is not None


def drive(port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> Load:
    """Send the requests in turn for so long. Raises BenchmarkError on an answer that is no 2xx."""
    with tempfile.NamedTemporaryFile(prefix="ballast-requests-") as file:
        for request in requests:
            file.write(b"%d\n%s" % (len(request), request))
        file.flush()
        whole = max(1, round(seconds))  # wrk takes no others
        command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{whole}s", "-s", str(SCRIPT)]
        command += [f"http://{HOST}:{port}", "--", file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return read_output(done.stdout)


def read_output(output: str) -> Load:
    """Read what the script printed at the end."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise BenchmarkError(f"wrk said nothing that can be read: {output[-400:]}")
    found = json.loads(lines[-1])
    if found.pop("errors") or not found["requests"]:
        raise BenchmarkError(f"wrk met answers that are no 2xx, or none: {output[-400:]}")
    return Load(**found)
