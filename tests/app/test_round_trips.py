"""Whatever is accepted comes back byte for byte, through HTTP and Redis and the hot tier."""

import json
from base64 import b64encode
from urllib.parse import quote
from uuid import uuid4

from httpx import AsyncClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

COLD = {"Cache-Control": "no-cache"}
WAYS: tuple[dict[str, str], ...] = ({}, COLD)

examples = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def names(most_bytes: int) -> st.SearchStrategy[str]:
    """Texts that are ids or keys, with what paths and Redis could trip over made likely."""
    special = st.sampled_from("/%{}*?#[]\\\"'+&=;:.~ \u00e9\u0301\U0001f600\u0080\u2028\ufeff")
    characters = special | st.characters(exclude_categories=["Cs", "Cc"])
    texts = st.text(characters, min_size=1, max_size=80)
    return texts.filter(lambda t: len(t.encode()) <= most_bytes and t not in {".", ".."})


blanks = st.text(" \t\r\n", max_size=2)
numbers = st.sampled_from(["0", "-0", "1.0", "1e999", "-1E-999", "0.10", "12345678901234567890123"])
strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).flatmap(
    lambda text: st.sampled_from([json.dumps(text), json.dumps(text, ensure_ascii=False)])
)
escapes = st.sampled_from(['"\\/"', '"\\u0041"', '"\\uD83D\\ude00"', '"\\u003a\\":"', '"[{\\\\"'])
scalars = numbers | strings | escapes | st.sampled_from(["true", "false"])


def containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.tuples(strings | escapes, blanks, inner).map(lambda m: f"{m[0]}{m[1]}:{m[2]}")
    return st.lists(inner | st.just("null"), max_size=4).map(
        lambda items: f"[{','.join(items)}]"
    ) | objects_of(members)


def objects_of(members: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    joined = st.tuples(blanks, st.lists(members, max_size=4))
    return joined.map(lambda parts: f"{{{parts[0]}{','.join(parts[1])}{parts[0]}}}")


values = st.recursive(scalars, containers, max_leaves=8)
objects = objects_of(st.tuples(strings | escapes, values).map(lambda m: f"{m[0]}:{m[1]}"))
media_types = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1).filter(
    lambda text: "json" not in text.lower() and len(text) <= 255
)


@examples
@given(sid=names(256), key=names(512), text=values, blank=blanks)
async def test_a_json_value_comes_back(
    client: AsyncClient, sid: str, key: str, text: str, blank: str
) -> None:
    session = f"/v1/sessions/{quote(sid, safe='')}"
    url, sent = f"{session}/state/{quote(key, safe='')}", f"{blank}{text}{blank}".encode()
    put = await client.put(url, content=sent, headers={"Content-Type": "application/json"})
    assert put.status_code in {201, 204}, put.text

    for way in WAYS:
        assert (await client.get(url, headers=way)).content == sent
        whole = await client.get(f"{session}?include=state", headers=way)
        assert whole.json()["id"] == sid
        assert key in whole.json()["state"]
        assert sent in whole.content


@examples
@given(key=names(512), text=values)
async def test_a_value_of_a_batch_comes_back(client: AsyncClient, key: str, text: str) -> None:
    name, url = json.dumps(key), f"/v1/sessions/{uuid4()}/state"
    body = f'{{"set" : {{ {name} :{text}}},"get":[{name}]}}'.encode()
    answer = await client.post(url, content=body)
    if answer.status_code == 400:
        assert "$raw" in text
        return

    assert list(answer.json()["values"]) == [key]
    assert f":{text}}}".encode() in answer.content
    for way in WAYS:
        listed = await client.get(f"{url}?values=true", headers=way)
        assert f":{text}}}".encode() in listed.content
        assert (await client.get(url, headers=way)).json()["keys"] == [key]


@examples
@given(data=st.binary(max_size=200), media_type=media_types)
async def test_raw_bytes_come_back(client: AsyncClient, data: bytes, media_type: str) -> None:
    url = f"/v1/sessions/{uuid4()}/state/k"
    put = await client.put(url, content=data, headers={"Content-Type": media_type})
    assert put.status_code == 201, put.text

    for way in WAYS:
        read = await client.get(url, headers=way)
        assert (read.content, read.headers["Content-Type"]) == (data, media_type)
        batch = await client.post(url[:-2], json={"get": ["k"]}, headers=way)
        raw = {"$raw": b64encode(data).decode(), "type": media_type}
        assert batch.json()["values"] == {"k": raw}


@examples
@given(texts=st.lists(objects, min_size=1, max_size=5), blank=blanks)
async def test_messages_come_back_in_order(
    client: AsyncClient, texts: list[str], blank: str
) -> None:
    url = f"/v1/sessions/{uuid4()}/messages"
    joined = f"{blank},{blank}".join(texts)
    posted = await client.post(url, content=f'{{"messages":[{blank}{joined}{blank}]}}'.encode())
    assert posted.status_code == 201, posted.text

    for way in WAYS:
        read = await client.get(url, headers=way)
        position = 0
        for number, text in enumerate(texts, 1):
            position = read.content.index(f'"message":{text}}}'.encode(), position) + 1
            assert f'"seq":{number},'.encode() in read.content
        assert read.json()["total"] == len(texts)


@examples
@given(first=strings, member=names(512))
async def test_a_dedupe_member_is_told_as_it_was_sent(
    client: AsyncClient, first: str, member: str
) -> None:
    url, name = f"/v1/sessions/{uuid4()}/messages", json.dumps(member)
    body = f'{{"messages":[{{{name}:{first}}}],"dedupe":{name}}}'.encode()

    assert (await client.post(url, content=body)).status_code == 201
    again = await client.post(url, content=body)
    assert again.status_code == 200
    assert f'"duplicates":[{first}]'.encode() in again.content
