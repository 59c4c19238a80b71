"""What every error looks like, whichever route it comes from (RFC 9457)."""

from typing import Any

from httpx import Response

MEMBERS = {"type", "title", "status", "detail", "code", "request_id"}
MAY_FOLLOW = {"errors", "limit", "etag", "outcome", "backup"}


def assert_problem(
    response: Response, status: int, code: str | None = None, *, at: str | None = None
) -> dict[str, Any]:
    """Check that an answer is a problem with this status, code and pointer; return its document."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert MEMBERS <= document.keys() <= MEMBERS | MAY_FOLLOW
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == response.headers["X-Request-Id"]
    assert "Traceback" not in response.text
    assert code in {None, document["code"]}
    assert at is None or at in [fault["pointer"] for fault in document["errors"]], document
    assert all(set(fault) == {"pointer", "reason"} for fault in document.get("errors", []))
    return document
