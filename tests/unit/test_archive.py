"""The archive of a session: what is packed comes back byte for byte, or not at all."""

from collections.abc import Mapping
from hashlib import blake2b

import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from service.archive import Damaged, StateCopy, pack, text_bytes, unpack
from service.model import ETag, Session, SessionId, StateKey, StoredValue, Touch, Value
from tests.app.test_round_trips import blanks, media_types, names, values

SESSION = Session(
    id=SessionId("chat"),
    etag=ETag(gen="OYxjzyjh", rev=7),
    created_at_ms=1_700_000_000_000,
    updated_at_ms=1_700_000_001_000,
    renewed_at_ms=1_700_000_002_000,
    ttl_ms=60_500,
    touch=Touch.ACCESS,
    max_age_ms=None,
    max_messages=50,
    message_count=0,
    state_key_count=0,
)

json_values = st.tuples(blanks, values, blanks, st.sampled_from(["application/json", "a/b+json"]))
stored = st.builds(
    StoredValue,
    json_values.map(lambda parts: Value("".join(parts[:3]).encode(), parts[3]))
    | st.builds(Value, st.binary(max_size=60), media_types, st.just(False)),
    st.just(0),
    st.none() | st.integers(0, 2**47),
)


def copy_of(state: Mapping[str, StoredValue], name: str = "chat") -> StateCopy:
    session = replace(SESSION, id=SessionId(name), state_key_count=len(state))
    values = {StateKey(key): value for key, value in state.items()}
    return StateCopy(session=session, at_ms=1_700_000_003_000, values=values)


def of_json(text: bytes, expires_at_ms: int | None = None) -> StoredValue:
    return StoredValue(Value(text), 0, expires_at_ms)


def lines_of(packed: bytes) -> list[bytes]:
    return zstandard.ZstdDecompressor().decompress(packed).split(b"\n")


def repacked(*lines: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(b"\n".join(lines))


@given(name=names(256), state=st.dictionaries(names(512), stored, max_size=6))
def test_what_is_packed_comes_back(name: str, state: dict[str, StoredValue]) -> None:
    copy = copy_of(state, name)
    packed = pack(copy)

    assert unpack(packed) == copy
    assert text_bytes(packed) == sum(len(line) + 1 for line in lines_of(packed)) - 1


def test_a_value_that_looks_like_a_raw_one_is_not_taken_for_it() -> None:
    copy = copy_of({"k": of_json(b'{"$raw":"AAEC","type":"image/png"}')})
    assert unpack(pack(copy)) == copy


def test_an_archive_is_lines_of_json_that_anybody_can_read() -> None:
    state = {
        "plain": of_json(b'{"n" :1.0}'),
        "pretty": of_json(b"{\n}"),
        "ends": of_json(b"1", expires_at_ms=5),
        "raw": StoredValue(Value(b"\x00\x01", "image/png", is_json=False), 0),
    }
    head, *records, end, behind = lines_of(pack(copy_of(state)))

    assert behind == b""
    assert orjson.loads(head) == {
        "session": "chat",
        "format": 1,
        "at_ms": 1_700_000_003_000,
        "gen": "OYxjzyjh",
        "rev": 7,
        "created_at_ms": 1_700_000_000_000,
        "updated_at_ms": 1_700_000_001_000,
        "renewed_at_ms": 1_700_000_002_000,
        "ttl_ms": 60_500,
        "touch": "access",
        "max_age_ms": None,
        "max_messages": 50,
    }
    assert records == [
        b'{"state":"plain","value":{"n" :1.0}}',
        b'{"state":"pretty","text":"{\\n}"}',
        b'{"state":"ends","expires_at_ms":5,"value":1}',
        b'{"state":"raw","type":"image/png","$raw":"AAE="}',
    ]
    assert orjson.loads(end)["state"] == 4


WHOLE = pack(copy_of({"a": of_json(b"1"), "b": of_json(b"2")}))
HEAD, FIRST, SECOND, END, _ = lines_of(WHOLE)


def sealed(*lines: bytes) -> bytes:
    """An archive of any lines, with the end that they ought to have."""
    checksum = blake2b(b"".join(line + b"\n" for line in lines), digest_size=16).hexdigest()
    end = orjson.dumps({"end": "chat", "state": len(lines) - 1, "checksum": checksum})
    return repacked(*lines, end, b"")


def test_the_control_comes_back() -> None:
    assert unpack(repacked(HEAD, FIRST, SECOND, END, b"")) == unpack(WHOLE)
    assert unpack(sealed(HEAD, FIRST, SECOND)) == unpack(WHOLE)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"no archive",
        WHOLE[:-1],
        WHOLE + b"x",
        WHOLE[:20] + bytes((WHOLE[20] ^ 1,)) + WHOLE[21:],
        repacked(HEAD, FIRST, SECOND, END),
        repacked(HEAD, FIRST, SECOND, b""),
        repacked(HEAD, FIRST, SECOND),
        repacked(HEAD, FIRST, END, b""),
        repacked(HEAD, SECOND, FIRST, END, b""),
        repacked(HEAD, FIRST, SECOND.replace(b"2", b"3"), END, b""),
        repacked(HEAD, FIRST, SECOND, END.replace(b'"state":2', b'"state":1'), b""),
        repacked(HEAD, FIRST, SECOND, END.replace(b"chat", b"chit"), b""),
        sealed(HEAD.replace(b'"format":1', b'"format":2'), FIRST),
        sealed(HEAD, b'{"state":"a"}'),
        sealed(HEAD, b'{"state":"a","value":1,"later":2}'),
        sealed(HEAD, b'{"state":"a","value":1'),
        sealed(HEAD, FIRST, FIRST),
        sealed(HEAD.replace(b"chat", b"chit"), FIRST),
        sealed(FIRST, SECOND),
        repacked(END, b""),
        repacked(b""),
    ],
)
def test_what_is_not_whole_is_refused(damaged: bytes) -> None:
    with pytest.raises(Damaged):
        unpack(damaged)


OF_NO_SIZE = zstandard.ZstdCompressor(write_content_size=False).compress(b"{}")


@pytest.mark.parametrize("damaged", [b"", b"no archive", WHOLE[:3], OF_NO_SIZE])
def test_what_is_no_archive_has_no_size(damaged: bytes) -> None:
    with pytest.raises(Damaged):
        text_bytes(damaged)
