"""Examples of an OpenAPI document as calls: found, put together, run in the order they need."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from httpx import AsyncClient, Response
from jsonschema import Draft202012Validator

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request; `names` fill the path."""

    method: str
    path: str
    names: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    media_type: str | None = None

    def with_value(self, place: str, name: str, value: object) -> "Call":
        """Return the call with another value at one place: path, query or body."""
        match place:
            case "path":
                return replace(self, names={**self.names, name: value})
            case "query":
                return replace(self, query={**self.query, name: value})
            case _:
                return replace(self, body={**self.body, name: value})

    async def send(self, client: AsyncClient) -> Response:
        """Send it; JSON bodies as JSON, others as they are."""
        names = {name: quote(str(value), safe="") for name, value in self.names.items()}
        is_json = self.media_type == "application/json"
        sent = {"Content-Type": self.media_type} if self.media_type else {}
        return await client.request(
            self.method,
            self.path.format_map(names),
            params=dict(self.query),
            headers={**self.headers, **sent},
            json=self.body if is_json else None,
            content=None if is_json else self.body,
        )


@dataclass(frozen=True, slots=True)
class Examples:
    """All examples of a document, by name."""

    document: Document

    def operations(self) -> Iterator[tuple[str, str, Document]]:
        """Yield method, path and description of each."""
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                yield method.upper(), path, operation

    def names(self) -> list[str]:
        """Return the name of each example."""
        return [name for *_, operation in self.operations() for name in operation["x-examples"]]

    def find(self, name: str) -> tuple[str, str, Document]:
        """Return method, path and description of the operation that an example belongs to."""
        return next(found for found in self.operations() if name in found[2]["x-examples"])

    def call(self, name: str) -> Call:
        """Put an example together from the places where it stands."""
        method, path, operation = self.find(name)
        placed: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}}
        for parameter in operation["parameters"]:
            if name in parameter.get("examples", {}):
                value = parameter["examples"][name]["value"]
                placed[parameter["in"]][parameter["name"]] = value
        body, media_type = None, None
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            if name in content.get("examples", {}):
                body, media_type = content["examples"][name]["value"], kind
        return Call(
            method=method,
            path=path,
            names=placed["path"],
            query=placed["query"],
            headers=placed["header"],
            body=body,
            media_type=media_type,
        )

    async def run(self, client: AsyncClient, name: str, call: Call | None = None) -> Response:
        """Run what an example needs, then the example, or another call in its place."""
        answers: dict[str, Response] = {}
        for earlier in self._needed(name):
            answers[earlier] = await self._send(client, earlier, self.call(earlier), answers)
            assert answers[earlier].status_code == self.status(earlier)
        return await self._send(client, name, call or self.call(name), answers)

    def status(self, name: str) -> int:
        """Return the status that an example is answered with."""
        status: int = self.find(name)[2]["x-examples"][name]["status"]
        return status

    def answer(self, name: str) -> tuple[Document, str | None, Any]:
        """Return what is said of an example's answer, its content type and value."""
        answer: Document = self.find(name)[2]["responses"][str(self.status(name))]
        for media_type, content in answer.get("content", {}).items():
            if name in content.get("examples", {}):
                return answer, media_type, content["examples"][name]["value"]
        return answer, None, None

    def validate(self, schema: Document, value: object) -> None:
        """Raise unless a value is as a schema of the document says."""
        whole = {**schema, "components": self.document["components"]}
        Draft202012Validator(whole).validate(value)

    def _needed(self, name: str) -> Iterator[str]:
        for earlier in self.find(name)[2]["x-examples"][name].get("given", ()):
            yield from self._needed(earlier)
            yield earlier

    async def _send(
        self, client: AsyncClient, name: str, call: Call, answers: Mapping[str, Response]
    ) -> Response:
        takes = self.find(name)[2]["x-examples"][name].get("takes", {})
        taken = {}
        for header, source in takes.items():
            earlier, _, member = source.partition("/")
            taken[header] = answers[earlier].json()[member]
        return await replace(call, headers={**call.headers, **taken}).send(client)
