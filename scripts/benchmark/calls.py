"""The calls that are measured, as bytes on the wire, for ours and for each peer."""

import json
from enum import StrEnum
from urllib.parse import quote

KEY = "benchmark-key"
MESSAGE_BYTES = 150
PRE_KEYS = 812
PRE_KEY_BYTES = 164
STATE_KEYS = 10
APPENDED_SESSIONS = 1_000
READ_SESSIONS = 64
LARGE_SESSIONS = 8


class Operation(StrEnum):
    """What a bot asks for; the value is a word of the bare peers' paths."""

    APPEND_ONE = "append-1"
    APPEND_FIFTY = "append-50"
    READ_HOT = "read-50-hot"
    READ_COLD = "read-50-cold"
    STATE_BATCH = "state-batch"
    PRE_KEYS = "812-keys"
    WHOLE_TURN = "whole-turn"


TITLES = {
    Operation.APPEND_ONE: "append 1 message of 150 B",
    Operation.APPEND_FIFTY: "append 50 in one call",
    Operation.READ_HOT: "read last 50, hot",
    Operation.READ_COLD: "read last 50, cold",
    Operation.STATE_BATCH: "state: get 3, set 1",
    Operation.PRE_KEYS: "state: set 812 keys of 164 B",
    Operation.WHOLE_TURN: "whole turn: state and last 50",
}


class Peer(StrEnum):
    """Who answers."""

    OURS = "ours"
    STARLETTE = "bare Starlette"
    UVICORN = "bare uvicorn"
    FASTAPI = "FastAPI + redis"
    PLAIN_FASTAPI = "FastAPI + redis, answer without a type"
    WEBDIS = "webdis"


def pad(members: dict[str, object], member: str, size: int) -> bytes:
    """Write an object as JSON of an exact size, by the text of one member."""
    short = json.dumps(members | {member: ""}, separators=(",", ":"))
    return json.dumps(members | {member: "x" * (size - len(short))}, separators=(",", ":")).encode()


MESSAGE = pad({"sender": "ada", "ts": 1_700_000_000}, "text", MESSAGE_BYTES)


def append_body(count: int) -> bytes:
    """Make the body of an append."""
    return b'{"messages":[' + b",".join([MESSAGE] * count) + b"]}"


def state_body(count: int, size: int = MESSAGE_BYTES) -> bytes:
    """Make the body of a batch that sets so many keys."""
    value = pad({}, "value", size)
    return b'{"set":{' + b",".join(b'"key-%d":%s' % (n, value) for n in range(count)) + b"}}"


def _batch_body() -> bytes:
    value = pad({}, "value", MESSAGE_BYTES)
    return b'{"get":["key-1","key-2","key-3"],"set":{"key-4":%s}}' % value


READ = "messages?last=50"
PARTS: dict[Operation, tuple[str, str, str, int, bytes]] = {
    Operation.APPEND_ONE: ("POST", "a", "/messages", APPENDED_SESSIONS, append_body(1)),
    Operation.APPEND_FIFTY: ("POST", "b", "/messages", APPENDED_SESSIONS, append_body(50)),
    Operation.READ_HOT: ("GET", "r", f"/{READ}", READ_SESSIONS, b""),
    Operation.READ_COLD: ("GET", "c", f"/{READ}", 0, b""),
    Operation.STATE_BATCH: ("POST", "t", "/state", READ_SESSIONS, _batch_body()),
    Operation.PRE_KEYS: (
        "POST",
        "p",
        "/state",
        LARGE_SESSIONS,
        state_body(PRE_KEYS, PRE_KEY_BYTES),
    ),
    Operation.WHOLE_TURN: ("GET", "r", "?include=state,messages&last=50", READ_SESSIONS, b""),
}
"""Method, prefix of the session's id, what follows it, how many sessions in turn, body."""

ROOTS = {Peer.OURS: "/v1/sessions/", Peer.FASTAPI: "/sessions/", Peer.PLAIN_FASTAPI: "/plain/"}


def request(method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
    """Write a request as the clients of bots do: with the key, kept alive."""
    kind = "Content-Type: application/json\r\n" if body else ""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        f"{kind}{headers}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def requests(peer: Peer, operation: Operation, sessions: int = 0) -> list[bytes]:
    """Write the requests of an operation, one a session; none if the peer has no such call."""
    method, prefix, tail, own_sessions, body = PARTS[operation]
    names = [f"{prefix}{number}" for number in range(sessions or own_sessions)]
    if peer is Peer.WEBDIS:
        return [it for it in (_webdis(operation, name) for name in names) if it]
    if peer is Peer.PLAIN_FASTAPI and operation is not Operation.READ_HOT:
        return []
    root = ROOTS.get(peer, f"/{operation}/v1/sessions/")
    return [request(method, f"{root}{name}{tail}", body) for name in names]


def _webdis(operation: Operation, name: str) -> bytes | None:
    match operation:
        case Operation.APPEND_ONE:
            return request("PUT", f"/RPUSH/chat:{name}", MESSAGE)
        case Operation.APPEND_FIFTY:
            words = "/".join([quote(MESSAGE.decode(), safe="")] * 50)
            return request("POST", "/", f"RPUSH/chat:{name}/{words}".encode())
        case Operation.READ_HOT | Operation.READ_COLD:
            return request("GET", f"/LRANGE/chat:{name}/-50/-1")
        case _:
            return None
