"""Routes of operators: run a tier now, see what allocates; they concern the whole process."""

from starlette.requests import ClientDisconnect

from service.errors import Unavailable
from service.http.answers import Document, json_response
from service.http.bodies import parse_relief, parse_trace
from service.http.call import Call
from service.http.health import lever_document
from service.http.response import Response
from service.memory.allocations import Allocations, trace_allocations
from service.vitals import Cleanup, LeverReport


async def relieve(call: Call) -> Response:
    """Run a tier as if memory pressed, or only say what that would free."""
    call.query()
    tier, is_dry = parse_relief(await call.json_body())
    governor = call.parts["governor"]
    before = governor.status.reading
    cleanup = await governor.relieve(tier, dry_run=is_dry)
    reports = cleanup.levers
    before_bytes = reports[0].before_bytes if reports else before.used_bytes
    after_bytes = reports[-1].after_bytes if reports else before_bytes
    return json_response(_relieved(cleanup, before_bytes, after_bytes, is_dry=is_dry))


async def trace_leak(call: Call) -> Response:
    """Tell which lines of code allocate what stays, in the next seconds."""
    call.query()
    seconds, most_places = parse_trace(await call.json_body() or b"{}")

    async def check_wanted() -> None:
        if await call.is_disconnected():
            raise ClientDisconnect
        if call.parts["stopping"].is_set:
            raise Unavailable("This process is stopping: send it again.", code="stopping")

    return json_response(_traced(await trace_allocations(seconds, most_places, check_wanted)))


def _relieved(cleanup: Cleanup, before_bytes: int, after_bytes: int, *, is_dry: bool) -> Document:
    return {
        "tier": cleanup.tier,
        "dryRun": is_dry,
        "beforeBytes": before_bytes,
        "afterBytes": after_bytes,
        "freedBytes": cleanup.freed_bytes,
        "ms": round(cleanup.ms, 1),
        "levers": [_lever(report) for report in cleanup.levers],
    }


def _lever(report: LeverReport) -> Document:
    use = {"beforeBytes": report.before_bytes, "afterBytes": report.after_bytes}
    return lever_document(report) | use


def _traced(allocations: Allocations) -> Document:
    return {
        "seconds": allocations.seconds,
        "bytes": allocations.size_bytes,
        "count": allocations.count,
        "places": [
            {
                "file": place.file,
                "line": place.line,
                "bytes": place.size_bytes,
                "count": place.count,
            }
            for place in allocations.places
        ],
    }
