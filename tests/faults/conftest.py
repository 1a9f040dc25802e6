"""Homes that were used, made a single time to start tests from; servers that end with their test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from door_world import door
from fault_server import FaultServer, serving
from flows_under_fault import LONG_MLP, SMALL_MLP, SMALL_TREES, UsedHomes, add_data, train
from metered_home import make_metered_home
from small_disk import SmallDisk, small_disk

__all__ = ["door"]


@pytest.fixture(scope="session")
def used_homes(tmp_path_factory: pytest.TempPathFactory) -> UsedHomes:
    folder = tmp_path_factory.mktemp("used")
    with_data, with_models = folder / "with_data", folder / "with_models"
    with serving(with_data) as server:
        dataset = add_data(server)
        assert server.stop() == 0, server.log()
    shutil.copytree(with_data, with_models)
    with serving(with_models) as server:
        mlp, trees = (train(server, recipe) for recipe in (SMALL_MLP, SMALL_TREES))
        assert server.stop() == 0, server.log()
    return UsedHomes(with_data, with_models, dataset["digest"], mlp["digest"], trees["digest"])


@pytest.fixture(scope="session")
def long_digest(used_homes: UsedHomes, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of LONG_MLP when nothing disturbs it."""
    home = tmp_path_factory.mktemp("undisturbed") / "home"
    shutil.copytree(used_homes.with_data, home)
    with serving(home) as server:
        digest: str = train(server, LONG_MLP)["digest"]
    return digest


@pytest.fixture(scope="session")
def metered_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home where `double` is deployed with a price, and nothing was used."""
    folder = tmp_path_factory.mktemp("metered")
    make_metered_home(folder / "home", folder)
    return folder / "home"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., FaultServer]]:
    """Starts a server on a copy of a home, or on a fresh one; it ends with the test."""
    servers: list[FaultServer] = []

    def serve(used: Path | None = None, **environment: str) -> FaultServer:
        home = tmp_path / f"home{len(servers)}"
        if used is not None:
            shutil.copytree(used, home)
        servers.append(FaultServer(home))
        return servers[-1].start(**environment)

    yield serve
    for server in servers:
        server.close()
