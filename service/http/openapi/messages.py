"""Entries of the messages: append, read, replace, remove, one message."""

from typing import Any

from service.http.openapi import kinds
from service.http.openapi.answers import (
    AppendAccepted,
    Appended,
    Deleted,
    Message,
    MessagePage,
    Popped,
    Replaced,
)
from service.http.openapi.operation import Example, Operation, Operations
from service.http.queries import RemovalQuery, WindowQuery
from service.http.schemas import AppendBody, ReplaceBody

AT = "2024-05-01T12:00:00.000Z"
SENT: list[dict[str, Any]] = [{"id": "m1", "text": "hi"}, {"id": "m2", "text": "hello"}]
MESSAGES = [{"seq": seq, "at": AT, "message": sent} for seq, sent in enumerate(SENT, 1)]
BOTH = {"first_seq": 1, "last_seq": 2, "total": 2, "next": None, "prev": None}
APPENDED = {
    "first_seq": 1,
    "last_seq": 2,
    "count": 2,
    "duplicates": [],
    "etag": '"5f2c81d09a3b-1"',
}
ONCE: dict[str, Any] = {
    "headers": {"Idempotency-Key": "update-17"},
    "body": {"messages": SENT},
    "status": 201,
    "answer": APPENDED,
}
"""A keyed call; its repetition gets the same seqs and ETag."""

OPERATIONS: Operations = {
    ("POST", "/v1/sessions/{id}/messages"): Operation(
        id="appendMessages",
        summary="Append messages in order; creates the session.",
        kind=kinds.KEYED,
        body=AppendBody,
        answers={201: Appended, 200: Appended, 202: AppendAccepted},
        examples=(
            Example(
                body={"messages": SENT, "dedupe": "id", "ttl": 3600, "max_messages": 1000},
                status=201,
                answer=APPENDED,
            ),
            Example(name="appendOnce", **ONCE),
            Example(name="appendOnceMore", given=("appendOnce",), **ONCE),
            Example(
                name="appendBehind",
                headers={"Prefer": "respond-async"},
                body={"messages": SENT},
                status=202,
                answer={"count": 2, "duplicates": []},
            ),
            Example(
                name="appendAgain",
                body={"messages": SENT[:1], "dedupe": "id"},
                answer={
                    "first_seq": None,
                    "last_seq": None,
                    "count": 0,
                    "duplicates": ["m1"],
                    "etag": '"5f2c81d09a3b-1"',
                },
                given=("appendMessages",),
            ),
        ),
    ),
    ("GET", "/v1/sessions/{id}/messages"): Operation(
        id="readMessages",
        summary="Read a window of the log, oldest first; the newest 50 without parameters.",
        kind=kinds.READ,
        query=WindowQuery,
        answers={200: MessagePage, 304: None},
        examples=(
            Example(answer={"messages": MESSAGES} | BOTH, given=("appendMessages",)),
            Example(
                name="readNewest",
                query={"last": 20, "max_bytes": 65_536},
                answer={"messages": MESSAGES} | BOTH,
                given=("appendMessages",),
            ),
            Example(
                name="readAfter",
                query={"after": 1, "before": 3, "limit": 100},
                answer={"messages": MESSAGES[1:]} | BOTH | {"prev": 2},
                given=("appendMessages",),
            ),
            Example(
                name="readSince",
                query={"since": "2024-01-01T00:00:00Z"},
                answer={"messages": MESSAGES} | BOTH,
                given=("appendMessages",),
            ),
            Example(
                name="readById",
                query={"id": "m1"},
                answer={"messages": MESSAGES[:1]} | BOTH | {"next": 1},
                given=("appendMessages",),
            ),
        ),
    ),
    ("PUT", "/v1/sessions/{id}/messages"): Operation(
        id="replaceMessages",
        summary="Replace all messages by others; seqs go on. Creates the session.",
        kind=kinds.WRITE,
        body=ReplaceBody,
        answers={200: Replaced},
        problems=(409,),
        examples=(
            Example(
                body={
                    "messages": [{"id": "m3", "summary": "they greeted"}],
                    "dedupe": "id",
                    "ttl": 3600,
                    "max_messages": 1000,
                },
                answer={"first_seq": 3, "last_seq": 3, "count": 1, "etag": '"5f2c81d09a3b-2"'},
                given=("appendMessages",),
            ),
        ),
    ),
    ("DELETE", "/v1/sessions/{id}/messages"): Operation(
        id="removeMessages",
        summary="Delete all messages; pop the newest with last=; trim the oldest with before=.",
        kind=kinds.KEYED_DELETE,
        query=RemovalQuery,
        answers={200: (Popped, Deleted), 204: None},
        problems=(413,),
        examples=(
            Example(status=204, given=("appendMessages",)),
            Example(
                name="popMessages",
                query={"last": 1},
                answer={"messages": MESSAGES[1:]},
                given=("appendMessages",),
            ),
            Example(
                name="trimMessages",
                query={"before": 2},
                answer={"deleted": 1},
                given=("appendMessages",),
            ),
        ),
    ),
    ("GET", "/v1/sessions/{id}/messages/{seq}"): Operation(
        id="readMessage",
        summary="Read one message.",
        kind=kinds.READ,
        answers={200: Message, 304: None},
        problems=(404,),
        examples=(Example(path={"seq": 1}, answer=MESSAGES[0], given=("appendMessages",)),),
    ),
    ("DELETE", "/v1/sessions/{id}/messages/{seq}"): Operation(
        id="deleteMessage",
        summary="Delete one message, if it is there; its seq stays empty.",
        kind=kinds.DELETE,
        answers={204: None},
        examples=(Example(path={"seq": 1}, status=204, given=("appendMessages",)),),
    ),
}
