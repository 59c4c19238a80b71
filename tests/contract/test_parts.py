"""Reading by parts: what no script may answer at once is still of one revision."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import Outcome, TooLarge, Unavailable
from service.memory.admission import Admission
from service.model import Limits, Reading, StateKey, StatePart, View, Window
from service.store import Link, RedisStore, RedisTarget
from service.store import reading as reading_module
from service.store.link import Argument, Reply
from service.store.reading import FIRST_BYTES, PART_COST, TRIES
from service.store.scripts import Script, script
from service.writes import SettingsChange
from tests.polling import eventually
from tests.servers import Server
from tests.store_calls import DEFAULTS, EVERYTHING, UNCONDITIONAL, Chat, messages_of

MEBIBYTE = 1_048_576


class CountingLink(Link):
    """The real link; it counts reads, and before each of them lets a test do something else."""

    reads = 0
    before: Callable[[int], Awaitable[object]] | None = None

    async def run(
        self,
        script_: Script,
        keys: Sequence[bytes],
        args: Sequence[Argument],
        *,
        is_large: bool | None = None,
    ) -> Reply:
        if script_ is script("read"):
            self.reads += 1
            if self.before is not None:
                await self.before(self.reads)
        return await super().run(script_, keys, args, is_large=is_large)


@pytest.fixture
async def link(server: Server) -> AsyncIterator[CountingLink]:
    link = CountingLink(RedisTarget(url=server.url))
    yield link
    await link.aclose()


@pytest.fixture
def chat(link: CountingLink) -> Chat:
    """A session that is read by parts as large as the service has them."""
    return Chat(RedisStore(link, Limits(), DEFAULTS))


@pytest.fixture
def small(link: CountingLink) -> Chat:
    """A session that is read by small parts."""
    return by_parts(link, 100)


def by_parts(link: Link, part_bytes: int, limits: Limits | None = None) -> Chat:
    store = RedisStore(link, limits or Limits(), DEFAULTS)
    store._reader._first_bytes = store._reader._part_bytes = part_bytes
    return Chat(store)


def some(*keys: str) -> Reading:
    return Reading(state=StatePart.SOME, keys=tuple(map(StateKey, keys)))


async def test_more_messages_than_a_part_holds_are_read_whole(
    chat: Chat, link: CountingLink
) -> None:
    texts = [str(number) * MEBIBYTE for number in range(9)]
    for text in texts:
        await chat.say(text)

    for newest in (True, False):
        link.reads = 0
        page = await chat.page(Window(limit=1_000, newest=newest))
        assert [message.data.decode() for message in page.messages] == texts
        assert (page.is_cut, page.prev_seq, page.next_seq) == (False, None, None)
        assert (page.first_seq, page.last_seq) == (1, 9)
        assert link.reads == 4  # the first, again with room for all, and two of four


@pytest.mark.parametrize("reading", [Reading(state=StatePart.ALL), some(*"dcxba")])
async def test_more_values_than_a_part_holds_are_read_whole(
    chat: Chat, link: CountingLink, reading: Reading
) -> None:
    values = {key: key.encode() * (3 * MEBIBYTE) for key in "abcd"}
    for key, value in values.items():
        await chat.write({key: value})
    link.reads = 0
    view = await chat.view(reading)

    assert {key: v.value.data for key, v in view.values.items() if v} == values
    assert link.reads > 2
    if reading.keys:
        assert tuple(view.values) == reading.keys


async def test_what_fits_into_a_part_is_one_call(chat: Chat, link: CountingLink) -> None:
    await chat.say("x" * (FIRST_BYTES // 2 - 100), "y")
    await chat.write({"a": b"x" * (FIRST_BYTES // 2), "b": b"1"})
    link.reads = 0
    await chat.view()
    await chat.view(some("a", "b", "c"))
    await chat.snapshot()

    assert link.reads == 3


async def test_more_than_an_answer_holds_ends_a_page_early(link: CountingLink) -> None:
    chat = by_parts(link, 100, Limits(max_answer_bytes=250))
    await chat.say(*(f"{number:060}" for number in range(10)))
    newest = await chat.page(Window(limit=9))
    oldest = await chat.page(Window(limit=9, newest=False))

    assert [message.seq for message in newest.messages] == [7, 8, 9, 10]
    assert [message.seq for message in oldest.messages] == [1, 2, 3, 4]
    assert newest.is_cut
    assert oldest.is_cut
    assert (newest.prev_seq, newest.next_seq) == (7, None)
    assert (oldest.prev_seq, oldest.next_seq) == (None, 4)


@pytest.mark.parametrize("reading", [Reading(state=StatePart.ALL), some(*"abcdef")])
async def test_more_values_than_an_answer_holds_are_too_large(
    link: CountingLink, reading: Reading
) -> None:
    chat = by_parts(link, 100, Limits(max_answer_bytes=250))
    await chat.write(dict.fromkeys("abcdef", b"x" * 60))
    with pytest.raises(TooLarge) as failure:
        await chat.view(reading)

    assert failure.value.limit == 250


async def test_names_alone_of_values_that_expired_are_read_by_parts(
    small: Chat, link: CountingLink
) -> None:
    await small.write(dict.fromkeys("abc", b"x" * 60), key_ttl_ms=60_000)
    await small.write(dict.fromkeys("de", b"y" * 60))
    with_all = await small.view(Reading(state=StatePart.ALL))

    assert {key: v and v.expires_at_ms is not None for key, v in with_all.values.items()} == {
        "a": True, "b": True, "c": True, "d": False, "e": False,
    }  # fmt: skip
    assert (await small.view(some("e", "a"))).values.keys() == {"e", "a"}


WINDOWS = st.builds(
    Window,
    limit=st.integers(0, 12),
    newest=st.booleans(),
    after=st.none() | st.integers(0, 11),
    before=st.none() | st.integers(0, 11),
    max_bytes=st.none() | st.integers(0, 400),
)
READINGS = st.builds(
    Reading,
    window=st.none() | WINDOWS,
    state=st.sampled_from([StatePart.NONE, StatePart.NAMES, StatePart.ALL]),
) | st.builds(
    Reading,
    window=st.none() | WINDOWS,
    state=st.just(StatePart.SOME),
    keys=st.lists(st.sampled_from("abcdx").map(StateKey), min_size=1, unique=True).map(tuple),
)


@given(
    sizes=st.lists(st.integers(2, 90), max_size=10),
    values=st.dictionaries(st.sampled_from("abcd"), st.integers(1, 90)),
    holes=st.sets(st.integers(1, 10)),
    reading=READINGS,
    part_bytes=st.integers(90, 300),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_parts_are_what_one_answer_would_be(  # noqa: PLR0913 # as many as vary
    link: CountingLink,
    *,
    sizes: list[int],
    values: dict[str, int],
    holes: set[int],
    reading: Reading,
    part_bytes: int,
) -> None:
    whole, parts = Chat(RedisStore(link, Limits(), DEFAULTS)), by_parts(link, part_bytes)
    await whole.delete()
    await whole.say(*("x" * size for size in sizes))
    await whole.write({key: b"y" * size for key, size in values.items()})
    for hole in holes:
        await whole.delete_one(hole)
    expected, view = await whole.view(reading), await parts.view(reading)

    assert view.page == expected.page
    assert view.values == expected.values
    assert view.names == expected.names
    assert view.session == expected.session


async def fill(chat: Chat) -> None:
    await chat.put(SettingsChange(max_messages=6))
    await chat.say(*(f"{number:060}" for number in range(6)))
    await chat.write(dict.fromkeys("abcd", b"0" * 60))


def check_whole(view: View) -> None:
    """Check that all parts are of one revision: writer number n leaves n everywhere."""
    assert view.page is not None
    numbers = [int(message.data) for message in view.page.messages]
    assert numbers == list(range(numbers[0], numbers[0] + 6))
    values = {stored and stored.value.data for stored in view.values.values()}
    assert values == {b"%060d" % numbers[0]}
    assert view.session.etag.rev == 3 + 2 * numbers[0]


async def advance(chat: Chat, number: int) -> None:
    """Write so that each part is another than before."""
    await chat.say(f"{number + 5:060}")
    await chat.write(dict.fromkeys("abcd", b"%060d" % number))


@pytest.mark.parametrize("reading", [
    EVERYTHING,
    Reading(
        window=Window(limit=50, newest=False),
        state=StatePart.SOME,
        keys=tuple(map(StateKey, "abcd")),
    ),
])  # fmt: skip
@pytest.mark.parametrize("between", range(2, 8))
async def test_a_write_between_two_parts_leads_to_a_whole_of_the_later_revision(
    small: Chat, link: CountingLink, reading: Reading, between: int
) -> None:
    await fill(small)

    async def meddle(number: int) -> None:
        if number == between:
            await advance(small, 1)

    link.reads, link.before = 0, meddle
    view = await small.view(reading)
    link.before = None

    check_whole(view)
    has_met_it = link.reads >= between
    assert has_met_it
    assert view.session == (await small.view(Reading())).session


async def test_large_reads_take_turns_and_all_get_theirs(link: CountingLink) -> None:
    admission = Admission(6 * PART_COST * MEBIBYTE)  # for one of them alone
    store = RedisStore(link, Limits(), DEFAULTS, admission.begin)
    chat = Chat(store)
    for number in range(5):
        await chat.say(str(number) * MEBIBYTE)

    async def read() -> int:
        return (await chat.page(Window(limit=50))).count

    assert await asyncio.gather(*(read() for _ in range(8))) == [5] * 8
    assert admission.held_bytes == 0


async def test_what_is_read_is_counted_as_long_as_it_is_kept(link: CountingLink) -> None:
    admission = Admission(64 * MEBIBYTE)
    chat = Chat(RedisStore(link, Limits(), DEFAULTS, admission.begin))
    await chat.say("x" * 300_000)
    await chat.write({f"{number:0500}": b"1" for number in range(1_000)})

    snapshot = await chat.snapshot()
    assert admission.held_bytes >= PART_COST * 800_000
    names = await chat.view(Reading(state=StatePart.NAMES))
    assert admission.held_bytes >= 2 * PART_COST * 500_000
    small = await chat.view(Reading())
    assert small.hold is None
    del snapshot, names
    assert admission.held_bytes == 0


async def test_who_waits_too_long_for_a_turn_is_told_to_come_back(
    small: Chat, link: CountingLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_module, "TURN_SECONDS", 0.05)
    await fill(small)
    went_on = asyncio.Event()

    async def stand_still(number: int) -> None:
        if number == 2:
            await went_on.wait()

    link.reads, link.before = 0, stand_still
    first = asyncio.create_task(small.view())
    await eventually(lambda: _count(link), lambda reads: reads == 2)
    with pytest.raises(Unavailable) as refusal:
        await small.view()
    assert refusal.value.code == "overloaded"
    went_on.set()
    check_whole(await first)


async def _count(link: CountingLink) -> int:
    return link.reads


async def test_a_session_that_is_deleted_between_two_parts_is_absent(
    small: Chat, link: CountingLink
) -> None:
    await fill(small)

    async def meddle(number: int) -> None:
        if number == 3:
            await small.delete()

    link.reads, link.before = 0, meddle
    assert await small.tier.read(small.ref, EVERYTHING) is None


async def test_a_session_that_never_stands_still_is_told_of(
    small: Chat, link: CountingLink
) -> None:
    await fill(small)

    async def meddle(number: int) -> None:
        await small.tier.append(small.ref, messages_of(str(number)), UNCONDITIONAL)

    link.reads, link.before = 0, meddle
    with pytest.raises(Unavailable) as failure:
        await small.view()
    assert failure.value.outcome is Outcome.NOT_APPLIED
    assert link.reads == 1 + 2 * TRIES
    link.before = None
    await small.view()


async def test_readers_see_wholes_while_others_write(small: Chat, link: CountingLink) -> None:
    await fill(small)
    is_writing = True

    async def write() -> None:
        for number in range(1, 15):
            await advance(small, number)
            await asyncio.sleep(0.005)

    async def read() -> int:
        count = 0
        while is_writing:
            try:
                view = await small.view()
            except Unavailable:
                continue
            if view.session.etag.rev % 2:  # between its two calls a writer has done one
                check_whole(view)
                count += 1
        return count

    reader = asyncio.create_task(read())
    await write()
    is_writing = False
    await reader
    check_whole(await small.view())
