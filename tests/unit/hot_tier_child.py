"""Fills a hot tier in a process of its own and prints bytes of RSS and of accounted weight.

python hot_tier_child.py SESSIONS MESSAGES VALUES
"""

import sys

from service.codec import pack_values
from service.hot import Entry, HotTier
from service.memory.machine import own_rss_bytes
from service.model import (
    ETag,
    Namespace,
    Session,
    SessionId,
    SessionRef,
    StateKey,
    Touch,
    Value,
)
from service.writes import Append, Appended, StateWrite, Written

SESSIONS, MESSAGES, VALUES = map(int, sys.argv[1:])


def session(number: int, messages: int, values: int) -> Session:
    at_ms = 1_700_000_000_000 + number
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


def entry_of(number: int) -> Entry:
    now = number / 7
    entry = Entry.of(session(number, 0, 0), 1_700_000_000_000 + number, now)
    for count in range(1, MESSAGES + 1):
        texts = (b'{"role":"user","content":"%0120d"}' % number,)
        appended = Appended(
            session=session(number, count, 0),
            now_ms=1_700_000_000_000 + number,
            changed=True,
            tail=count,
            count=1,
            at_ms=1_700_000_000_000 + number,
            last_seq=1_000 + count,
            first_seq_held=1_001,
            last_seq_held=1_000 + count,
            duplicates=(),
        )
        entry = entry.appended(Append(messages=texts, digests=(b"",)), appended, now)
    for count in range(1, VALUES + 1):
        write = StateWrite(sets={StateKey(f"key-{count}"): Value(b'"%0100d"' % number)})
        written = Written(
            session=session(number, MESSAGES, count),
            now_ms=1_700_000_000_000 + number,
            changed=True,
            tail=0,
            added=1,
            deleted=0,
            tag=(1 << 40) + number,
            packed=pack_values(write.sets, (1 << 40) + number),
        )
        entry = entry.state_written(write, {}, written, now)
    return entry


hot = HotTier(1 << 40)
entry_of(0)
before = own_rss_bytes()
for index in range(SESSIONS):
    reference = SessionRef(namespace=Namespace("default"), id=session(index, 0, 0).id)
    fill = hot.begin_fill(reference)
    hot.created(reference, entry_of(index), fill)
    hot.end_fill(reference, fill)
assert hot.status.sessions == SESSIONS
sys.stdout.write(f"{own_rss_bytes() - before} {hot.status.bytes}\n")
