"""The documentation says what the code does: each route, code and page is where it should be."""

import re
from pathlib import Path

import pytest

from service.errors import Internal, ServiceError
from service.http.openapi.problems import REFINED
from service.http.routes import API_ROUTES, OPEN_ROUTES

ROOT = Path(__file__).resolve().parents[2]
API = (ROOT / "docs" / "api.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def documented_routes() -> set[tuple[str, str]]:
    rows = [row for row in API.splitlines() if row.startswith("| `") and "/" in row.split("|")[1]]
    found = set()
    for row in rows:
        cell = row.split("|")[1]
        words = re.findall(r"[A-Z]{3,}|/[^`, ]*", cell)
        methods = [word for word in words if word.isupper()]
        paths = [word for word in words if word.startswith("/")]
        found |= {(method, path) for method in methods for path in paths}
    return found


def test_each_route_is_in_the_api_page_and_each_of_its_rows_is_a_route() -> None:
    routes = {
        (method, path)
        for table in (API_ROUTES, OPEN_ROUTES)
        for path, methods in table.items()
        for method in methods
        if path != "/"
    }
    assert documented_routes() == routes


@pytest.mark.parametrize("kind", [k for k in ServiceError.__subclasses__() if k is not Internal])
def test_each_error_that_a_client_can_cause_is_in_the_api_page(kind: type[ServiceError]) -> None:
    codes = {"not_found": "session_not_found", "conflict": "dedupe_mismatch"}
    code = codes.get(kind.default_code, kind.default_code)
    assert re.search(rf"\| {kind.status} \|.*`{code}`", API)


@pytest.mark.parametrize(
    ("status", "code"), [(status, code) for status, codes in REFINED.items() for code in codes]
)
def test_each_finer_code_is_in_the_api_page(status: int, code: str) -> None:
    assert re.search(rf"\| {status} \|.*`{code}`", API)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_of_a_page_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


FAULTS = (ROOT / "docs" / "decisions" / "0025-faults.md").read_text()
PROOFS = re.findall(r"`(\w+/test_\w+\.py)(?:: (\w+))?`", FAULTS)


@pytest.mark.parametrize(("path", "name"), PROOFS)
def test_each_test_that_is_said_to_prove_a_fault_is_there(path: str, name: str) -> None:
    source = (ROOT / "tests" / path).read_text()
    assert re.search(rf"def test_\w*{name}", source)
