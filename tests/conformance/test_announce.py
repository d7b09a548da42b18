"""What a whole installation shares: the models that are served, and one secret."""

from collections.abc import Callable

from unspool.spool.base import Spool
from unspool.types import ModelInfo

from .kit import Backend


def info(id: str, **changes: object) -> ModelInfo:
    return ModelInfo(
        **{
            "id": id,
            "schema": {"type": "object", "properties": {"prompt": {"type": "string", "default": "ä"}}, "required": []},
            "streams": ("progress", "output"),
            "readme": "# Reads\n\nas *written*: ä 🐈\n",
            "slots": 4,
            "replicas": 2,
            "max_attempts": 3,
            "run_timeout_s": 12.5,
            **changes,
        }
    )


async def test_nothing_was_announced_then_there_are_no_models(spool: Spool):
    assert await spool.models() == []


async def test_what_was_announced_comes_back_by_id(spool: Spool):
    models = [info("m/b"), info("z"), info("a/c/d", streams=(), run_timeout_s=None, readme="")]
    await spool.announce(models)
    assert await spool.models() == [models[2], models[0], models[1]]


async def test_a_node_replaces_what_it_said_before(spool: Spool):
    await spool.announce([info("a"), info("b", slots=1)])
    await spool.announce([info("b", slots=2), info("c")])
    assert await spool.models() == [info("b", slots=2), info("c")]
    await spool.announce([])
    assert await spool.models() == []


async def test_the_announcement_outlives_its_node(lasting: Backend):
    spool = await lasting.open()
    await spool.announce([info("b"), info("a")])
    spool = await lasting.reopen()
    assert await spool.models() == [info("a"), info("b")]


async def test_a_node_that_comes_back_replaces_what_it_said_before(lasting: Backend):
    await (await lasting.open()).announce([info("a"), info("b")])
    spool = await lasting.reopen()
    await spool.announce([info("b", slots=9)])
    assert await spool.models() == [info("b", slots=9)]


async def test_the_secret_is_thirty_two_bytes_and_stays(spool: Spool):
    secret = await spool.secret()
    assert isinstance(secret, bytes)
    assert len(secret) == 32
    assert secret != bytes(32)
    assert await spool.secret() == secret


async def test_every_installation_has_a_secret_of_its_own(new_backend: Callable[[], Backend]):
    secrets = set()
    for _ in range(3):
        backend = new_backend()
        secrets.add(await (await backend.open()).secret())
        await backend.close()
    assert len(secrets) == 3


async def test_the_secret_is_the_same_for_ever(lasting: Backend):
    secret = await (await lasting.open()).secret()
    assert await (await lasting.reopen()).secret() == secret
    assert await (await lasting.crash()).secret() == secret
