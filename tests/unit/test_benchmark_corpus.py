import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

from scripts.benchmark import corpus
from scripts.benchmark.calls import (
    MESSAGE,
    MESSAGE_BYTES,
    PRE_KEY_BYTES,
    PRE_KEYS,
    Operation,
    Peer,
    pad,
    requests,
)
from scripts.benchmark.corpus import append, even, histories, load_chat, login, turns, uneven
from scripts.benchmark.cpu import TICK_SECONDS, cpu_seconds, read_seconds, rss_bytes
from scripts.benchmark.peers import recorded

LINES = [b'{"n":%d}' % n for n in range(7)]


def test_a_message_has_exactly_its_size() -> None:
    assert len(MESSAGE) == MESSAGE_BYTES
    assert len(pad({"a": 1}, "b", 40)) == 40


def test_the_calls_of_bots_add_up_to_the_histories() -> None:
    shape = uneven(20)
    written: dict[str, list[bytes]] = defaultdict(list)
    for name, said in turns(shape, LINES):
        assert 1 <= len(said) <= corpus.MOST_PER_CALL
        written[name] += said
    assert written == dict(histories(shape, LINES))
    assert shape.messages == sum(len(messages) for messages in written.values())


def test_sessions_take_turns_so_that_their_times_differ() -> None:
    names = [name for name, _ in turns(even(3, 40), LINES)]
    assert names[:6] == even(3, 40).sessions * 2


def test_an_append_is_a_whole_request() -> None:
    head, body = append("a", LINES[:2], dedupe="id", key="k1").split(b"\r\n\r\n")
    assert json.loads(body) == {"dedupe": "id", "messages": [{"n": 0}, {"n": 1}]}
    assert b"Idempotency-Key: k1\r\n" in head
    assert b"Content-Length: %d" % len(body) in head


def test_a_login_is_as_large_as_a_real_one() -> None:
    texts = login(1)
    sizes = {len(text) for name, text in texts.items() if name != "creds"}
    assert (len(texts), sizes) == (PRE_KEYS + 1, {PRE_KEY_BYTES})
    assert 1_100 < len(texts["creds"]) < 1_300
    assert login(1) == texts != login(2)


def test_lines_are_read_or_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text('{"text":"a"}\n{"text":"b"}\n')
    monkeypatch.setattr(corpus, "SAMPLE", tmp_path / "none")
    assert load_chat(path).source == "chat.jsonl"
    assert load_chat(path).bytes_per_line == len('{"text": "a"}')
    assert load_chat(None).source == "made-up lines"


def test_a_peer_without_the_call_is_given_none() -> None:
    assert requests(Peer.WEBDIS, Operation.WHOLE_TURN) == []
    paths = [
        requests(peer, Operation.READ_HOT, 1)[0].split()[1]
        for peer in (Peer.OURS, Peer.STARLETTE, Peer.FASTAPI, Peer.WEBDIS)
    ]
    assert paths == [
        b"/v1/sessions/r0/messages?last=50",
        b"/read-50-hot/v1/sessions/r0/messages?last=50",
        b"/sessions/r0/messages?last=50",
        b"/LRANGE/chat:r0/-50/-1",
    ]
    assert all(
        len(requests(Peer.WEBDIS, operation, 2)) == 2
        for operation in (Operation.APPEND_ONE, Operation.APPEND_FIFTY)
    )


def test_cpu_time_is_read_behind_a_name_with_brackets() -> None:
    stat = "7 (a) b) S " + " ".join(["0"] * 10) + " 30 12 " + " ".join(["0"] * 30)
    assert read_seconds(stat) == pytest.approx(42 * TICK_SECONDS)


def test_this_process_uses_cpu_and_memory() -> None:

    assert cpu_seconds(os.getpid()) > 0
    assert rss_bytes(os.getpid()) > 1_000_000


def test_a_recorded_answer_loses_what_the_server_adds(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 201 Created\r\nDate: now\r\nContent-Length: 2\r\nETag: x\r\n\r\n{}"
    recorded.save(tmp_path / "answers", {"append": answer})
    it = recorded.load(tmp_path / "answers")["append"]
    assert (it.status, it.headers, it.body) == (201, [(b"etag", b"x")], b"{}")
