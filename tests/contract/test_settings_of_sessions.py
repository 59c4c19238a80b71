"""Sessions: created, configured, deleted, and what counts as a change."""

import pytest

from service.errors import PreconditionFailed
from service.model import ANY, Touch
from service.writes import SettingsChange
from tests.store_calls import DEFAULTS, Chat, matching, not_matching, tag_of


async def test_a_session_is_created_with_the_defaults_of_the_service(chat: Chat) -> None:
    done = await chat.put()

    assert done.created
    assert done.changed
    assert done.session.etag.rev == 1
    assert done.session.created_at_ms == done.session.updated_at_ms == done.now_ms
    assert done.session.ttl_ms == DEFAULTS.ttl_ms
    assert done.session.max_messages == DEFAULTS.max_messages
    assert done.session.touch is Touch.WRITE
    assert done.session.max_age_ms is None
    assert done.session.message_count == done.session.state_key_count == 0
    assert (await chat.view()).session == done.session


async def test_named_settings_are_changed_and_the_others_kept(chat: Chat) -> None:
    await chat.put(SettingsChange(ttl_ms=60_000, max_messages=5))
    done = await chat.put(SettingsChange(touch=Touch.NEVER, max_age_ms=90_000))

    assert not done.created
    assert done.session.ttl_ms == 60_000
    assert done.session.max_messages == 5
    assert done.session.touch is Touch.NEVER
    assert done.session.max_age_ms == 90_000


async def test_zero_means_never(chat: Chat) -> None:
    await chat.put(SettingsChange(ttl_ms=60_000, max_age_ms=60_000))
    done = await chat.put(SettingsChange(ttl_ms=0, max_age_ms=0))

    assert done.session.ttl_ms is done.session.max_age_ms is None
    assert done.session.expires_at_ms is None


@pytest.mark.parametrize(
    "change",
    [
        SettingsChange(ttl_ms=60_000),
        SettingsChange(touch=Touch.ACCESS),
        SettingsChange(max_age_ms=70_000),
        SettingsChange(max_messages=7),
    ],
)
async def test_naming_a_setting_is_a_change_even_if_its_value_is_the_same(
    chat: Chat, change: SettingsChange
) -> None:
    first = await chat.put(change)
    second = await chat.put(change)

    assert second.changed
    assert second.session.etag.rev == first.session.etag.rev + 1
    assert second.session.etag.gen == first.session.etag.gen


async def test_a_call_that_names_nothing_keeps_the_revision_and_renews(chat: Chat) -> None:
    first = await chat.put()
    second = await chat.change()

    assert second is not None
    assert not second.changed
    assert second.session.etag == first.session.etag
    assert second.session.updated_at_ms == first.session.updated_at_ms
    assert second.session.renewed_at_ms == second.now_ms


async def test_a_change_never_creates(chat: Chat) -> None:
    assert await chat.change(SettingsChange(ttl_ms=60_000)) is None
    assert await chat.is_absent()


async def test_every_kind_of_write_is_one_revision(chat: Chat) -> None:
    revisions = [
        (await chat.put()).session.etag.rev,
        (await chat.say("{}", "{}", "{}")).session.etag.rev,
        (await chat.put(SettingsChange(ttl_ms=1_000))).session.etag.rev,
    ]
    written = await chat.write({"a": b"1", "b": b"2"}, deletes=["c"])

    assert written.session is not None
    assert [*revisions, written.session.etag.rev] == [1, 2, 3, 4]


async def test_a_session_made_anew_has_another_gen(chat: Chat) -> None:
    first = await chat.put()
    await chat.say("{}")
    await chat.delete()
    second = await chat.say("{}")

    assert second.session.etag.gen != first.session.etag.gen
    assert (second.session.etag.rev, second.last_seq) == (1, 1)


async def test_deleting_takes_everything_and_may_be_repeated(chat: Chat) -> None:
    await chat.say("{}")
    await chat.write({"a": b"1"})
    await chat.delete()
    await chat.delete()

    assert await chat.is_absent()
    assert (await chat.put()).session.state_key_count == 0


async def test_a_condition_on_the_tag_guards_every_mutation(chat: Chat) -> None:
    old = tag_of((await chat.put()).session)
    new = tag_of((await chat.say("{}")).session)
    guard = matching(old)

    for refused in (
        chat.put(conditions=guard),
        chat.change(SettingsChange(ttl_ms=1), conditions=guard),
        chat.say("{}", conditions=guard),
        chat.write({"a": b"1"}, conditions=guard),
        chat.delete(guard),
    ):
        with pytest.raises(PreconditionFailed) as failure:
            await refused
        assert failure.value.etag == f'"{new}"'

    view = await chat.view()
    assert tag_of(view.session) == new
    assert view.session.message_count == 1
    assert view.session.state_key_count == 0


async def test_if_match_lets_the_current_tag_pass_among_others(chat: Chat) -> None:
    tag = tag_of((await chat.put()).session)

    assert (await chat.say("{}", conditions=matching("other-1", tag))).count == 1
    assert (await chat.say("{}", conditions=matching(ANY))).count == 1
    for part in (tag[:-1], tag[1:], tag + "1"):
        with pytest.raises(PreconditionFailed):
            await chat.say("{}", conditions=matching(part))


async def test_if_match_refuses_where_nothing_is(chat: Chat) -> None:
    for guard in (matching(ANY), matching("a-1")):
        with pytest.raises(PreconditionFailed) as failure:
            await chat.put(conditions=guard)
        assert failure.value.etag is None
    assert await chat.is_absent()


async def test_if_none_match_any_creates_once(chat: Chat) -> None:
    assert (await chat.put(conditions=not_matching(ANY))).created
    with pytest.raises(PreconditionFailed):
        await chat.put(conditions=not_matching(ANY))


async def test_if_none_match_refuses_only_the_tags_it_names(chat: Chat) -> None:
    tag = tag_of((await chat.put()).session)

    await chat.say("{}", conditions=not_matching("other-1"))
    await chat.put(conditions=not_matching(tag))
    with pytest.raises(PreconditionFailed):
        await chat.put(conditions=not_matching("other-1", tag_of((await chat.view()).session)))


async def test_a_late_write_does_not_hit_a_session_made_anew(chat: Chat) -> None:
    late = tag_of((await chat.put()).session)
    await chat.delete()
    await chat.put()

    with pytest.raises(PreconditionFailed):
        await chat.write({"a": b"1"}, conditions=matching(late))
