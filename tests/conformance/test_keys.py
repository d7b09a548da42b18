"""API keys: what the store keeps of them, and what each change does."""

import asyncio

import pytest

from unspool.errors import KeyExists, UnknownKey
from unspool.spool import open_keys
from unspool.spool.base import Spool
from unspool.spool.keys import ID_LENGTH, Key, KeyState, OwnLimits, Text, digest_of, new_text

from .kit import Backend

D1, D2, D3 = (digest_of(text) for text in ("text one", "text two", "text three"))
NONE = OwnLimits()


def good(key: Key, now_ns: int) -> list[bytes]:
    """The texts of a key that are good."""
    if key.state is not KeyState.ACTIVE:
        return []
    return [text.digest for text in key.texts if text.expires_at_ns is None or text.expires_at_ns > now_ns]


def test_the_texts_that_are_made_cannot_be_guessed():
    texts = {new_text() for _ in range(100)}
    assert len(texts) == 100
    assert all(text.startswith("unspool_") and len(text) >= 8 + 43 for text in texts)


async def test_there_are_no_keys_at_first(spool: Spool):
    assert await spool.keys.list() == []


async def test_a_key_that_was_made_is_listed_as_it_was_made(spool: Spool, backend: Backend):
    limits = OwnLimits(requests_per_minute=60, max_running=0)
    key = await spool.keys.create("ä key", D1, limits)
    assert key == Key(
        id=D1.hex()[:ID_LENGTH],
        name="ä key",
        state=KeyState.ACTIVE,
        created_at_ns=backend.clock.now_ns,
        revoked_at_ns=None,
        limits=limits,
        texts=[Text(digest=D1, expires_at_ns=None)],
    )
    second = await spool.keys.create("another", D2, NONE)
    assert await spool.keys.list() == [key, second]


async def test_a_name_is_taken_until_its_key_is_revoked(spool: Spool):
    first = await spool.keys.create("alice", D1, NONE)
    with pytest.raises(KeyExists, match="alice"):
        await spool.keys.create("alice", D2, NONE)
    await spool.keys.revoke("alice")
    second = await spool.keys.create("alice", D2, NONE)
    assert [key.id for key in await spool.keys.list()] == [first.id, second.id]
    assert (await spool.keys.rotate("alice", D3, 0)).id == second.id, "the name means the one that is active"


async def test_a_text_is_of_one_key_only(spool: Spool):
    await spool.keys.create("alice", D1, NONE)
    bob = await spool.keys.create("bob", D2, NONE)
    with pytest.raises(KeyExists):
        await spool.keys.create("carol", D1, NONE)
    with pytest.raises(KeyExists):
        await spool.keys.rotate("bob", D1, 0)
    assert (await spool.keys.list())[1:] == [bob]


@pytest.mark.parametrize("by", ["name", "id"])
async def test_a_revoked_key_is_so_for_ever(spool: Spool, backend: Backend, by: str):
    key = await spool.keys.create("alice", D1, NONE)
    other = await spool.keys.create("bob", D2, NONE)
    backend.clock.advance(5)
    revoked = await spool.keys.revoke(key.name if by == "name" else key.id)
    assert (revoked.state, revoked.revoked_at_ns) == (KeyState.REVOKED, backend.clock.now_ns)
    backend.clock.advance(5)
    assert await spool.keys.revoke(key.id) == revoked
    with pytest.raises(UnknownKey, match="revoked"):
        await spool.keys.rotate(key.id, D3, 0)
    assert await spool.keys.list() == [revoked, other]


async def test_who_was_never_made_is_unknown(spool: Spool):
    for deed in (spool.keys.revoke("alice"), spool.keys.rotate("alice", D1, 0)):
        with pytest.raises(UnknownKey, match="alice"):
            await deed
    assert await spool.keys.list() == []


async def test_a_name_that_several_have_is_not_enough(spool: Spool):
    for digest in (D1, D2):
        await spool.keys.create("alice", digest, NONE)
        await spool.keys.revoke("alice" if digest == D1 else digest.hex()[:ID_LENGTH])
    with pytest.raises(UnknownKey, match="Several"):
        await spool.keys.revoke("alice")


async def test_a_rotated_key_has_both_texts_for_a_while(spool: Spool, backend: Backend):
    made = await spool.keys.create("alice", D1, OwnLimits(max_running=3))
    rotated = await spool.keys.rotate("alice", D2, overlap_s=60)
    assert (rotated.id, rotated.limits, rotated.created_at_ns) == (made.id, made.limits, made.created_at_ns)
    assert good(rotated, backend.clock.now_ns) == [D1, D2]
    backend.clock.advance(59)
    assert good(rotated, backend.clock.now_ns) == [D1, D2]
    backend.clock.advance(1)
    assert good(rotated, backend.clock.now_ns) == [D2]


async def test_without_an_overlap_the_old_text_ends_at_once(spool: Spool, backend: Backend):
    await spool.keys.create("alice", D1, NONE)
    assert good(await spool.keys.rotate("alice", D2, overlap_s=0), backend.clock.now_ns) == [D2]


async def test_rotating_again_never_makes_an_old_text_live_longer(spool: Spool, backend: Backend):
    await spool.keys.create("alice", D1, NONE)
    await spool.keys.rotate("alice", D2, overlap_s=10)
    rotated = await spool.keys.rotate("alice", D3, overlap_s=1_000)
    backend.clock.advance(10)
    assert good(rotated, backend.clock.now_ns) == [D2, D3]
    cut = await spool.keys.rotate("alice", digest_of("four"), overlap_s=0)
    assert good(cut, backend.clock.now_ns) == [digest_of("four")]


async def test_the_key_of_the_settings_is_made_once(spool: Spool):
    first = await spool.keys.adopt("first", D1)
    assert (first.name, first.id, first.limits) == ("first", D1.hex()[:ID_LENGTH], NONE)
    assert await spool.keys.adopt("first", D1) == first
    assert await spool.keys.list() == [first]


async def test_another_key_in_the_settings_suspends_the_one_before_until_it_comes_back(spool: Spool):
    made = await spool.keys.create("alice", D3, NONE)
    await spool.keys.adopt("first", D1)
    await spool.keys.adopt("first", D2)
    states = [(key.texts[0].digest, key.state) for key in await spool.keys.list()]
    assert states == [(D3, KeyState.ACTIVE), (D1, KeyState.SUSPENDED), (D2, KeyState.ACTIVE)]
    assert (await spool.keys.rotate("first", digest_of("four"), 0)).texts[0].digest == D2
    assert (await spool.keys.adopt("first", D1)).state is KeyState.ACTIVE
    assert (await spool.keys.list())[0] == made


async def test_the_key_of_the_settings_may_be_one_that_was_made(spool: Spool):
    made = await spool.keys.create("alice", D1, NONE)
    assert await spool.keys.adopt("first", D1) == made
    assert await spool.keys.list() == [made]


async def test_coming_from_the_settings_revives_no_key(spool: Spool, backend: Backend):
    await spool.keys.adopt("first", D1)
    await spool.keys.rotate("first", D2, overlap_s=0)
    assert good(await spool.keys.adopt("first", D1), backend.clock.now_ns) == [D2]
    await spool.keys.revoke("first")
    assert (await spool.keys.adopt("first", D1)).state is KeyState.REVOKED


async def test_the_revision_grows_with_every_change_and_with_nothing_else(spool: Spool):
    seen = [await spool.keys.revision()]
    for change in (
        lambda: spool.keys.create("alice", D1, NONE),
        lambda: spool.keys.rotate("alice", D2, 0),
        lambda: spool.keys.revoke("alice"),
        lambda: spool.keys.adopt("first", D3),
        lambda: spool.keys.adopt("first", digest_of("four")),
        lambda: spool.keys.adopt("first", D3),
    ):
        await change()
        seen.append(await spool.keys.revision())
    assert seen == sorted(set(seen))
    await spool.keys.adopt("first", D3)
    await spool.keys.list()
    assert await spool.keys.revision() == seen[-1]


async def test_creations_at_once_make_one_key_of_a_name(spool: Spool):
    made = await asyncio.gather(
        *(spool.keys.create("alice", digest_of(f"{n}"), NONE) for n in range(5)), return_exceptions=True
    )
    assert [type(each) for each in made].count(KeyExists) == 4
    assert len(await spool.keys.list()) == 1


async def test_keys_survive_what_the_spool_survives(lasting: Backend):
    spool = await lasting.open()
    await spool.keys.create("alice", D1, OwnLimits(max_viewers=5))
    await spool.keys.rotate("alice", D2, 60)
    before = await spool.keys.list()
    spool = await lasting.crash()
    assert await spool.keys.list() == before
    assert await (await lasting.reopen()).keys.list() == before


async def test_keys_can_be_changed_beside_an_open_spool(lasting: Backend):
    spool = await lasting.open()
    before = await spool.keys.revision()
    async with open_keys(lasting.url) as keys:
        made = await keys.create("alice", D1, NONE)
    assert await spool.keys.revision() > before
    assert await spool.keys.list() == [made]
    await spool.keys.revoke("alice")
    async with open_keys(lasting.url) as keys:
        assert (await keys.list())[0].state is KeyState.REVOKED


async def test_keys_can_be_made_before_there_is_a_spool(lasting: Backend):
    async with open_keys(lasting.url) as keys:
        made = await keys.create("alice", D1, NONE)
    assert await (await lasting.open()).keys.list() == [made]
