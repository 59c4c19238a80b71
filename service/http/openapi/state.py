"""Entries of the state: the batch, the listing, one value."""

from service.http.openapi import kinds
from service.http.openapi.answers import (
    BatchAccepted,
    BatchAnswer,
    Deleted,
    KeyPage,
    ValuePage,
)
from service.http.openapi.operation import Binary, Example, Operation, Operations
from service.http.queries import KeyTtlQuery, PrefixQuery, StateQuery
from service.http.schemas import StateBatch

OPERATIONS: Operations = {
    ("POST", "/v1/sessions/{id}/state"): Operation(
        id="batchState",
        summary="Set and delete, then merge, then get keys in one step; one that only gets reads.",
        kind=kinds.KEYED,
        body=StateBatch,
        answers={200: BatchAnswer, 202: BatchAccepted},
        examples=(
            Example(
                headers={"Idempotency-Key": "turn-7"},
                body={
                    "set": {"creds": {"me": 1}, "old": None},
                    "merge": {"flow": {"step": 2}},
                    "get": ["flow", "unknown"],
                    "ttl": 3600,
                },
                answer={
                    "values": {"flow": {"step": 2}, "unknown": None},
                    "deleted": 0,
                    "etag": '"5f2c81d09a3b-1"',
                },
            ),
            Example(
                name="setBehind",
                headers={"Prefer": "respond-async"},
                body={"set": {"flow": {"step": 2}, "old": None}},
                status=202,
                answer={"values": {}, "deleted": None},
            ),
            Example(
                name="setRawValue",
                body={"set": {"icon": {"$raw": "AAEC", "type": "image/png"}}, "key_ttl": 60},
                answer={"values": {}, "deleted": 0, "etag": '"5f2c81d09a3b-1"'},
            ),
        ),
    ),
    ("GET", "/v1/sessions/{id}/state"): Operation(
        id="listState",
        summary="List state keys in the order of their bytes, with their values if wanted.",
        kind=kinds.READ,
        query=StateQuery,
        answers={200: (KeyPage, ValuePage), 304: None},
        problems=(413,),
        examples=(
            Example(
                query={"limit": 1},
                answer={"keys": ["creds"], "next": "creds"},
                given=("batchState",),
            ),
            Example(
                name="listStateValues",
                query={"prefix": "f", "after": "a", "values": True},
                answer={"values": {"flow": {"step": 2}}, "next": None},
                given=("batchState",),
            ),
        ),
    ),
    ("DELETE", "/v1/sessions/{id}/state"): Operation(
        id="deleteState",
        summary="Delete the keys that begin with a prefix; all without one.",
        kind=kinds.DELETE,
        query=PrefixQuery,
        answers={200: Deleted},
        examples=(Example(query={"prefix": "f"}, answer={"deleted": 1}, given=("batchState",)),),
    ),
    ("GET", "/v1/sessions/{id}/state/{key}"): Operation(
        id="getValue",
        summary="Read one value exactly as it was sent. ETag is the value's own.",
        kind=kinds.READ,
        answers={200: Binary(), 304: None},
        problems=(404,),
        examples=(
            Example(path={"key": "creds"}, answer={"me": 1}, given=("batchState",)),
            Example(
                name="getRawValue",
                path={"key": "note"},
                media_type="text/plain",
                answer="hi",
                given=("putRawValue",),
            ),
        ),
    ),
    ("PUT", "/v1/sessions/{id}/state/{key}"): Operation(
        id="putValue",
        summary="Set one value: JSON, or raw bytes of any other content type.",
        kind=kinds.BEHIND,
        query=KeyTtlQuery,
        body=Binary(),
        answers={201: None, 202: None, 204: None},
        examples=(
            Example(
                path={"key": "creds"},
                query={"key_ttl": 60},
                body={"me": 1},
                status=201,
            ),
            Example(
                name="putRawValue",
                path={"key": "note"},
                body="hi",
                media_type="text/plain",
                status=201,
            ),
            Example(
                name="putValueBehind",
                path={"key": "creds"},
                headers={"Prefer": "respond-async"},
                body={"me": 1},
                status=202,
            ),
            Example(
                name="replaceValue",
                path={"key": "creds"},
                headers={"If-Match": "*"},
                body={"me": 2},
                status=204,
                given=("putValue",),
            ),
        ),
    ),
    ("DELETE", "/v1/sessions/{id}/state/{key}"): Operation(
        id="deleteValue",
        summary="Delete one value, if it is there.",
        kind=kinds.DELETE,
        answers={204: None},
        examples=(Example(path={"key": "creds"}, status=204, given=("batchState",)),),
    ),
}
