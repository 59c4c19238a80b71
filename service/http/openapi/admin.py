"""Entries of what operators ask of a process."""

from typing import Any

from service.http.openapi import kinds
from service.http.openapi.answers import Allocations, Relieved
from service.http.openapi.operation import Example, Operation, Operations
from service.http.schemas import ReliefBody, TraceBody

EVICTED: dict[str, Any] = {
    "name": "evict",
    "available": True,
    "resting": False,
    "beforeBytes": 201_326_592,
    "afterBytes": 201_326_592,
    "freedBytes": 31_457_280,
    "returnedBytes": 0,
    "ms": 21.4,
}
TRIMMED = EVICTED | {
    "name": "malloc_trim",
    "afterBytes": 173_015_040,
    "freedBytes": 28_311_552,
    "returnedBytes": 28_311_552,
}
RELIEVED: dict[str, Any] = {
    "tier": "emergency",
    "dryRun": False,
    "beforeBytes": 201_326_592,
    "afterBytes": 173_015_040,
    "freedBytes": 28_311_552,
    "ms": 43.0,
    "levers": [EVICTED, TRIMMED],
}
LINE = {"file": "service/hot/packed_log.py", "line": 98, "bytes": 1_048_576, "count": 512}

OPERATIONS: Operations = {
    ("POST", "/v1/admin/relieve"): Operation(
        id="relieve",
        summary="Run a tier of memory relief now, or say what it would free.",
        kind=kinds.PLAIN,
        body=ReliefBody,
        answers={200: Relieved},
        examples=(
            Example(body={"tier": "emergency"}, answer=RELIEVED),
            Example(
                name="relieveDry",
                body={"tier": "standard", "dry_run": True},
                answer=RELIEVED | {"tier": "standard", "dryRun": True},
            ),
        ),
    ),
    ("POST", "/v1/admin/leak"): Operation(
        id="traceLeak",
        summary="Trace allocations for some seconds: which lines hold what is still there.",
        kind=kinds.PLAIN,
        body=TraceBody,
        body_is_optional=True,
        answers={200: Allocations},
        problems=(409,),
        examples=(
            Example(
                body={"seconds": 1, "top": 5},
                answer={"seconds": 1, "bytes": 1_310_720, "count": 900, "places": [LINE]},
            ),
        ),
    ),
}
