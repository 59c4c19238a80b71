"""The crash rehearsal in small: nothing that was acknowledged is lost, and the count is true."""

import subprocess
from pathlib import Path

import pytest

from tests.processes import run_script

MESSAGES = 1_500


def rehearse(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_script("scripts.crashing", *arguments)


def rows(table: str) -> dict[str, list[int]]:
    """The figures of each round: acknowledged, unknown, found, lost, invented or doubled."""
    lines = [line.split() for line in table.splitlines()]
    return {
        words[0]: [int(word.replace(",", "")) for word in words[1:]]
        for words in lines
        if words and words[0] in {"service", "both", "control"}
    }


@pytest.mark.timeout(90)
def test_a_killed_service_loses_nothing_that_was_acknowledged() -> None:
    ended = rehearse("--messages", str(MESSAGES), "--sessions", "20", "--clients", "8")
    acknowledged, unknown, found, lost, wrong = rows(ended.stdout)["service"]

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert acknowledged + unknown == MESSAGES
    assert 0 <= unknown <= 8 * 2  # at most what the clients had under way at the two cuts
    assert (found, lost, wrong) == (acknowledged, 0, 0)
    control_acknowledged, _, control_found, control_lost, _ = rows(ended.stdout)["control"]
    assert (control_found, control_lost) == (0, control_acknowledged)
    assert control_acknowledged >= MESSAGES // 2


def test_a_chat_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    chat = tmp_path / "chat.jsonl"
    chat.write_text('{"sender": "ada", "text": "hi", "ts": 1}\nnot json\n')
    ended = rehearse(str(chat))

    assert ended.returncode == 2
    assert f"{chat}:2 is no JSON object" in ended.stderr
