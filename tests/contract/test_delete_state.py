"""State keys deleted by prefix."""

import pytest
from redis import Redis

from service.errors import TooLarge
from service.model import Reading, StatePart
from service.store.keys import session_keys
from service.store.replies import MOST_NAMES, MOST_SEARCHED
from tests.store_calls import UNCONDITIONAL, Chat, tag_of

NAMES = [
    "a",
    "a*",
    "a*b",
    "a?",
    "[a]",
    "[ab",
    "a.b",
    "a%",
    "%a",
    "ключ",
    "ключи",
    "{a}",
    "\U0001f600!",
]


@pytest.mark.parametrize(
    "prefix", ["a", "a*", "a?", "[a", "a.", "%", "a%", "клю", "{", "\U0001f600", "z"]
)
async def test_a_prefix_is_literal(chat: Chat, prefix: str) -> None:
    before = (await chat.write(dict.fromkeys(NAMES, b"1"))).session
    done = await chat.delete_state(prefix)

    left = [name for name in NAMES if not name.startswith(prefix)]
    assert sorted(await chat.state()) == sorted(left)
    assert done.deleted == len(NAMES) - len(left)
    assert done.session.state_key_count == len(left)
    assert done.changed == (done.deleted > 0)
    assert done.session.etag.rev == before.etag.rev + done.changed


async def test_no_prefix_deletes_all_and_leaves_messages(chat: Chat, redis: Redis) -> None:
    await chat.say("1")
    await chat.write(dict.fromkeys(NAMES, b"1"), key_ttl_ms=60_000)
    done = await chat.delete_state()

    assert done.deleted == len(NAMES)
    assert await chat.state() == {}
    assert await chat.texts() == ["1"]
    assert redis.keys() == [session_keys(chat.ref).log]
    again = await chat.delete_state()
    assert (again.deleted, again.changed) == (0, False)
    assert tag_of(again.session) == tag_of(done.session)


@pytest.mark.parametrize("prefix", ["", "a"])
async def test_nothing_is_deleted_of_a_session_that_is_not_there(chat: Chat, prefix: str) -> None:
    assert await chat.tier.delete_state(chat.ref, prefix, UNCONDITIONAL) is None
    assert await chat.is_absent()


async def test_thousands_go_at_once(chat: Chat) -> None:
    for start in range(0, 9_000, 3_000):
        await chat.write({f"k{number}": b"1" for number in range(start, start + 3_000)})
    await chat.write({"other": b"1"})

    assert (await chat.delete_state("k")).deleted == 9_000
    assert await chat.state() == {"other": b"1"}


async def test_more_names_than_can_be_looked_through_are_only_deleted_all(
    chat: Chat, redis: Redis
) -> None:
    before = (await chat.write({"a": b"1"})).session
    key = session_keys(chat.ref).state
    script = "for i = 1, ARGV[1] do redis.call('HSET', KEYS[1], i, 'packed') end"
    redis.eval(script, 1, key, MOST_NAMES)
    with pytest.raises(TooLarge) as failure:
        await chat.delete_state("a")
    with pytest.raises(TooLarge):
        await chat.view(Reading(state=StatePart.NAMES))

    assert failure.value.limit == MOST_SEARCHED
    assert tag_of((await chat.view(Reading())).session) == tag_of(before)
    assert (await chat.delete_state()).deleted == MOST_NAMES + 1
