"""The keyring alone: keys of several namespaces and scopes."""

from contextlib import suppress
from hmac import compare_digest

import pytest

from service.access import DEFAULT_NAMESPACE, Credential, Principal, Scope
from service.errors import Forbidden, Unauthorized
from service.http import auth
from service.http.auth import Keyring
from service.http.headers import Headers
from service.model import Namespace

READER = Principal(Namespace("one"), Scope.RO)
OWNER = Principal(Namespace("two"), Scope.ADMIN)
KEYS = Keyring([Credential("reader-key", READER), Credential("owner-key", OWNER)])


def headers_of(**values: str) -> Headers:
    return Headers([(name.encode(), value.encode("latin-1")) for name, value in values.items()])


def bearer(key: str) -> Headers:
    return headers_of(authorization=f"Bearer {key}")


def test_a_key_decides_namespace_and_scope() -> None:
    assert KEYS.authenticate(bearer("reader-key")) == READER
    assert KEYS.authenticate(bearer("owner-key")) == OWNER
    assert not KEYS.is_closed


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer owner", "Bearer \u00e9", "Basic owner-key", "owner-key"]
)
def test_what_is_no_known_key_is_unauthorized(header: str | None) -> None:
    with pytest.raises(Unauthorized):
        KEYS.authenticate(headers_of() if header is None else headers_of(authorization=header))


def test_two_keys_are_no_key() -> None:
    lines = [(b"authorization", b"Bearer owner-key"), (b"authorization", b"Bearer reader-key")]
    for sent in (lines, lines[:1] * 2):
        with pytest.raises(Unauthorized):
            KEYS.authenticate(Headers(sent))


def test_an_empty_key_matches_nothing() -> None:
    anyone = Principal(DEFAULT_NAMESPACE, Scope.ADMIN)
    keyring = Keyring([Credential("a-key", OWNER)], anonymous=anyone)

    with pytest.raises(Unauthorized):
        keyring.authenticate(bearer(""))


def test_without_keys_everybody_is_the_anonymous_one() -> None:
    anyone = Principal(DEFAULT_NAMESPACE, Scope.ADMIN)

    keyring = Keyring([], anonymous=anyone)
    assert keyring.authenticate(headers_of(host="localhost:8000")) == anyone
    assert keyring.authenticate(headers_of(host="[::1]", authorization="Bearer any")) == anyone
    local = headers_of(host="127.0.0.1", origin="http://localhost:5173")
    assert keyring.authenticate(local) == anyone


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://localhost.evil.example:8000", "null", "http://[", ""],
)
def test_without_keys_a_browser_may_not_lend_this_machine_to_other_sites(
    origin: str,
) -> None:
    anyone = Principal(DEFAULT_NAMESPACE, Scope.ADMIN)
    with pytest.raises(Forbidden):
        Keyring([], anonymous=anyone).authenticate(headers_of(origin=origin))
    named = headers_of(origin=origin, authorization="Bearer owner-key")
    assert KEYS.authenticate(named) == OWNER


def test_with_keys_nobody_is_the_anonymous_one() -> None:
    anyone = Principal(DEFAULT_NAMESPACE, Scope.ADMIN)
    with pytest.raises(Unauthorized):
        Keyring([Credential("a-key", OWNER)], anonymous=anyone).authenticate(headers_of())


def test_every_key_is_compared_and_always_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[bytes] = []

    def compare(known: bytes, sent: bytes) -> bool:
        compared.append(known)
        return compare_digest(known, sent)

    monkeypatch.setattr(auth, "compare_digest", compare)
    for sent in ("reader-key", "owner-key", "stranger"):
        compared.clear()
        with suppress(Unauthorized):
            KEYS.authenticate(bearer(sent))
        assert compared == [b"reader-key", b"owner-key"]


def test_without_keys_and_anonymous_it_is_closed() -> None:
    assert Keyring([]).is_closed
    with pytest.raises(Unauthorized, match="API_KEY"):
        Keyring([]).authenticate(bearer("any"))


def test_a_larger_scope_includes_the_smaller_ones() -> None:
    assert Scope.ADMIN > Scope.RW > Scope.RO


def test_a_key_is_never_printed() -> None:
    assert "owner-key" not in repr(Credential("owner-key", OWNER))
    assert "owner-key" not in repr(KEYS)
