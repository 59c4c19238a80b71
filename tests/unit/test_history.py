"""The checker of histories: what is certainly too old is refused, what may be so is not."""

import pytest

from scripts.faulting.history import Event, Kind, Version, check

DELAY_SECONDS = 0.1


def event(
    kind: Kind,
    began: float,
    ended: float,
    version: str | None = None,
    *numbers: int,
    process: int = 0,
) -> Event:
    """Make an event; the version is written `gen-rev`, of a write the number is the one given."""
    gen, _, rev = (version or "").partition("-")
    is_read = kind in {Kind.READ, Kind.READ_REDIS}
    return Event(
        kind=kind,
        process=process,
        began=began,
        ended=ended,
        version=Version(gen=gen, rev=int(rev)) if version else None,
        number=0 if is_read or not numbers else numbers[0],
        numbers=numbers if is_read else (),
    )


FIRST = event(Kind.APPEND, 0.0, 0.1, "a-1", 1)
SECOND = event(Kind.SET, 1.0, 1.1, "a-2", 2)
GONE = event(Kind.DELETE, 2.0, 2.1)
ANEW = event(Kind.APPEND, 3.0, 3.1, "b-1", 3)


def reasons(*events: Event) -> list[str]:
    return [stale.why for stale in check(events, delay_seconds=DELAY_SECONDS)]


@pytest.mark.parametrize(
    "read",
    [
        event(Kind.READ, 1.2, 1.3, "a-2", 1, 2),
        event(Kind.READ, 1.05, 1.3, "a-1", 1),  # the second was under way
        event(Kind.READ, 0.95, 1.3, "a-2", 1, 2),
        event(Kind.READ, 1.15, 1.3, "a-1", 1, process=1),  # within the delay
        event(Kind.READ_REDIS, 1.05, 1.3, "a-1", 1, process=1),
        event(Kind.READ, 2.05, 2.2),
        event(Kind.READ, 2.15, 2.2, "a-2", 1, 2, process=1),
        event(Kind.READ, 2.5, 2.6),
        event(Kind.READ, 3.05, 3.3),
        event(Kind.READ, 3.2, 3.3, "b-1", 3),
        event(Kind.READ, 3.15, 3.3, process=1),
    ],
)
def test_a_read_that_may_be_so_is_not_refused(read: Event) -> None:
    assert reasons(FIRST, SECOND, GONE, ANEW, read) == []


OWN, DELAYED, REDIS = "its process had acknowledged it", "the delay was over", "it asked Redis"


@pytest.mark.parametrize(
    ("read", "why"),
    [
        (event(Kind.READ, 1.2, 1.3, "a-1", 1), OWN),
        (event(Kind.READ, 1.3, 1.4, "a-1", 1, process=1), DELAYED),
        (event(Kind.READ_REDIS, 1.15, 1.3, "a-1", 1, process=1), REDIS),
        (event(Kind.READ, 2.2, 2.3, "a-2", 1, 2), OWN),
        (event(Kind.READ, 2.3, 2.4, "a-2", 1, 2, process=1), DELAYED),
        (event(Kind.READ_REDIS, 3.2, 3.3, "a-2", 1, 2, process=1), REDIS),
        (event(Kind.READ, 3.2, 3.3), OWN),
        (event(Kind.READ_REDIS, 3.2, 3.3, process=1), REDIS),
        (event(Kind.READ, 0.2, 0.3), OWN),
    ],
)
def test_a_read_that_is_too_old_is_refused(read: Event, why: str) -> None:
    assert why in reasons(FIRST, SECOND, GONE, ANEW, read)


def test_reads_of_one_process_never_go_back() -> None:
    newer = event(Kind.READ, 1.12, 1.13, "a-2", 1, 2, process=1)
    older = event(Kind.READ, 1.14, 1.15, "a-1", 1, process=1)
    elsewhere = event(Kind.READ, 1.14, 1.15, "a-1", 1, process=2)
    assert reasons(FIRST, SECOND, newer, older) == ["it went back"]
    assert reasons(FIRST, SECOND, newer, elsewhere) == []


def test_reads_of_one_process_never_go_back_to_a_session_that_was_deleted() -> None:
    newer = event(Kind.READ, 3.12, 3.13, "b-1", 3, process=1)
    older = event(Kind.READ, 3.14, 3.15, "a-2", 1, 2, process=1)
    assert "it went back" in reasons(FIRST, SECOND, GONE, ANEW, newer, older)


@pytest.mark.parametrize("numbers", [(1,), (2,), (1, 2, 2), ()])
def test_a_read_has_the_contents_of_the_version_that_it_names(numbers: tuple[int, ...]) -> None:
    read = event(Kind.READ, 1.2, 1.3, "a-2", *numbers)
    assert reasons(FIRST, SECOND, read) == ["its contents are of another version"]


def test_a_value_that_was_removed_is_no_content() -> None:
    removed = event(Kind.UNSET, 1.2, 1.3, "a-3")
    read = event(Kind.READ, 1.4, 1.5, "a-3", 1)
    assert reasons(FIRST, SECOND, removed, read) == []


def test_what_nobody_has_written_is_refused() -> None:
    assert reasons(FIRST, event(Kind.READ, 1.0, 1.1, "z-1", 1))
