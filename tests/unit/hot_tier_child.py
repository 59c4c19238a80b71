"""Fills a hot tier in a process of its own; tells its memory as JSON, and what an eviction returns.

python hot_tier_child.py SHAPE (filled|churned|coldest|random)
"""

import ctypes
import gc
import json
import sys
import time
from functools import partial
from random import Random
from typing import NamedTuple

from service.codec import pack_values
from service.hot import Entry, HotTier
from service.memory.levers import freeze_heap
from service.memory.machine import own_rss_bytes
from service.model import (
    ETag,
    Namespace,
    Reading,
    Session,
    SessionId,
    SessionRef,
    StateKey,
    Touch,
    Value,
    Window,
)
from service.packing import pack_next
from service.writes import Append, Appended, StateWrite, Written


class Shape(NamedTuple):
    """So many sessions, and in each so many messages and values of so many bytes."""

    sessions: int
    messages: int = 0
    values: int = 0
    value_bytes: int = 100
    is_open: bool = False


SHAPES = {
    "bare": (Shape(20_000),),
    "small": (Shape(20_000, messages=3, values=1),),
    "many": (Shape(50_000, messages=2),),
    "chats": (Shape(2_000, messages=60),),
    "large": (Shape(300, messages=400),),
    "states": (Shape(2_000, values=40),),
    "logins": (Shape(150, values=800, value_bytes=160),),
    "open": (Shape(1_500, messages=50, is_open=True),),
    "mixed": (
        Shape(4_000, messages=3, values=1),
        Shape(300, messages=90, values=10),
        Shape(60, messages=200, values=300),
        Shape(300, messages=20, is_open=True),
    ),
}
AT_MS = 1_700_000_000_000
SEAL_EVERY = 32
AT_HAND_BYTES = 4_194_304
dice = Random(1)


def session(number: int, messages: int, values: int) -> Session:
    at_ms = AT_MS + number
    return Session(
        id=SessionId(f"whatsapp:+4917{number:08}@s.whatsapp.net"),
        etag=ETag(gen=f"gen{number:05}", rev=1_000 + number),
        created_at_ms=at_ms,
        updated_at_ms=at_ms + 1,
        renewed_at_ms=at_ms + 2,
        ttl_ms=2_592_000_000 + number,
        touch=Touch.WRITE,
        max_age_ms=None,
        max_messages=1_000 + number,
        message_count=messages,
        state_key_count=values,
    )


def text(size: int) -> bytes:
    """Return JSON that packs to about a half."""
    return b'"%b"' % dice.randbytes(size // 2).hex().encode()


def with_message(entry: Entry, number: int, count: int) -> Entry:
    texts = (b'{"role":"user","content":%b}' % text(120),)
    appended = Appended(
        session=session(number, count, 0),
        now_ms=AT_MS + number,
        changed=True,
        tail=count,
        count=1,
        at_ms=AT_MS + number,
        last_seq=1_000 + count,
        first_seq_held=1_001,
        last_seq_held=1_000 + count,
        duplicates=(),
    )
    entry = entry.appended(Append(messages=texts, digests=(b"",)), appended, number / 7)
    if count % SEAL_EVERY == 0:
        while (sealing := pack_next(*entry.log.unsealed(0))) is not None:
            entry = entry.sealed_by(sealing)
    return entry


def with_value(entry: Entry, number: int, count: int, size: int) -> Entry:
    write = StateWrite(sets={StateKey(f"key-{count}"): Value(text(size))})
    written = Written(
        session=session(number, entry.session.message_count, count),
        now_ms=AT_MS + number,
        changed=True,
        tail=0,
        added=1,
        deleted=0,
        tag=(1 << 40) + number,
        packed=pack_values(write.sets, (1 << 40) + number),
    )
    return entry.state_written(write, {}, written, number / 7)


def entry_of(number: int, shape: Shape) -> Entry:
    entry = Entry.of(session(number, 0, 0), AT_MS + number, number / 7)
    for count in range(1, shape.messages + 1):
        entry = with_message(entry, number, count)
    for count in range(1, shape.values + 1):
        entry = with_value(entry, number, count, shape.value_bytes)
    return entry


def ref_of(number: int) -> SessionRef:
    return SessionRef(namespace=Namespace("default"), id=session(number, 0, 0).id)


def insert(hot: HotTier, number: int, shape: Shape) -> None:
    """Keep a session as a write does, and have it read as the API does."""
    ref = ref_of(number)
    fill = hot.begin_fill(ref)
    hot.created(ref, entry_of(number, shape), fill)
    hot.end_fill(ref, fill)
    entry = hot.get(ref)
    if shape.is_open and entry is not None:
        view = entry.view(Reading(window=Window(limit=50)), number / 7)
        assert view is not None
        assert view.page is not None
        opened = partial(Entry.opened, lines=view.page.lines)
        hot.reshape(ref, entry.session.etag.gen, opened)


def read_in_any_order(hot: HotTier, sessions: int) -> None:
    """Have sessions that lie side by side be used at different times."""
    for number in dice.sample(range(sessions), sessions):
        hot.get(ref_of(number))


def evict_half(hot: HotTier) -> None:
    sessions = hot.status.sessions
    while hot.status.sessions > sessions // 2:
        hot.evict(1)


def main(name: str, how: str) -> None:
    """Fill, evict as told, and print what that has taken and brought."""
    hot = HotTier(1 << 40, at_hand_bytes=AT_HAND_BYTES)
    shapes = [shape for shape in SHAPES[name] for _ in range(shape.sessions)]
    dice.shuffle(shapes)
    for shape in SHAPES[name]:
        entry_of(0, shape)  # what is made once, like the compressors
    freeze_heap()
    empty_bytes, empty_objects = own_rss_bytes(), len(gc.get_objects())
    for number, shape in enumerate(shapes):
        insert(hot, number, shape)
    if how == "churned":
        read_in_any_order(hot, len(shapes))
        evict_half(hot)
        for number, shape in enumerate(shapes):
            if hot.peek(ref_of(number)) is None:
                insert(hot, number, shape)
    gc.collect()
    began = time.process_time()
    gc.collect()
    report: dict[str, float] = {
        "collectMs": (time.process_time() - began) * 1_000,
        "trackedPerSession": (len(gc.get_objects()) - empty_objects) / hot.status.sessions,
        "rss": own_rss_bytes() - empty_bytes,
        "weight": hot.status.bytes,
    }
    if how in {"coldest", "random"}:
        if how == "random":
            read_in_any_order(hot, len(shapes))
        trim = ctypes.CDLL(None).malloc_trim
        trim(0)
        before_rss, before_bytes = own_rss_bytes(), hot.status.bytes
        evict_half(hot)
        trim(0)
        report["evicted"] = before_bytes - hot.status.bytes
        report["returned"] = before_rss - own_rss_bytes()
        report["rssPerWeight"] = (before_rss - empty_bytes) / before_bytes
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
