"""The keyring alone: keys of several namespaces and scopes."""

import pytest

from service.errors import Unauthorized
from service.http.auth import DEFAULT_NAMESPACE, Credential, Keyring, Principal, Scope
from service.model import Namespace

READER = Principal(Namespace("one"), Scope.RO)
OWNER = Principal(Namespace("two"), Scope.ADMIN)
KEYS = Keyring([Credential("reader-key", READER), Credential("owner-key", OWNER)])


def test_a_key_decides_namespace_and_scope() -> None:
    assert KEYS.authenticate("Bearer reader-key") == READER
    assert KEYS.authenticate("Bearer owner-key") == OWNER
    assert not KEYS.is_closed


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer owner", "Bearer \u00e9", "Basic owner-key", "owner-key"]
)
def test_what_is_no_known_key_is_unauthorized(header: str | None) -> None:
    with pytest.raises(Unauthorized):
        KEYS.authenticate(header)


def test_an_empty_key_matches_nothing() -> None:
    anyone = Principal(DEFAULT_NAMESPACE, Scope.ADMIN)
    keyring = Keyring([Credential("a-key", OWNER)], anonymous=anyone)

    with pytest.raises(Unauthorized):
        keyring.authenticate("Bearer ")


def test_without_keys_everybody_is_the_anonymous_one() -> None:
    anyone = Principal(DEFAULT_NAMESPACE, Scope.ADMIN)

    assert Keyring([], anonymous=anyone).authenticate(None) == anyone
    assert Keyring([], anonymous=anyone).authenticate("Bearer any") == anyone


def test_without_keys_and_anonymous_it_is_closed() -> None:
    assert Keyring([]).is_closed
    with pytest.raises(Unauthorized, match="API_KEY"):
        Keyring([]).authenticate("Bearer any")


def test_a_larger_scope_includes_the_smaller_ones() -> None:
    assert Scope.ADMIN > Scope.RW > Scope.RO


def test_a_key_is_never_printed() -> None:
    assert "owner-key" not in repr(Credential("owner-key", OWNER))
    assert "owner-key" not in repr(KEYS)
