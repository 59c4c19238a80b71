"""Runs a peer on the service's own server settings: uvloop, httptools, no access log."""

import uvicorn

from scripts.benchmark.generator import HOST

KEEP_ALIVE_SECONDS = 95


def serve(app: object, port: int) -> None:
    """Serve until a signal."""
    uvicorn.run(
        app,  # type: ignore[arg-type] # an ASGI app of any make
        host=HOST,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
    )
