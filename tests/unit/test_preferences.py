"""Prefer: respond-async among others, as RFC 7240 has them."""

import pytest

from service.http.preferences import prefers_async


@pytest.mark.parametrize(
    "text",
    [
        "respond-async",
        "Respond-ASYNC",
        "respond-async, wait=10",
        "wait=10 ,\trespond-async",
        'return=minimal; foo="a, b", respond-async',
        "respond-async; some=parameter",
        "respond-async=",
        'respond-async=""',
        'handling="say \\"respond\\"", respond-async',
        ", ,respond-async",
    ],
)
def test_it_is_found_among_other_preferences(text: str) -> None:
    assert prefers_async(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wait=10",
        "respond-asynchronously",
        "respond-async=yes",
        'respond-async="x"',
        'foo="a, respond-async, b"',
        "foo; respond-async",
        'foo="not closed, respond-async',
        "respond-async=1, respond-async",
        "return=respond-async",
    ],
)
def test_what_only_looks_like_it_is_not(text: str) -> None:
    assert not prefers_async(text)
