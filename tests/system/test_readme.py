"""The README's commands, run as they stand there, give the answers that stand there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import start_service
from tests.servers import start_server

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
BASH = shutil.which("bash") or "bash"
VOLATILE = (
    (r'\\"[A-Za-z0-9_-]{8}-(\d+)\\"', r"ETAG-\1"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r'"request_id":"\w+"', "REQUEST"),
)


def commands() -> list[tuple[str, str]]:
    """Every `$ command` of the console block, with the answer below it."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    parts = re.findall(r"^\$ (.*)\n([^$]*)", "".join(blocks), re.MULTILINE)
    return [(command, answer.strip()) for command, answer in parts]


def steady(answer: str) -> str:
    """An answer without what differs from run to run."""
    for pattern, word in VOLATILE:
        answer = re.sub(pattern, word, answer)
    return answer.strip()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's commands need curl")
def test_the_commands_of_the_readme_give_the_answers_that_it_shows() -> None:
    assert len(commands()) == 5
    with start_server("valkey") as server, start_service(REDIS_URL=server.url) as service:
        service.wait_until_connected()
        for command, answer in commands():
            line = command.replace("localhost:8000", f"127.0.0.1:{service.port}")
            line = line.replace("curl ", "curl --silent ", 1)
            run = subprocess.run([BASH, "-c", line], capture_output=True, text=True, check=True)
            assert steady(run.stdout) == steady(answer), command
