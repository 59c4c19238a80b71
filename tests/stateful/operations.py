"""Random operations: what may be asked, and each of them as a request."""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st

from tests.reference_nouns import JSON, Call

Args = dict[str, Any]

IDS = ("a", "a", "a", "b", "c}/{*%", "d")
KEYS = ("k", "k1", "{q/é}*")
PREFIXES = ("", "k", "{q/", "none")
TAGS = ("current", "current", "old", "foreign", "any")
SHORT_SECONDS = (0.3, 0.9)
SEQS = (*range(1, 13), 30)

MESSAGES = tuple(
    text.encode()
    for text in (
        '{"id":"1","text":"x"}',
        '{"id":1,"a":1.0}',
        '{ "id" : "é" , "n":1e999}',
        '{"id":"2","a":1,"a":2}',
        '{"id":2,"big":123456789012345678901234567890}',
        '{"\\u0069d":"3","emoji":"\\ud83d\\ude00\\/"}',
        '{"uid":"1","id":"4"}',
        '{"uid":7,"id":"1"}',
        '{"id":null}',
        '{"id":1.0}',
        "{}",
    )
)
IDENTITIES = ("1", "2", "3", "4", "é", "7", "none")

TEXTS = tuple(
    text.encode()
    for text in (
        "1.0",
        "1e999",
        '"a\\/b"',
        "[1 , 2]",
        "true",
        "12345678901234567890123",
        "{}",
        '{"a":{"b":1},"c":null}',
        '{"a":1,"b":"\\u0041","f":1.5}',
        '{"x":1,"x":2}',
        '{"n":1e999}',
    )
)
RAWS = (("text/plain; charset=utf-8", b"\xff raw"), ("application/octet-stream", b""))
SENT = (*((JSON, text) for text in TEXTS), *RAWS)
PUT = (*SENT, (JSON, b' {"a" : 1}\n'), ("application/vnd.x+json; v=1", b'{"a":1}'))
PATCHES: tuple[Args, ...] = (
    {},
    {"a": None},
    {"a": {"b": 2, "z": None}},
    {"a": {"b": None, "d": 1.5}},
    {"c": [1, "é", {"n": None}], "f": True},
)


@dataclass(frozen=True)
class Op:
    """One operation as it was drawn; a condition names a tag that is looked up when it is sent."""

    name: str
    sid: str
    args: Args = field(default_factory=dict)
    condition: tuple[str, str] | None = None
    key: str = ""
    head: bool = False


@dataclass(frozen=True, kw_only=True)
class Request:
    """What goes over the wire."""

    method: str
    path: str
    content: bytes | None = None
    media_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One row: the arguments, the request, and how often (in parts)."""

    args: st.SearchStrategy[Args]
    request: Callable[[Args], Request]
    weight: int = 1
    is_read: bool = False
    is_keyed: bool = False


def request_of(call: Call, *, head: bool) -> Request:
    """Return the request of a call, conditions and Idempotency-Key included."""
    row = OPERATIONS[call.operation]
    bare = row.request(call.args)
    headers = {"If-Match": call.if_match, "If-None-Match": call.if_none_match}
    headers |= {"Idempotency-Key": call.key or None, "Content-Type": bare.media_type or None}
    return Request(
        method="HEAD" if head else bare.method,
        path=bare.path if call.operation == "list_sessions" else url(call.sid) + bare.path,
        content=bare.content,
        headers={name: text for name, text in headers.items() if text is not None},
    )


def url(sid: str) -> str:
    return "/v1/sessions/" + quote(sid, safe="")


def ops() -> st.SearchStrategy[Op]:
    """Return all operations, the common ones more often."""
    names = [name for name, row in OPERATIONS.items() for _ in range(row.weight)]
    return st.sampled_from(names).flatmap(_op)


def keyed_ops() -> st.SearchStrategy[Op]:
    """Return operations with an Idempotency-Key."""
    names = [name for name, row in OPERATIONS.items() if row.is_keyed]
    keyed = st.sampled_from(names).flatmap(_op)
    # More keys than are remembered, so that most are new and old ones are forgotten.
    keys = st.integers(1, 40).map("key-{}".format)
    return st.builds(lambda op, key: replace(op, key=key), keyed, keys)


def _op(name: str) -> st.SearchStrategy[Op]:
    row = OPERATIONS[name]
    return st.builds(
        Op,
        st.just(name),
        st.sampled_from(IDS),
        row.args,
        _seldom(st.tuples(st.sampled_from(["If-Match", "If-None-Match"]), st.sampled_from(TAGS))),
        _seldom(st.sampled_from(["key-1", "key-2", "key-3"]), "") if row.is_keyed else st.just(""),
        st.integers(0, 7).map(lambda n: n == 7) if row.is_read else st.just(value=False),
    )


def _seldom(strategy: st.SearchStrategy[Any], otherwise: object = None) -> st.SearchStrategy[Any]:
    return st.integers(0, 4).flatmap(lambda n: strategy if n == 4 else st.just(otherwise))


def _some(
    **choices: st.SearchStrategy[Any] | tuple[object, ...],
) -> st.SearchStrategy[dict[str, Any]]:
    """Return any of these members, most often few."""
    strategies = {
        name: st.sampled_from(choice) if isinstance(choice, tuple) else choice
        for name, choice in choices.items()
    }
    return st.fixed_dictionaries({}, optional=strategies)


TTLS = (None, 3600, 60.5, 86_400, *SHORT_SECONDS)
SETTINGS: dict[str, tuple[object, ...]] = {
    "ttl": TTLS,
    "touch": ("write", "access", "never"),
    "max_age": (None, 3600, 0.7),
    "max_messages": (1, 3, 7, 50),
}


def _settings(*names: str) -> st.SearchStrategy[Args]:
    return _seldom(_some(**{name: SETTINGS[name] for name in names}), {})


def _with_settings(args: st.SearchStrategy[Args], *names: str) -> st.SearchStrategy[Args]:
    return st.builds(lambda a, s: {**a, "settings": s}, args, _settings(*names))


def _windows() -> st.SearchStrategy[Args]:
    seqs, limits = st.integers(0, 30), st.sampled_from([1, 2, 5, 1000, 5000])
    ways = [
        st.just({}),
        st.fixed_dictionaries({"last": st.sampled_from([0, 1, 3, 50, 2000])}),
        _some(after=seqs, before=seqs, limit=limits),
        st.fixed_dictionaries({"since": st.sampled_from(SEQS)}, optional={"limit": limits}),
        st.fixed_dictionaries({"id": st.sampled_from(IDENTITIES)}),
    ]
    room = _seldom(st.fixed_dictionaries({"max_bytes": st.sampled_from([1, 20, 45, 70, 200])}), {})
    return st.builds(lambda way, most: way | most, st.one_of(ways), room)


def _includes() -> st.SearchStrategy[Args]:
    def windows(include: tuple[str, ...]) -> st.SearchStrategy[Args]:
        window = _windows() if "messages" in include else st.just({})
        return window.map(lambda w: {"include": include, "window": w})

    parts: list[tuple[str, ...]] = [(), ("state",), ("messages",), ("messages", "state")]
    return st.sampled_from(parts).flatmap(windows)


KEY_TTL = {"key_ttl": (3600, *SHORT_SECONDS)}


def _batches() -> st.SearchStrategy[Args]:
    some_keys = st.lists(st.sampled_from(KEYS), max_size=3, unique=True)
    sets = st.dictionaries(
        st.sampled_from(KEYS), st.none() | st.sampled_from(SENT), min_size=1, max_size=3
    )
    merges = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(PATCHES), max_size=2)

    def possible(args: Args, ttl: Args) -> Args:
        merge = {k: v for k, v in args.get("merge", {}).items() if k not in args.get("set", {})}
        args = {**args, "merge": merge} if merge else {k: args[k] for k in args if k != "merge"}
        return args | (ttl if "set" in args else {})

    batch = st.builds(
        possible,
        _some(get=some_keys.map(tuple), set=sets, merge=merges),
        _seldom(_only(**KEY_TTL), {}),
    )
    return _with_settings(batch, "ttl")


def _appends(least: int = 1) -> st.SearchStrategy[Args]:
    messages = st.lists(st.sampled_from(MESSAGES), min_size=least, max_size=5)
    dedupe = st.sampled_from([{"dedupe": name} for name in ("id", "id", "id", "uid")] + [{}])
    appended = st.builds(lambda texts, named: {"messages": texts, **named}, messages, dedupe)
    return _with_settings(appended, "ttl", "max_messages")


def _values() -> st.SearchStrategy[Args]:
    one = _only(key=KEYS, value=PUT)
    return st.builds(lambda value, ttl: value | ttl, one, _seldom(_only(**KEY_TTL), {}))


def _listings() -> st.SearchStrategy[Args]:
    listing = {
        "prefix": st.sampled_from(PREFIXES),
        "after": st.sampled_from(["", *KEYS, "k0"]),
        "limit": st.integers(1, 4),
        "values": st.booleans(),
    }
    return st.fixed_dictionaries(listing)


def _only(**choices: tuple[object, ...]) -> st.SearchStrategy[Args]:
    """Return all of these members."""
    return st.fixed_dictionaries({name: st.sampled_from(c) for name, c in choices.items()})


def _fields(*, null: bool = False) -> st.SearchStrategy[Args]:
    choices = {name: (*choice, None) if null else choice for name, choice in SETTINGS.items()}
    return _some(**choices).map(lambda named: {"settings": named})


# --- Requests -------------------------------------------------------------------------------------


def _asked(query: Mapping[str, object]) -> str:
    return "?" + urlencode(query) if query else ""


def _json(members: Mapping[str, object]) -> bytes:
    return json.dumps(members, ensure_ascii=False).encode()


def _joined(members: Mapping[str, bytes]) -> bytes:
    inner = b",".join(json.dumps(name).encode() + b":" + text for name, text in members.items())
    return b"{" + inner + b"}"


def _settings_request(method: str) -> Callable[[Args], Request]:
    return lambda args: Request(method=method, path="", content=_json(args["settings"]))


def _read_session(args: Args) -> Request:
    include = {"include": ",".join(args["include"])} if args["include"] else {}
    return Request(method="GET", path=_asked(include | args["window"]))


def _state_of(args: Args) -> dict[str, object]:
    return {name: args[name] for name in ("key_ttl",) if name in args}


def _put_value(args: Args) -> Request:
    media_type, data = args["value"]
    path = f"/state/{quote(args['key'], safe='')}{_asked(_state_of(args))}"
    return Request(method="PUT", path=path, content=data, media_type=media_type)


def _value_text(value: tuple[str, bytes] | None) -> bytes:
    if value is None:
        return b"null"
    media_type, data = value
    if media_type == JSON:
        return data
    return _json({"$raw": b64encode(data).decode(), "type": media_type})


def _write_state(args: Args) -> Request:
    named: tuple[str, ...] = ("get", "merge", "key_ttl")
    members = {name: _json_value(args[name]) for name in named if name in args}
    if "set" in args:
        sets = {key: _value_text(value) for key, value in args["set"].items()}
        members["set"] = _joined(sets)
    members |= {name: _json_value(value) for name, value in args["settings"].items()}
    return Request(method="POST", path="/state", content=_joined(members))


def _json_value(value: object) -> bytes:
    return json.dumps(value).encode()


def _list_state(args: Args) -> Request:
    query = {name: args[name] for name in ("prefix", "after") if args[name]}
    query |= {"limit": args["limit"]} | ({"values": "true"} if args["values"] else {})
    return Request(method="GET", path="/state" + _asked(query))


def _messages_request(method: str) -> Callable[[Args], Request]:
    def request(args: Args) -> Request:
        members = {"messages": b"[" + b", ".join(args["messages"]) + b"]"}
        named = {name: args[name] for name in ("dedupe",) if name in args} | args["settings"]
        members |= {name: _json_value(value) for name, value in named.items()}
        return Request(method=method, path="/messages", content=_joined(members))

    return request


def _messages_at(method: str, *names: str) -> Callable[[Args], Request]:
    return lambda args: Request(
        method=method, path="/messages" + _asked({name: args[name] for name in names})
    )


def _value_at(method: str) -> Callable[[Args], Request]:
    return lambda args: Request(method=method, path=f"/state/{quote(args['key'], safe='')}")


def _message_at(method: str) -> Callable[[Args], Request]:
    return lambda args: Request(method=method, path=f"/messages/{args['seq']}")


def _list_sessions(args: Args) -> Request:
    query = {"limit": args["limit"]} | ({"prefix": args["prefix"]} if args["prefix"] else {})
    return Request(method="GET", path="/v1/sessions" + _asked(query))


OPERATIONS: dict[str, Operation] = {
    "put_session": Operation(args=_fields(), request=_settings_request("PUT"), weight=2),
    "patch_session": Operation(
        args=_fields(null=True), request=_settings_request("PATCH"), weight=2
    ),
    "delete_session": Operation(args=_only(), request=lambda _: Request(method="DELETE", path="")),
    "read_session": Operation(args=_includes(), request=_read_session, weight=4, is_read=True),
    "list_sessions": Operation(
        args=_only(prefix=("", "a", "c}", "none"), limit=(1, 2, 100)), request=_list_sessions
    ),
    "copy_session": Operation(
        args=_only(to=("a", "b", "d", "d")),
        request=lambda args: Request(method="POST", path="/copy", content=_json(args)),
        weight=2,
    ),
    "read_value": Operation(args=_only(key=KEYS), request=_value_at("GET"), weight=3, is_read=True),
    "put_value": Operation(args=_values(), request=_put_value, weight=5),
    "delete_value": Operation(args=_only(key=KEYS), request=_value_at("DELETE")),
    "write_state": Operation(args=_batches(), request=_write_state, weight=6, is_keyed=True),
    "delete_values": Operation(
        args=_only(prefix=PREFIXES),
        request=lambda args: Request(
            method="DELETE", path="/state" + _asked(args if args["prefix"] else {})
        ),
    ),
    "list_state": Operation(args=_listings(), request=_list_state, weight=2, is_read=True),
    "append": Operation(
        args=_appends(), request=_messages_request("POST"), weight=6, is_keyed=True
    ),
    "replace_messages": Operation(args=_appends(0), request=_messages_request("PUT"), weight=2),
    "read_messages": Operation(
        args=_windows().map(lambda window: {"window": window}),
        request=lambda args: Request(method="GET", path="/messages" + _asked(args["window"])),
        weight=6,
        is_read=True,
    ),
    "read_message": Operation(args=_only(seq=SEQS), request=_message_at("GET"), is_read=True),
    "delete_message": Operation(args=_only(seq=SEQS), request=_message_at("DELETE"), weight=2),
    "clear_messages": Operation(args=_only(), request=_messages_at("DELETE")),
    "pop_messages": Operation(
        args=_only(last=(0, 1, 2, 5, 2000)),
        request=_messages_at("DELETE", "last"),
        weight=2,
        is_keyed=True,
    ),
    "trim_messages": Operation(args=_only(before=SEQS), request=_messages_at("DELETE", "before")),
}
