"""Entries of the backup: read what is known of it, restore."""

from service.http.openapi import kinds
from service.http.openapi.answers import Backup, Session
from service.http.openapi.operation import Example, Operation, Operations
from service.http.openapi.sessions import SESSION
from service.http.queries import RestoreQuery

OPERATIONS: Operations = {
    ("GET", "/v1/sessions/{id}/backup"): Operation(
        id="getBackup",
        summary="Read of when the backup of a session's state is, and how large.",
        kind=kinds.PLAIN,
        answers={200: Backup},
        problems=(404,),
        examples=(Example(answer={"at": "2024-05-01T12:00:05.000Z", "bytes": 312, "keys": 2}),),
    ),
    ("POST", "/v1/sessions/{id}/restore"): Operation(
        id="restoreSession",
        summary="Make a session of the backup of its state; messages that are there stay.",
        kind=kinds.WRITE,
        query=RestoreQuery,
        answers={201: Session, 200: Session},
        problems=(404, 409, 413, 422),
        examples=(
            Example(status=201, answer=SESSION | {"state_key_count": 2}),
            Example(
                name="restoreOverSession",
                query={"replace": True},
                answer=SESSION | {"etag": '"a7704c1e55f0-2"', "state_key_count": 2},
                given=("putSession",),
            ),
        ),
    ),
}
