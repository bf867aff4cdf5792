import asyncio
from pathlib import Path

import pytest

from keyvault.hsm.create import CreatedToken, create_token
from tests.hsm.moving import all_running, join
from tests.hsm.world import World, copy_of


@pytest.fixture(scope="session")
def token_template(tmp_path_factory: pytest.TempPathFactory) -> CreatedToken:
    """A new token; tests get copies, because an RSA key takes its time."""
    return create_token(tmp_path_factory.mktemp("token"), "hot")


@pytest.fixture
def world(token_template: CreatedToken, tmp_path: Path) -> World:
    """A token of this test's own."""
    return copy_of(token_template, tmp_path)


@pytest.fixture(scope="session")
def apart_templates(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, ...]:
    """Three tokens that have nothing in common; tests get copies."""
    folder = tmp_path_factory.mktemp("apart")
    made = [(folder / name, create_token(folder / name, name)) for name in ("a", "b", "c")]
    return tuple(World(folder=place, created=created) for place, created in made)


@pytest.fixture(scope="session")
def joined_templates(apart_templates: tuple[World, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[World, ...]:
    """Three tokens that share a wrapping key, which the first one made; tests get copies."""
    worlds = copies_of(apart_templates, tmp_path_factory.mktemp("joined"))

    async def joining() -> None:
        async with all_running(*worlds) as (first, *others):
            await first.create_wrapping_key()
            for other in others:
                await join(first, other)

    asyncio.run(joining())
    return worlds


@pytest.fixture
def apart(apart_templates: tuple[World, ...], tmp_path: Path) -> tuple[World, ...]:
    """Three tokens of this test's own, which have nothing in common."""
    return copies_of(apart_templates, tmp_path / "apart")


@pytest.fixture
def joined(joined_templates: tuple[World, ...], tmp_path: Path) -> tuple[World, ...]:
    """Three tokens of this test's own, which share a wrapping key."""
    return copies_of(joined_templates, tmp_path / "joined")


def copies_of(worlds: tuple[World, ...], folder: Path) -> tuple[World, ...]:
    """Return worlds with copies of these tokens."""
    return tuple(copy_of(world.created, folder / world.folder.name) for world in worlds)
