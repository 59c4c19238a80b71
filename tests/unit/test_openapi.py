"""The OpenAPI document: valid, whole, and nothing in it that is not there."""

import re
from pathlib import Path

from openapi_spec_validator import validate

from service.errors import OVERLOADED, ServiceError
from service.http.openapi.document import PAGES, build_document
from service.http.routes import API_ROUTES, OPEN_ROUTES
from tests.openapi_examples import Examples

DOCUMENT = build_document(API_ROUTES, OPEN_ROUTES)
SOURCES = list((Path(__file__).resolve().parents[2] / "service").rglob("*.py"))


def test_it_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_each_route_is_in_it_and_each_entry_is_a_route() -> None:
    routes = {
        (method, path)
        for table in (API_ROUTES, OPEN_ROUTES)
        for path, methods in table.items()
        for method in methods
    }
    described = {(method, path) for method, path, _ in Examples(DOCUMENT).operations()}
    entries = {entry for page in PAGES.values() for entry in page}

    assert described == routes
    assert entries == {(method, path) for method, path in routes if method != "HEAD"}


def test_each_code_of_an_error_is_in_it() -> None:
    refined = {
        code for path in SOURCES for code in re.findall(r'\bcode="([a-z_]+)"', path.read_text())
    }
    codes = refined | {OVERLOADED} | {kind.default_code for kind in ServiceError.__subclasses__()}
    described = {
        code
        for response in DOCUMENT["components"]["responses"].values()
        for content in response["content"].values()
        for code in content["schema"]["allOf"][1]["properties"]["code"]["enum"]
    }
    assert described == codes


def test_operations_and_examples_have_names_of_their_own() -> None:
    examples = Examples(DOCUMENT)
    ids = [operation["operationId"] for *_, operation in examples.operations()]

    assert len(ids) == len(set(ids))
    assert len(examples.names()) == len(set(examples.names()))
    assert all(operation["x-examples"] for *_, operation in examples.operations())


def test_a_route_asks_for_the_scope_that_it_is_served_with() -> None:
    for method, path, operation in Examples(DOCUMENT).operations():
        endpoint = API_ROUTES.get(path, {}).get(method)
        wanted = [{"bearer": [endpoint.scope.name.lower()]}] if endpoint else []
        assert operation["security"] == wanted


def test_each_problem_of_an_operation_is_described_once() -> None:
    for *_, operation in Examples(DOCUMENT).operations():
        for status, response in operation["responses"].items():
            if "$ref" in response:
                name = response["$ref"].rpartition("/")[2]
                properties = DOCUMENT["components"]["responses"][name]["content"][
                    "application/problem+json"
                ]["schema"]["allOf"][1]["properties"]
                assert properties["status"] == {"const": int(status)}


def test_what_an_example_sends_is_as_its_schema_says() -> None:
    examples = Examples(DOCUMENT)
    for *_, operation in examples.operations():
        contents = operation.get("requestBody", {}).get("content", {}).values()
        for described in (*operation["parameters"], *contents):
            for example in described.get("examples", {}).values():
                examples.validate(described.get("schema", {}), example["value"])
