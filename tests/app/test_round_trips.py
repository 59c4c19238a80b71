"""Whatever is accepted comes back byte for byte, through HTTP and Redis and the hot tier."""

import json
from base64 import b64encode
from urllib.parse import quote
from uuid import uuid4

from httpx import AsyncClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.app.calls import COLD

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


def positions(content: bytes, texts: list[str]) -> list[int]:
    """Return where each text of a message stands, one behind the other; fail if one does not."""
    found, position = [], 0
    for text in texts:
        position = content.index(f'"message":{text}}}'.encode(), position) + 1
        found.append(position)
    return found


@examples
@given(first=st.lists(objects, max_size=3), texts=st.lists(objects, max_size=5), blank=blanks)
async def test_messages_that_replace_others_come_back_in_every_way(
    client: AsyncClient, first: list[str], texts: list[str], blank: str
) -> None:
    session = f"/v1/sessions/{uuid4()}"
    url = f"{session}/messages"
    for sent in (first, texts):
        joined = f"{blank},{blank}".join(sent)
        put = await client.put(url, content=f'{{"messages":[{blank}{joined}{blank}]}}'.encode())
        assert put.status_code == 200, put.text
    seqs = range(len(first) + 1, len(first) + len(texts) + 1)

    for way in WAYS:
        positions((await client.get(url, headers=way)).content, texts)
        whole = await client.get(f"{session}?include=messages", headers=way)
        assert len(positions(whole.content, texts)) == whole.json()["total"]
        for seq, text in zip(seqs, texts, strict=True):
            one = await client.get(f"{url}/{seq}", headers=way)
            assert one.content.startswith(f'{{"seq":{seq},"at":"'.encode())
            assert one.content.endswith(f'"message":{text}}}'.encode())
    popped = await client.delete(f"{url}?last=3")
    assert len(positions(popped.content, texts[-3:])) == len(popped.json()["messages"])
    positions((await client.get(url)).content, texts[:-3])


@examples
@given(identity=st.text(st.characters(exclude_categories=["Cs"]), max_size=12), text=values)
async def test_a_message_is_found_by_any_identity(
    client: AsyncClient, identity: str, text: str
) -> None:
    url, name = f"/v1/sessions/{uuid4()}/messages", json.dumps(identity)
    message = f'{{"v":{text},"id":{name}}}'
    body = f'{{"messages":[{{}},{message},{{}}],"dedupe":"id"}}'.encode()
    posted = await client.post(url, content=body)
    assert posted.status_code == 201, posted.text

    for way in WAYS:
        found = await client.get(url, params={"id": identity}, headers=way)
        assert [each["seq"] for each in found.json()["messages"]] == [2]
        positions(found.content, [message])


@examples
@given(ids=st.tuples(names(256), names(256)), key=names(512), text=values, message=objects)
async def test_a_copy_comes_back_as_its_source(
    client: AsyncClient, ids: tuple[str, str], key: str, text: str, message: str
) -> None:
    source, fork = (f"/v1/sessions/{quote(name, safe='')}" for name in ids)
    value = f"/state/{quote(key, safe='')}"
    await client.delete(fork)
    await client.delete(source)
    await client.put(source + value, content=text.encode(), headers={"Content-Type": "a/x+json"})
    await client.put(f"{source}/messages", content=f'{{"messages":[{message}]}}'.encode())
    copied = await client.post(f"{source}/copy", json={"to": ids[1]})
    if source == fork:
        assert copied.status_code == 409
        return

    assert copied.json()["id"] == ids[1]
    for way in WAYS:
        read = await client.get(fork + value, headers=way)
        assert (read.content, read.headers["Content-Type"]) == (text.encode(), "a/x+json")
        positions((await client.get(f"{fork}/messages", headers=way)).content, [message])
        whole = await client.get(f"{fork}?include=state,messages", headers=way)
        assert list(whole.json()["state"]) == [key]


@examples
@given(data=st.binary(max_size=200), media_type=media_types, key=names(512), text=values)
async def test_raw_values_of_a_batch_come_back_beside_others(
    client: AsyncClient, data: bytes, media_type: str, key: str, text: str
) -> None:
    session = f"/v1/sessions/{uuid4()}"
    url = f"{session}/state"
    raw = {"$raw": b64encode(data).decode(), "type": media_type}
    sent = await client.post(url, json={"set": {key: raw}, "get": [key], "key_ttl": 60})
    assert sent.status_code == 200, sent.text
    assert sent.json()["values"] == {key: raw}
    other = "o" if key != "o" else "p"
    put = await client.put(
        f"{url}/{other}?key_ttl=60", content=text.encode(), headers={"Content-Type": "a/x+json"}
    )
    assert put.status_code == 201, put.text

    for way in WAYS:
        read = await client.get(f"{url}/{quote(key, safe='')}", headers=way)
        assert (read.content, read.headers["Content-Type"]) == (data, media_type)
        listed = await client.get(f"{url}?values=true", headers=way)
        whole = await client.get(f"{session}?include=state", headers=way)
        batch = await client.post(url, json={"get": [key, other]}, headers=way)
        for answer, member in ((listed, "values"), (whole, "state"), (batch, "values")):
            assert answer.json()[member][key] == raw
            assert f'"{other}":{text}'.encode() in answer.content


@examples
@given(kept=values, patched=values, blank=blanks)
async def test_what_a_merge_does_not_touch_comes_back(
    client: AsyncClient, kept: str, patched: str, blank: str
) -> None:
    url = f"/v1/sessions/{uuid4()}/state"
    value = f'{blank}{{{blank}"gone":1,"kept" :{blank}{kept} ,"new":[{kept}]}}{blank}'
    batch = f'{{"set":{{"k":{value}}}}}'.encode()
    assert (await client.post(url, content=batch)).status_code == 200
    patch = f'{{"gone":null,"new":[{patched}]}}'
    merged = await client.post(url, content=f'{{"merge":{{"k":{patch}}},"get":["k"]}}'.encode())

    assert merged.status_code == 200, merged.text
    for way in WAYS:
        read = (await client.get(f"{url}/k", headers=way)).text
        assert read == f'{{"kept":{kept},"new":[{patched}]}}'
        assert f'"k":{read}}}' in merged.text
