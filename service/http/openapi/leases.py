"""Entries of the lease: take, extend, release."""

from service.http.openapi import kinds
from service.http.openapi.answers import Lease
from service.http.openapi.operation import Example, Operation, Operations
from service.http.schemas import LeaseBody, LeaseExtension

LEASE = {"token": "3q2-7wAAQ0mC9xkYb1lHWg", "expires_at": "2024-05-01T12:00:30.000Z"}
TOKEN = {"Lease-Token": LEASE["token"]}
TAKEN = {"Lease-Token": "takeLease/token"}

OPERATIONS: Operations = {
    ("POST", "/v1/sessions/{id}/lease"): Operation(
        id="takeLease",
        summary="Take the advisory lock of a session's id, whether the session is there or not.",
        kind=kinds.LEASE,
        body=LeaseBody,
        body_is_optional=True,
        answers={201: Lease},
        problems=(423, 507),
        examples=(Example(body={"ttl": 30, "wait": 0}, status=201, answer=LEASE),),
    ),
    ("PATCH", "/v1/sessions/{id}/lease"): Operation(
        id="extendLease",
        summary="Let the lease end so long from now.",
        kind=kinds.HELD_LEASE,
        body=LeaseExtension,
        body_is_optional=True,
        answers={200: Lease},
        examples=(
            Example(
                headers=TOKEN, takes=TAKEN, body={"ttl": 60}, answer=LEASE, given=("takeLease",)
            ),
        ),
    ),
    ("DELETE", "/v1/sessions/{id}/lease"): Operation(
        id="releaseLease",
        summary="Give the lease back.",
        kind=kinds.HELD_LEASE,
        answers={204: None},
        examples=(Example(headers=TOKEN, takes=TAKEN, status=204, given=("takeLease",)),),
    ),
}
