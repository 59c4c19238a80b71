"""What Starlette takes for a route, a request and a response: repeats answers of ours.

Arguments: PORT FILE.
"""

import sys
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scripts.benchmark.peers.recorded import Recorded, load
from scripts.benchmark.peers.server import serve


def route(name: str, recorded: Recorded) -> Route:
    """Make the route of one operation."""
    headers = {name.decode(): text.decode() for name, text in recorded.headers}

    async def answer(request: Request) -> Response:
        await request.body()
        return Response(recorded.body, recorded.status, headers)

    return Route(f"/{name}/v1/sessions/{{rest:path}}", answer, methods=["GET", "POST"])


def make_app(path: Path) -> Starlette:
    """Make the app from a file of recorded answers."""
    return Starlette(routes=[route(name, it) for name, it in load(path).items()])


if __name__ == "__main__":
    serve(make_app(Path(sys.argv[2])), int(sys.argv[1]))
