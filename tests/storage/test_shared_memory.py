"""Regions of shared memory: whose they are, what may be one, and what is told where the memory went away under them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modeltap.errors import Conflict, Forbidden, InvalidValue, NotFound
from modeltap.storage import shared_memory
from modeltap.storage.shared_memory import SharedMemory

USER = os.getuid()
OWNER = "default/key-1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "shm"
    made.mkdir()
    (made / "numbers").write_bytes(bytes(range(100)))
    return made


@pytest.fixture
def memory(tmp_path: Path, folder: Path) -> SharedMemory:
    return SharedMemory(tmp_path / "regions.json", folder=folder)


def add(memory: SharedMemory, name: str = "r", **changes: object) -> None:
    memory.add(**{"owner": OWNER, "name": name, "key": "/numbers", "offset": 0, "byte_size": 100, "user": USER, **changes})


def test_a_region_is_read_and_written_from_its_offset(memory, folder):
    add(memory, offset=10, byte_size=20)
    region = memory.find(OWNER, "r")
    assert memory.read(region, 5, 3) == bytes([15, 16, 17])
    memory.write(region, 5, b"abc")
    assert (folder / "numbers").read_bytes()[14:19] == bytes([14]) + b"abc" + bytes([18])
    assert memory.read(region, 0, 0) == b""


def test_regions_are_their_owners_alone(memory):
    add(memory, "b")
    add(memory, "a", offset=50, byte_size=50)
    add(memory, "a", owner="default/key-2")
    assert [(one.name, one.key, one.offset, one.byte_size) for one in memory.listed(OWNER)] == [
        ("a", "/numbers", 50, 50),
        ("b", "/numbers", 0, 100),
    ]
    with pytest.raises(NotFound, match=r"'c'; this key registered 2 others"):
        memory.find(OWNER, "c")
    with pytest.raises(NotFound, match="'b'"):
        memory.find("default/key-2", "b")
    memory.forget(OWNER, "b")
    memory.forget(OWNER, "never there")
    assert [one.name for one in memory.listed(OWNER)] == ["a"]
    memory.forget(OWNER)
    assert memory.listed(OWNER) == [] and len(memory.listed("default/key-2")) == 1


def test_a_name_that_is_taken_is_free_once_its_memory_is_gone(memory, folder):
    add(memory)
    with pytest.raises(Conflict, match="'r' already; unregister it first"):
        add(memory)
    (folder / "numbers").unlink()
    (folder / "others").write_bytes(bytes(8))
    add(memory, key="others", byte_size=8)
    assert memory.find(OWNER, "r").byte_size == 8


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"key": "/absent"}, NotFound, "'/absent': No such file.*create it before"),
        ({"key": "../secret"}, InvalidValue, "no name of shared memory"),
        ({"key": "//numbers"}, InvalidValue, "no name of shared memory"),
        ({"key": "/.."}, InvalidValue, "no name of shared memory"),
        ({"key": "."}, InvalidValue, "no name of shared memory"),
        ({"key": ""}, InvalidValue, "no name of shared memory"),
        ({"key": "a\0b"}, InvalidValue, "no name of shared memory"),
        ({"key": "/inner"}, NotFound, "Is a directory"),
        ({"key": "/link"}, NotFound, "Unable to open"),
        ({"key": "/pipe"}, InvalidValue, "is no shared memory"),
        ({"byte_size": 0}, InvalidValue, "at least 1"),
        ({"offset": -1}, InvalidValue, "from 0 on"),
        ({"offset": 90, "byte_size": 11}, InvalidValue, "ends at byte 101; the memory '/numbers' has 100"),
        ({"offset": 2**62, "byte_size": 2**62}, InvalidValue, "the memory '/numbers' has 100"),
        ({"user": USER + 1}, Forbidden, "belongs to another user"),
        ({"name": ""}, InvalidValue, "1 to 200"),
        ({"name": "a/b"}, InvalidValue, "no /"),
        ({"name": "n" * 201}, InvalidValue, "1 to 200"),
        ({"name": "a\nb"}, InvalidValue, "printable"),
    ],
)
def test_what_is_no_region_is_not_kept(memory, folder, tmp_path, changes, error, told):
    (tmp_path / "secret").write_bytes(bytes(100))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "inner").mkdir()
    os.mkfifo(folder / "pipe")
    with pytest.raises(error, match=told):
        add(memory, **changes)
    assert memory.listed(OWNER) == []


def test_who_may_open_everything_may_register_everything(memory):
    add(memory, user=0)
    assert memory.listed(OWNER)


def test_memory_that_shrinks_is_an_error_and_does_not_grow_again(memory, folder):
    add(memory)
    region = memory.find(OWNER, "r")
    os.truncate(folder / "numbers", 50)
    assert memory.read(region, 0, 50) == bytes(range(50))
    for lost in (
        lambda: memory.read(region, 40, 20),
        lambda: memory.write(region, 40, bytes(20)),
        lambda: memory.check(region, 40, 20),
    ):
        with pytest.raises(InvalidValue, match="has shrunk"):
            lost()
    assert (folder / "numbers").stat().st_size == 50


def test_memory_that_was_made_anew_is_another_one(memory, folder):
    add(memory)
    region = memory.find(OWNER, "r")
    (folder / "numbers").rename(folder / "before")
    with pytest.raises(NotFound, match="Unable to open"):
        memory.read(region, 0, 1)
    (folder / "numbers").write_bytes(bytes(100))
    with pytest.raises(NotFound, match="made anew since it was registered"):
        memory.read(region, 0, 1)
    with pytest.raises(NotFound, match="made anew"):
        memory.write(region, 0, b"a")
    assert (folder / "numbers").read_bytes() == bytes(100)


def test_one_may_have_so_many_and_those_that_are_gone_do_not_count(memory, folder, monkeypatch):
    monkeypatch.setattr(shared_memory, "MAX_REGIONS", 2)
    (folder / "short").write_bytes(bytes(100))
    add(memory, "gone", key="short")
    (folder / "short").unlink()
    add(memory, "a")
    add(memory, "b")
    with pytest.raises(Conflict, match="has 2 regions"):
        add(memory, "c")
    assert [one.name for one in memory.listed(OWNER)] == ["a", "b"]


@pytest.mark.parametrize("left", [b"", b'{"default/key-1": {"r"', b'{"default/key-1": 1}'])
def test_a_file_that_was_not_written_whole_is_no_regions(memory, tmp_path, left):
    add(memory)
    (tmp_path / "regions.json").write_bytes(left)
    assert memory.listed(OWNER) == []
    add(memory)
    assert len(memory.listed(OWNER)) == 1


ADD_TEN = """
import sys
from pathlib import Path
from modeltap.storage.shared_memory import SharedMemory

memory = SharedMemory(Path(sys.argv[1]), folder=Path(sys.argv[2]))
for place in range(10):
    name = f"{sys.argv[3]}-{place}"
    memory.add("default/key-1", name, key="/numbers", offset=0, byte_size=100, user=int(sys.argv[4]))
"""


def test_processes_that_add_at_once_lose_nothing_and_see_each_others(memory, tmp_path, folder):
    assert memory.listed(OWNER) == []
    path = tmp_path / "regions.json"
    adding = [
        subprocess.Popen([sys.executable, "-c", ADD_TEN, str(path), str(folder), str(number), str(USER)]) for number in range(4)
    ]
    assert [process.wait() for process in adding] == [0] * 4
    assert {one.name for one in memory.listed(OWNER)} == {f"{n}-{place}" for n in range(4) for place in range(10)}
    assert path.stat().st_mode & 0o777 == 0o600
