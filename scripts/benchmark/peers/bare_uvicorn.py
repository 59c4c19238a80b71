"""The floor: an ASGI app that reads the body and repeats a recorded answer of ours.

Arguments: PORT FILE.
"""

import sys
from pathlib import Path
from typing import Any

from scripts.benchmark.peers.recorded import load
from scripts.benchmark.peers.server import serve


class Bare:
    """Knows the operation by the first word of the path."""

    def __init__(self, path: Path) -> None:
        self._answers = {
            name: (
                {
                    "type": "http.response.start",
                    "status": it.status,
                    "headers": [*it.headers, (b"content-length", b"%d" % len(it.body))],
                },
                {"type": "http.response.body", "body": it.body},
            )
            for name, it in load(path).items()
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 # as ASGI is
        """Answer one request."""
        start, body = self._answers[scope["path"].split("/", 2)[1]]
        while (await receive()).get("more_body"):
            pass
        await send(start)
        await send(body)


if __name__ == "__main__":
    serve(Bare(Path(sys.argv[2])), int(sys.argv[1]))
