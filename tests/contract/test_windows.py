"""Windows of messages: every combination of bounds against the obvious way."""

from itertools import product

import anyio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.codec import digest
from service.model import Limits, Message, Page, Reading, Window
from service.writes import SettingsChange
from tests.servers import Server
from tests.store_calls import Chat, open_store, page_by_hand, ref_of, shown


async def fill(chat: Chat) -> tuple[Message, ...]:
    """Append 45 messages at 9 times, of which the newest 37 are kept."""
    await chat.put(SettingsChange(max_messages=37))
    for start in range(0, 45, 5):
        await chat.say(*(f'{{"n":{start + i}}}' for i in range(5)))
        await anyio.sleep(0.002)
    messages = (await chat.page(Window(limit=100))).messages
    assert [message.seq for message in messages] == list(range(9, 46))
    return messages


async def test_every_window_is_what_one_would_pick_by_hand(chat: Chat) -> None:
    messages = await fill(chat)
    times = [None, 0, messages[12].at_ms, messages[12].at_ms + 1, messages[-1].at_ms + 1]
    seqs = [None, 0, 8, 9, 20, 45, 99]

    for limit, newest, after, before, since in product(
        [0, 1, 8, 37, 1_000], [True, False], seqs, seqs, times
    ):
        window = Window(limit=limit, newest=newest, after=after, before=before, since_ms=since)
        assert shown(await chat.page(window)) == shown(page_by_hand(messages, window)), window


async def test_windows_are_right_where_messages_were_deleted_too(chat: Chat) -> None:
    messages = list(await fill(chat))
    for hole in (messages[3], messages[4], messages[20], messages[36]):
        await chat.delete_one(hole.seq)
        messages.remove(hole)

    for limit, newest, after, before in product([2, 50], [True, False], range(7, 47), [12, 29, 99]):
        window = Window(limit=limit, newest=newest, after=after, before=before)
        assert shown(await chat.page(window)) == shown(page_by_hand(messages, window)), window


async def test_of_a_window_the_newest_that_fit_are_kept(chat: Chat) -> None:
    await chat.say(*("x" * size for size in (5, 1, 9, 2, 2, 30, 1)))
    messages = (await chat.page(Window(limit=100))).messages

    for limit, newest, after, before, most in product(
        [0, 1, 3, 50], [True, False], [None, 2], [None, 6, 7], [0, 1, 2, 4, 13, 32, 50, 1_000]
    ):
        window = Window(limit=limit, newest=newest, after=after, before=before, max_bytes=most)
        assert shown(await chat.page(window)) == shown(page_by_hand(messages, window)), window


async def test_a_message_is_found_by_what_identifies_it(chat: Chat) -> None:
    await chat.put(SettingsChange(max_messages=5))
    await chat.say_once(*"abcdefg", None)
    await chat.delete_one(6)
    found = {
        name: [
            message.seq
            for message in (await chat.page(Window(limit=50, digest=digest(name)))).messages
        ]
        for name in "abcdefgx"
    }

    assert {name: seqs for name, seqs in found.items() if seqs} == {"d": [4], "e": [5], "g": [7]}
    page = await chat.page(Window(limit=50, digest=digest("e")))
    assert (page.prev_seq, page.next_seq, page.first_seq, page.last_seq) == (5, 5, 4, 8)


async def test_a_session_without_messages_has_an_empty_page(chat: Chat) -> None:
    await chat.put()

    assert await chat.page(Window(limit=50)) == Page()
    assert await chat.page(Window(limit=0, newest=False, after=5)) == Page()


async def test_following_next_from_the_oldest_meets_each_message_once(chat: Chat) -> None:
    messages = await fill(chat)
    seen: list[Message] = []
    page = await chat.page(Window(limit=7, newest=False))
    while True:
        seen += page.messages
        if page.next_seq is None:
            break
        page = await chat.page(Window(limit=7, newest=False, after=seen[-1].seq))

    assert tuple(seen) == messages


SIZES = st.lists(st.integers(2, 60), min_size=1, max_size=12)


@given(sizes=SIZES, newest=st.booleans(), most_bytes=st.integers(1, 200))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_a_page_is_cut_before_it_passes_its_bytes(
    server: Server, *, sizes: list[int], newest: bool, most_bytes: int
) -> None:
    texts = ["x" * size for size in sizes]
    async with open_store(server.url, Limits(max_answer_bytes=most_bytes)) as store:
        chat = Chat(store, ref_of("-".join(map(str, sizes))))
        await chat.delete()
        await chat.say(*texts)
        page = await chat.page(Window(limit=100, newest=newest))

    expected, left = [], most_bytes
    for text in reversed(texts) if newest else texts:
        left -= len(text)
        if left < 0:
            break
        expected.append(text)
    if newest:
        expected.reverse()
    assert [message.data.decode() for message in page.messages] == expected
    assert page.is_cut == (len(expected) < len(texts))
    assert page.first_seq == 1
    assert page.last_seq == len(texts)


async def test_the_tag_that_is_known_leaves_the_contents_out(server: Server) -> None:
    async with open_store(server.url) as store:
        chat = Chat(store)
        done = await chat.say("{}")
        reading, tag = Reading(window=Window(limit=5)), str(done.session.etag)[1:-1]
        same = await store.read(chat.ref, reading, tag)
        other = await store.read(chat.ref, reading, tag + "1")

    assert same is not None
    assert same.is_same
    assert same.page is None
    assert same.session == done.session
    assert other is not None
    assert not other.is_same
    assert other.page is not None
