"""What tests of the hot tier put into it."""

import errno
import os
from collections.abc import Mapping

import pytest

from service.chunks import pack_message
from service.codec import pack_value
from service.hot import Entry, HotTier, shelf
from service.model import (
    ETag,
    Page,
    Session,
    SessionId,
    StateKey,
    StoredValue,
    Touch,
    View,
)
from tests.store_calls import ref_of

REF = ref_of("chat")


def session(rev: int = 1, gen: str = "gen", messages: int = 0, values: int = 0) -> Session:
    return Session(
        id=SessionId("chat"),
        etag=ETag(gen=gen, rev=rev),
        created_at_ms=1_000,
        updated_at_ms=1_000,
        renewed_at_ms=1_000,
        ttl_ms=60_000,
        touch=Touch.WRITE,
        max_age_ms=None,
        max_messages=100,
        message_count=messages,
        state_key_count=values,
    )


def entry(rev: int = 1, gen: str = "gen", messages: int = 0) -> Entry:
    return Entry.of(session(rev, gen, messages), 1_000, 0.0)


def view_of(values: Mapping[StateKey, StoredValue], count: int) -> View:
    """What a read brought of a state of so many keys."""
    return View(
        session=session(values=count),
        now_ms=1_000,
        values=values,
        packed={key: pack_value(stored.value, stored.tag) for key, stored in values.items()},
    )


def filled(hot: HotTier, new: Entry | None) -> Entry | None:
    """Let a read come back with an entry."""
    fill = hot.begin_fill(REF)
    hot.fill(REF, new, fill)
    hot.end_fill(REF, fill)
    return hot.get(REF)


def elements_of(page: Page) -> tuple[bytes, ...]:
    return tuple(pack_message(m.seq, m.at_ms, m.data) for m in page.messages)


def advanced(new: Entry) -> Entry:
    etag = new.session.etag
    return entry(etag.rev + 1, etag.gen)


def without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system refuse memory for a block."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(shelf, "mmap", refuse)
