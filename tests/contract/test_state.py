"""State: the batch, one value with its own tag, and the limits of an answer."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import PreconditionFailed, TooLarge
from service.model import (
    ANY,
    Limits,
    Reading,
    StateKey,
    StatePart,
    Value,
    Window,
)
from service.writes import Written
from tests.servers import Server
from tests.store_calls import (
    UNCONDITIONAL,
    Chat,
    matching,
    not_matching,
    open_store,
    tag_of,
    writing,
)

KEYS = ("a", "b", "c", "d")


def value_tag(done: Written) -> str:
    """The tag of the values that a write has set."""
    return f"{done.session.etag.gen}-{done.tag}"


async def test_a_batch_sets_then_deletes_then_gets(chat: Chat) -> None:
    await chat.write({"old": b"0", "gone": b"0"})
    done = await chat.write(
        {"old": b"1", "new": b"2", "both": b"3"},
        deletes=["gone", "both", "never"],
        gets=["new", "gone", "both", "old", "other"],
    )

    assert (done.added, done.deleted) == (2, 2)
    values = {key: stored and stored.value.data for key, stored in done.values.items()}
    assert values == {"new": b"2", "gone": None, "both": None, "old": b"1", "other": None}
    assert list(values) == ["new", "gone", "both", "old", "other"]
    assert await chat.state() == {"old": b"1", "new": b"2"}


@pytest.mark.parametrize(
    "value",
    [
        Value(b' {"a": 1.0, "a": 1e999}\n'),
        Value(b"1", "application/senml+json; charset=utf-8"),
        Value(b"\x00\xff" * 100, "image/png", is_json=False),
        Value(b"", "application/octet-stream", is_json=False),
        Value(b"x", "t/" + "y" * 253, is_json=False),
        Value(b"x", "", is_json=False),
    ],
)
async def test_a_value_comes_back_as_it_was_sent(chat: Chat, value: Value) -> None:
    done = await chat.write({"k": value})
    view = await chat.view(Reading(state=StatePart.ALL))

    stored = view.values[StateKey("k")]
    assert stored is not None
    assert stored.value == value
    assert stored.tag == done.tag


async def test_keys_are_literal(chat: Chat) -> None:
    names = ["*", "{a}", "a/b", "..", " ", "ключ", "\U0001f600", "k" * 512]
    await chat.write(dict.fromkeys(names, b"1"))
    names_read = (await chat.view(Reading(state=StatePart.NAMES))).names
    some = Reading(state=StatePart.SOME, keys=(StateKey("*"), StateKey("?")))

    assert sorted(names_read) == sorted(names)
    values = (await chat.view(some)).values
    assert [stored is None for stored in values.values()] == [False, True]


async def test_each_value_has_the_tag_of_the_write_that_set_it(chat: Chat) -> None:
    first = await chat.write({"a": b"1", "b": b"1"})
    second = await chat.write({"b": b"1"})
    values = (await chat.view()).values

    assert {key: stored and stored.tag for key, stored in values.items()} == {
        "a": first.tag,
        "b": second.tag,
    }
    assert first.tag != second.tag
    assert all(0 < done.tag < 2**48 for done in (first, second))


async def test_a_condition_on_a_value_is_about_that_value_alone(chat: Chat) -> None:
    first = value_tag(await chat.write({"a": b"1"}))
    await chat.write({"b": b"1"})

    done = await chat.write({"a": b"2"}, own_key="a", conditions=matching(first))
    with pytest.raises(PreconditionFailed) as failure:
        await chat.write({"a": b"3"}, own_key="a", conditions=matching(first))

    assert failure.value.etag == f'"{value_tag(done)}"'
    assert (await chat.state())["a"] == b"2"


async def test_the_tag_of_a_value_set_anew_is_another_though_the_value_is_the_same(
    chat: Chat,
) -> None:
    late = value_tag(await chat.write({"a": b"1"}))
    await chat.write(deletes=["a"])
    await chat.write({"a": b"1"})

    with pytest.raises(PreconditionFailed):
        await chat.write({"a": b"2"}, own_key="a", conditions=matching(late))


async def test_a_value_is_created_once(chat: Chat) -> None:
    once = not_matching(ANY)
    await chat.write({"a": b"1"}, own_key="a", conditions=once)
    await chat.write({"b": b"1"}, own_key="b", conditions=once)
    with pytest.raises(PreconditionFailed):
        await chat.write({"a": b"2"}, own_key="a", conditions=once)

    assert await chat.state() == {"a": b"1", "b": b"1"}


async def test_deleting_a_value_on_the_wrong_tag_is_refused(chat: Chat) -> None:
    await chat.write({"a": b"1"})
    for key, tags in (("a", ("other-1",)), ("absent", (ANY,))):
        with pytest.raises(PreconditionFailed):
            await chat.write(deletes=[key], own_key=key, conditions=matching(*tags))
    assert await chat.state() == {"a": b"1"}


async def test_deleting_what_is_absent_changes_and_creates_nothing(chat: Chat) -> None:
    nothing = writing(deletes=["a"], gets=["a"])
    assert await chat.tier.write_state(chat.ref, nothing, UNCONDITIONAL) is None
    assert await chat.is_absent()

    before = (await chat.put()).session
    done = await chat.write(deletes=["a"])
    assert (done.changed, done.deleted) == (False, 0)
    assert done.session.etag == before.etag


async def test_setting_an_equal_value_is_a_change(chat: Chat) -> None:
    await chat.write({"a": b"1"})
    done = await chat.write({"a": b"1"})

    assert (done.changed, done.added) == (True, 0)
    assert done.session.etag.rev == 2


async def test_a_session_without_state_left_is_still_there(chat: Chat) -> None:
    await chat.write({"a": b"1"})
    done = await chat.write(deletes=["a"])

    assert done.session.state_key_count == 0
    assert await chat.state() == {}


async def test_five_thousand_keys_go_through_one_call(chat: Chat) -> None:
    names = [f"k{i}" for i in range(5_000)]
    done = await chat.write({name: name.encode() for name in names})
    assert done.added == 5_000
    assert await chat.state() == {name: name.encode() for name in names}

    got = await chat.write(deletes=names[:2_500], gets=names[2_500:])
    assert got.deleted == 2_500
    assert all(stored is not None for stored in got.values.values())
    assert len(got.values) == 2_500


async def test_more_keys_than_a_call_may_hold_are_too_large_to_include(server: Server) -> None:
    async with open_store(server.url, Limits(max_keys_per_call=3)) as store:
        chat = Chat(store)
        await chat.write(dict.fromkeys("abcd", b"1"))
        with pytest.raises(TooLarge) as failure:
            await chat.view(Reading(state=StatePart.ALL))
        assert failure.value.limit == 3
        assert len((await chat.view(Reading(state=StatePart.NAMES))).names) == 4


@pytest.mark.parametrize("count", [3, 4, 20])
async def test_an_answer_that_would_be_too_large_is_told_before_any_write(
    server: Server, count: int
) -> None:
    keys = [f"k{i}" for i in range(count)]
    limits = Limits(max_answer_bytes=1_000, max_value_bytes=500)
    async with open_store(server.url, limits) as store:
        chat = Chat(store)
        before = await chat.write(dict.fromkeys(keys, b"x" * (1_001 // count + 1)))
        some = Reading(state=StatePart.SOME, keys=tuple(map(StateKey, keys)))

        for call in (
            chat.write({"new": b"1"}, gets=keys),
            chat.write(deletes=["k0"], gets=[*keys[1:], keys[1], keys[1]]),
            chat.write(dict.fromkeys(keys, b"y" * 1_001), gets=keys),
            chat.view(some),
            chat.view(Reading(state=StatePart.ALL)),
        ):
            with pytest.raises(TooLarge):
                await call
        after = await chat.view(Reading(window=Window(limit=1)))

    assert tag_of(after.session) == tag_of(before.session)
    assert after.session.state_key_count == count


SETS = st.dictionaries(st.sampled_from(KEYS), st.binary(min_size=1, max_size=4))
BATCHES = st.lists(st.tuples(SETS, st.sets(st.sampled_from(KEYS))), min_size=1, max_size=8)


@given(batches=BATCHES)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_batches_agree_with_a_dict(
    chat: Chat, batches: list[tuple[dict[str, bytes], set[str]]]
) -> None:
    await chat.delete()
    await chat.put()
    model: dict[str, bytes] = {}
    for sets, deletes in batches:
        done = await chat.write(sets, deletes=sorted(deletes), gets=KEYS)
        model = {key: value for key, value in (model | sets).items() if key not in deletes}
        got = {key: stored.value.data for key, stored in done.values.items() if stored}
        assert got == model
        assert done.session.state_key_count == len(model)
