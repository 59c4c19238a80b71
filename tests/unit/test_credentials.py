"""API_KEY and API_KEYS: what they mean, and each rule with what is told when it is broken."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access import Credential, Principal, Scope
from service.model import Namespace
from service.settings import SettingsError, load_settings

NAMESPACE_RULE = "the namespace must be 1 to 32 characters of a-z, 0-9, _ and -"
SCOPE_RULE = "the scope must be one of ro, rw, admin"
KEY_RULE = "the key must be 5 to 256 characters of A-Z, a-z, 0-9, _ and -"
SHAPE_RULE = "must be namespace:scope:key"

KEYS = st.text(string.ascii_letters + string.digits + "_-", min_size=5, max_size=256)
NAMESPACES = st.text(string.ascii_lowercase + string.digits + "_-", min_size=1, max_size=32)
ENTRIES = st.lists(
    st.tuples(NAMESPACES, st.sampled_from(Scope), KEYS), max_size=5, unique_by=lambda each: each[2]
)
BLANKS = st.text(" \t\n\r", max_size=3)


def credential(namespace: str, scope: Scope, key: str) -> Credential:
    return Credential(key, Principal(Namespace(namespace), scope))


def credentials(**environ: str) -> tuple[Credential, ...]:
    return load_settings(environ).credentials


def fault(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    (told,) = caught.value.faults
    assert told in str(caught.value)
    return told


@given(entries=ENTRIES, blank=BLANKS, has_comma_at_end=st.booleans())
def test_every_entry_is_a_key_of_its_namespace_and_scope(
    entries: list[tuple[str, Scope, str]], blank: str, *, has_comma_at_end: bool
) -> None:
    texts = [f"{blank}{name}:{scope.name.lower()}:{key}{blank}" for name, scope, key in entries]
    end = f",{blank}" if texts and has_comma_at_end else ""

    assert credentials(API_KEYS=",".join(texts) + end) == tuple(credential(*it) for it in entries)


def test_without_keys_there_are_none() -> None:
    assert credentials() == credentials(API_KEY="", API_KEYS="") == credentials(API_KEYS=" ") == ()


def test_both_are_read_together() -> None:
    assert credentials(API_KEY="first-key", API_KEYS="shop:admin:second-key") == (
        credential("default", Scope.RW, "first-key"),
        credential("shop", Scope.ADMIN, "second-key"),
    )


def test_a_namespace_may_have_several_keys_the_default_one_too() -> None:
    keys = credentials(API_KEY="first-key", API_KEYS="default:ro:second-key,default:ro:third-key")
    assert {key.principal.namespace for key in keys} == {"default"}
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("entry", "rules"),
    [
        ("Shop:rw:hush-hush", [NAMESPACE_RULE]),
        (":rw:hush-hush", [NAMESPACE_RULE]),
        ("sh op:rw:hush-hush", [NAMESPACE_RULE]),
        ("h\u00fcsh:rw:hush-hush", [NAMESPACE_RULE]),
        ("x" * 33 + ":rw:hush-hush", [NAMESPACE_RULE]),
        ("shop:RW:hush-hush", [SCOPE_RULE]),
        ("shop::hush-hush", [SCOPE_RULE]),
        ("shop:hush:hush-hush", [SCOPE_RULE]),
        ("shop: rw :hush-hush", [SCOPE_RULE]),
        ("shop:rw:hush", [KEY_RULE]),
        ("shop:rw:", [KEY_RULE]),
        ("shop:rw:hush.hush", [KEY_RULE]),
        ("shop:rw:hush\nhush", [KEY_RULE]),
        ("shop:rw:@format {env[HUSH]}", [KEY_RULE]),
        ("shop:rw:" + "hush-" * 52, [KEY_RULE]),
        ("HUSH:hush:hush", [NAMESPACE_RULE, SCOPE_RULE, KEY_RULE]),
        ("hush-hush", [SHAPE_RULE]),
        ("shop:hush-hush", [SHAPE_RULE]),
        ("shop:rw:hush-hush:hush-hush", [SHAPE_RULE]),
        ("", [SHAPE_RULE]),
        (" ", [SHAPE_RULE]),
    ],
)
def test_a_bad_entry_is_told_by_its_number_and_its_rules(entry: str, rules: list[str]) -> None:
    told = fault(API_KEYS=f"shop:rw:hush-good, {entry} ,shop:ro:hush-fine")

    assert told == "API_KEYS " + "; ".join(f"entry 2: {rule}" for rule in rules)
    assert "hush" not in told.lower()


def test_all_bad_entries_are_told_at_once() -> None:
    told = fault(API_KEYS="a:b:hush-hush,shop:rw:hush-good,hush,")
    assert told == f"API_KEYS entry 1: {SCOPE_RULE}; entry 3: {SHAPE_RULE}"


def test_a_comma_alone_is_a_slip() -> None:
    assert fault(API_KEYS=",") == f"API_KEYS entry 1: {SHAPE_RULE}"


@pytest.mark.parametrize("second", ["shop:rw:hush-hush", "shop:ro:hush-hush", "crm:rw:hush-hush"])
def test_a_key_that_stands_twice_stops_the_start(second: str) -> None:
    told = fault(API_KEYS=f"shop:rw:hush-hush,a:ro:hush-a,{second}")
    assert told == "API_KEYS entry 3: has the key of entry 1: each key may stand once"


def test_a_key_in_both_stops_the_start() -> None:
    told = fault(API_KEY="hush-hush", API_KEYS="a:ro:hush-a,default:rw:hush-hush")
    assert told == "API_KEYS entry 2: has the key of API_KEY: each key may stand once"


def test_faults_of_both_are_told() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"API_KEY": "hush", "API_KEYS": "hush"})
    assert [each.partition(" ")[0] for each in caught.value.faults] == ["API_KEY", "API_KEYS"]


def test_no_key_is_in_any_repr() -> None:
    settings = load_settings({"API_KEY": "hush-one", "API_KEYS": "shop:ro:hush-two"})
    assert "hush" not in f"{settings!r}{settings.credentials!r}{settings.api_keys!r}"
    assert "shop" in repr(settings.credentials)  # the control: it does show the rest
