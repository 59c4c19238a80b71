"""Entries of the sessions: create, read, change, delete, list, copy."""

from typing import Any

from service.http.openapi import kinds
from service.http.openapi.answers import Session, SessionPage, SessionView
from service.http.openapi.operation import Example, Operation, Operations
from service.http.queries import ListingQuery, SessionQuery
from service.http.schemas import CopyBody, SessionSettings, SettingsPatch

SESSION: dict[str, Any] = {
    "id": "chat-1",
    "etag": '"5f2c81d09a3b-1"',
    "created_at": "2024-05-01T12:00:00.000Z",
    "updated_at": "2024-05-01T12:00:00.000Z",
    "expires_at": "2024-05-01T13:00:00.000Z",
    "ttl": 3600,
    "touch": "write",
    "max_age": None,
    "max_messages": 1000,
    "message_count": 0,
    "state_key_count": 0,
}
FILLED = SESSION | {"etag": '"5f2c81d09a3b-2"', "message_count": 2}

OPERATIONS: Operations = {
    ("GET", "/v1/sessions"): Operation(
        id="listSessions",
        summary="List the sessions of the namespace, in no order; pages may be short or empty.",
        kind=kinds.PLAIN,
        query=ListingQuery,
        answers={200: SessionPage},
        examples=(
            Example(
                query={"prefix": "chat-", "limit": 100},
                answer={"sessions": [SESSION], "next": None},
                given=("putSession",),
            ),
        ),
    ),
    ("PUT", "/v1/sessions/{id}"): Operation(
        id="putSession",
        summary="Create a session, or change the settings that are named and keep the rest.",
        kind=kinds.WRITE,
        body=SessionSettings,
        body_is_optional=True,
        answers={201: Session, 200: Session},
        examples=(
            Example(body={"ttl": 3600, "max_messages": 1000}, status=201, answer=SESSION),
            Example(
                name="changeSession",
                body={"touch": "access", "max_age": 86_400},
                answer=SESSION | {"etag": '"5f2c81d09a3b-2"', "touch": "access", "max_age": 86_400},
                given=("putSession",),
            ),
        ),
    ),
    ("GET", "/v1/sessions/{id}"): Operation(
        id="getSession",
        summary="Read a session, with its contents if they are to be included.",
        kind=kinds.READ,
        query=SessionQuery,
        answers={200: SessionView, 304: None},
        problems=(404, 413),
        examples=(
            Example(answer=SESSION, given=("putSession",)),
            Example(
                name="getTurn",
                query={"include": "state,messages", "last": 1},
                answer=FILLED
                | {
                    "state": {},
                    "messages": [
                        {
                            "seq": 2,
                            "at": "2024-05-01T12:00:00.000Z",
                            "message": {"id": "m2", "text": "hello"},
                        }
                    ],
                    "first_seq": 1,
                    "last_seq": 2,
                    "total": 2,
                    "next": None,
                    "prev": 2,
                },
                given=("putSession", "appendMessages"),
            ),
            Example(
                name="getUnchangedSession",
                headers={"If-None-Match": '"5f2c81d09a3b-1"'},
                takes={"If-None-Match": "putSession/etag"},
                status=304,
                given=("putSession",),
            ),
        ),
    ),
    ("PATCH", "/v1/sessions/{id}"): Operation(
        id="patchSession",
        summary="Merge settings, null = default; {} only renews. Never creates.",
        kind=kinds.WRITE,
        body=SettingsPatch,
        body_is_optional=True,
        answers={200: Session},
        problems=(404,),
        examples=(
            Example(
                headers={"If-Match": '"5f2c81d09a3b-1"'},
                takes={"If-Match": "putSession/etag"},
                body={"ttl": 60, "touch": "never", "max_age": 3600, "max_messages": None},
                answer=SESSION
                | {"etag": '"5f2c81d09a3b-2"', "ttl": 60, "touch": "never", "max_age": 3600},
                given=("putSession",),
            ),
        ),
    ),
    ("DELETE", "/v1/sessions/{id}"): Operation(
        id="deleteSession",
        summary="Delete everything of a session.",
        kind=kinds.DELETE,
        answers={204: None},
        examples=(Example(status=204, given=("putSession",)),),
    ),
    ("POST", "/v1/sessions/{id}/copy"): Operation(
        id="copySession",
        summary="Copy state, messages and settings into a new session, as of one moment.",
        kind=kinds.WRITE,
        body=CopyBody,
        answers={201: Session},
        problems=(404, 409),
        examples=(
            Example(
                body={"to": "chat-2"},
                status=201,
                answer=FILLED | {"id": "chat-2", "etag": '"a7704c1e55f0-1"'},
                given=("putSession", "appendMessages"),
            ),
        ),
    ),
}
