"""Entries of what needs no key: health, this document, the start page."""

from service.http.openapi import kinds
from service.http.openapi.answers import AnyObject, Health, Status
from service.http.openapi.operation import Example, Operation, Operations

OPERATIONS: Operations = {
    ("GET", "/health"): Operation(
        id="getHealth",
        summary="Tell how it goes, from memory, in milliseconds.",
        kind=kinds.PROBE,
        answers={200: Health, 503: Health},
        examples=(
            Example(
                answer={
                    "status": "ok",
                    "timestamp": "2024-05-01T12:00:00.000Z",
                    "uptime": 86_400,
                    "memory": {},
                    "memoryOptimizationEnabled": True,
                    "databaseConnected": True,
                }
            ),
        ),
    ),
    ("GET", "/health/live"): Operation(
        id="getLiveness",
        summary="Tell that the process answers.",
        kind=kinds.PROBE,
        answers={200: Status},
        examples=(Example(answer={"status": "ok"}),),
    ),
    ("GET", "/health/ready"): Operation(
        id="getReadiness",
        summary="Tell whether requests should be sent here: not while stopping or without Redis.",
        kind=kinds.PROBE,
        answers={200: Status, 503: Status},
        examples=(Example(answer={"status": "ok"}),),
    ),
    ("GET", "/openapi.json"): Operation(
        id="getOpenapi",
        summary="This document.",
        kind=kinds.PLAIN,
        answers={200: AnyObject},
        examples=(Example(answer={"openapi": "3.1.1"}),),
    ),
    ("GET", "/"): Operation(
        id="getRoot",
        summary="Lead to what there is to see.",
        kind=kinds.PLAIN,
        answers={307: None},
        examples=(Example(status=307),),
    ),
}
