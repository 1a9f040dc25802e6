"""Segments: every whole frame is read back, no torn one is, and a disk that refuses leaves whole frames alone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeltap.domain.idempotency import StoredAnswer
from modeltap.domain.usage import UsageRecord
from modeltap.errors import StorageFailed
from modeltap.storage import segments_sync
from modeltap.storage.reserve import keep_reserve, spend_reserve
from modeltap.storage.segments import SegmentWriter, is_alive, new_writer_id, segment_files
from modeltap.storage.segments_frames import Close, Delivered, Frame, Head, Reserve, Settle, Void, encode_frame, parse_frames
from modeltap.storage.segments_sync import GroupCommit

RECORD = UsageRecord("w", 1, "r", "acme", "k1", "d", "m@1", "row", 3, 2**62, 1.25, 4, 5, "answered", "", "unknown")
FRAMES: list[Frame] = [
    Head(1, "w", 1),
    Reserve(2**40, "réq", "acme", "k1", "d", "row", 3, 0, 1_795_323_967.123456),
    Settle(RECORD, StoredAnswer("again", "f" * 64, 200, "text/plain", bytes(range(256)))),
    Settle(RECORD),
    Void([1, 2, 2**33]),
    Delivered([7]),
    Close(9),
]


def written(folder: Path) -> list[Frame]:
    return [frame for file in segment_files(folder) for frame in parse_frames(file.path.read_bytes())[0]]


def test_frames_come_back_as_they_were() -> None:
    data = b"".join(map(encode_frame, FRAMES))
    assert parse_frames(data) == (FRAMES, len(data))


def test_of_torn_frames_only_the_whole_ones_are_read() -> None:
    parts = list(map(encode_frame, FRAMES))
    data = b"".join(parts)
    ends = [sum(map(len, parts[:number])) for number in range(len(parts) + 1)]
    for cut in range(len(data)):
        whole = sum(end <= cut for end in ends) - 1
        assert parse_frames(data[:cut]) == (FRAMES[:whole], ends[whole])


def test_no_byte_can_change_unseen() -> None:
    data = b"".join(map(encode_frame, FRAMES[1:3]))
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x41
        frames, _ = parse_frames(bytes(damaged))
        assert frames == FRAMES[1 : 1 + len(frames)]
        assert len(frames) < 2


def test_zeros_are_no_frames() -> None:
    assert parse_frames(bytes(4096)) == ([], 0)


def test_what_was_written_is_read_in_its_order_over_many_files(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "usage", "w", max_bytes=100)
    for number in range(50):
        writer.append(encode_frame(Delivered([number])))
    writer.close(50)
    files = segment_files(tmp_path / "usage")
    assert [file.index for file in files] == list(range(1, len(files) + 1))
    assert len(files) > 5
    frames = written(tmp_path / "usage")
    assert [frame.numbers[0] for frame in frames if isinstance(frame, Delivered)] == list(range(50))
    assert [frame.index for frame in frames if isinstance(frame, Head)] == [file.index for file in files]
    assert {path.suffix for path in (tmp_path / "usage").iterdir()} == {".seg"}


def test_writers_sort_by_their_start_and_are_never_alike() -> None:
    ids = [new_writer_id(1_795_323_967.0 + number) for number in range(50)]
    assert ids == sorted(ids)
    assert len({new_writer_id(1_795_323_967.0) for _ in range(200)}) == 200
    assert all(len(found) == 15 and found.isalnum() for found in ids)


def test_a_writer_is_alive_as_long_as_its_process(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from modeltap.storage.segments import SegmentWriter
writer = SegmentWriter(Path({str(tmp_path / "usage")!r}), "other")
print("ready", flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin and process.stdout
    with process:
        assert process.stdout.readline() == b"ready\n"
        assert is_alive(tmp_path / "usage", "other")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not is_alive(tmp_path / "usage", "other")
    assert not is_alive(tmp_path / "usage", "never")
    own = SegmentWriter(tmp_path / "usage", "own")
    assert is_alive(tmp_path / "usage", "own")
    own.close(0)
    assert not is_alive(tmp_path / "usage", "own")


def test_two_writers_never_share_a_name(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "usage", "w")
    with pytest.raises(StorageFailed):
        SegmentWriter(tmp_path / "usage", "w")
    writer.close(0)


def test_a_file_that_cannot_be_begun_lets_the_last_one_grow(tmp_path: Path) -> None:
    folder = tmp_path / "usage"
    writer = SegmentWriter(folder, "w", max_bytes=50)
    (folder / "w-000002.new").write_bytes(b"in the way")
    for number in range(20):
        writer.append(encode_frame(Delivered([number])))
    assert len(segment_files(folder)) == 1
    assert len(written(folder)) == 21
    writer.close(20)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB, most of which is taken."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mount.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_on_a_full_disk_what_is_settled_gets_the_room_that_was_kept_for_it(small_disk: Path) -> None:
    keep_reserve(small_disk)
    writer = SegmentWriter(small_disk / "usage", "w", spare=lambda: spend_reserve(small_disk))
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space"):
        while True:
            ballast.write(bytes(4096))
    mark = encode_frame(Void(list(range(10_000))))
    with pytest.raises(StorageFailed, match="full"):
        writer.append(mark)
    writer.append_at_any_cost(mark)
    writer.close(0)
    assert len(written(small_disk / "usage")) == 3


def test_those_who_wait_for_the_disk_together_share_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[list[int]] = []

    def counted(handles: list[int], sync: object = segments_sync._sync) -> object:
        syncs.append(handles)
        return sync(handles)  # type: ignore[operator]

    monkeypatch.setattr(segments_sync, "_sync", counted)

    async def main() -> None:
        writer = SegmentWriter(tmp_path / "usage", "w", durability="power", max_bytes=200)
        commit = GroupCommit(writer)

        async def request(number: int) -> None:
            writer.append(encode_frame(Delivered([number])))
            await commit.flush_power()

        for _ in range(3):
            await asyncio.gather(*(request(number) for number in range(32)))
        assert len(writer.handles()) == 1, "of files that are full none stays open once it is synced"
        commit.close()
        writer.close(96)

    asyncio.run(main())
    assert len(syncs) == 3
    assert max(map(len, syncs)) > 1
    assert len(written(tmp_path / "usage")) - len(segment_files(tmp_path / "usage")) == 97


def test_who_leaves_while_waiting_for_the_disk_takes_nobody_along(tmp_path: Path) -> None:
    async def main() -> None:
        writer = SegmentWriter(tmp_path / "usage", "w", durability="power")
        commit = GroupCommit(writer)
        waiting = [asyncio.create_task(commit.flush_power()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in done] == [type(None), asyncio.CancelledError, type(None)]
        commit.close()
        writer.close(0)

    asyncio.run(main())


def test_after_a_sync_that_failed_nothing_is_written_or_promised_any_more(tmp_path: Path) -> None:
    async def main() -> None:
        writer = SegmentWriter(tmp_path / "usage", "w", durability="power")
        commit = GroupCommit(writer)
        reading, writing = os.pipe()
        os.dup2(writing, writer.handles()[-1])  # what cannot be synced
        with pytest.raises(StorageFailed, match="syncing usage records failed"):
            await commit.flush_power()
        with pytest.raises(StorageFailed, match="syncing usage records failed"):
            writer.append(encode_frame(Delivered([1])))
        commit.close()
        writer.close(0)
        os.close(reading)
        os.close(writing)

    asyncio.run(main())
