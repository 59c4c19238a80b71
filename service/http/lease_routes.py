"""Routes of a session's lease: take it, extend it, give it back."""

import asyncio

from starlette.requests import ClientDisconnect

from service.clock import rfc3339
from service.errors import BadInput, Fault, Unavailable
from service.http.answers import DURABILITY, json_response
from service.http.bodies import parse_extension, parse_lease
from service.http.call import Call
from service.http.response import Response
from service.model import Lease


async def acquire_lease(call: Call) -> Response:
    """Take the lease of a session's id, there or not; wait for it if the body says so."""
    call.query()
    ttl_ms, wait_ms = parse_lease(await call.json_body() or b"{}")

    hung_up, listeners = asyncio.Event(), call.parts["listeners"]

    async def check_wanted() -> None:
        if await call.is_disconnected():
            raise ClientDisconnect
        if hung_up.is_set():
            raise call.hold.refusal()
        if call.parts["stopping"].is_set:
            raise Unavailable("This process is stopping: send it again.", code="stopping")

    listener = listeners.add("lease_wait", close=hung_up.set)
    try:
        lease = await call.parts["leases"].acquire(
            call.ref, ttl_ms=ttl_ms, wait_ms=wait_ms, check_wanted=check_wanted
        )
    finally:
        listeners.discard(listener)
    return _answer(lease, 201)


async def extend_lease(call: Call) -> Response:
    """Let the lease end `ttl` from now."""
    call.query()
    token = _token(call)
    ttl_ms = parse_extension(await call.json_body() or b"{}")
    lease = await call.parts["leases"].extend(call.ref, token, ttl_ms)
    return _answer(lease, 200)


async def release_lease(call: Call) -> Response:
    """Give the lease back."""
    call.query()
    await call.parts["leases"].release(call.ref, _token(call))
    return Response(status_code=204, headers=DURABILITY)


def _token(call: Call) -> str:
    token = call.lease_token()
    if token is None:
        fault = Fault("/headers/lease-token", "is missing")
        raise BadInput("Send the token of the lease as Lease-Token.", fault)
    return token


def _answer(lease: Lease, status: int) -> Response:
    document = {"token": lease.token, "expires_at": rfc3339(lease.expires_at_ms)}
    return json_response(document, DURABILITY, status)
