"""The artifact store: content in, digest out, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modeltap.errors import InvalidInput, NotFound, StorageFailed
from modeltap.storage.artifacts import ArtifactStore


def files_in(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and p.name != "lock")


def test_a_blob_is_found_by_the_sha256_of_its_bytes(artifacts: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"rows")
    digest = artifacts.put_bytes(b"rows")
    assert digest == artifacts.put_file(tmp_path / "a") == hashlib.sha256(b"rows").hexdigest()
    assert artifacts.path(digest).read_bytes() == b"rows"
    assert artifacts.size_bytes(digest) == 4
    assert list(artifacts.iter_digests()) == [digest]
    assert files_in(artifacts.root) == [f"{digest[:2]}/{digest}"]
    assert (tmp_path / "a").exists()


@pytest.mark.parametrize("already_there", [False, True])
def test_a_moved_file_is_gone_and_counts_as_new(artifacts: ArtifactStore, tmp_path: Path, already_there: bool) -> None:
    if already_there:
        os.utime(artifacts.path(artifacts.put_bytes(b"rows")), (1, 1))
    source = tmp_path / "a"
    source.write_bytes(b"rows")
    os.utime(source, (1, 1))
    digest = artifacts.put_file(source, move=True)
    assert not source.exists()
    assert artifacts.path(digest).read_bytes() == b"rows"
    assert artifacts.path(digest).stat().st_mtime > 1


def test_moving_a_file_that_has_another_name_leaves_that_one_alone(artifacts: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"rows")
    os.link(tmp_path / "mine", tmp_path / "linked")
    (tmp_path / "pointer").symlink_to(tmp_path / "mine")
    for name in ("linked", "pointer"):
        digest = artifacts.put_file(tmp_path / name, move=True)
        assert not (tmp_path / name).exists()
        assert not artifacts.path(digest).is_symlink()
    (tmp_path / "mine").write_bytes(b"edited")
    artifacts.verify(digest)


def test_a_tree_names_its_files_and_depends_on_names_and_contents_alone(artifacts: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"onnx")
    digest = artifacts.put_tree({"model.onnx": tmp_path / "m", "data/größe.csv": b"1"})
    tree = artifacts.tree(digest)
    assert list(tree) == ["data/größe.csv", "model.onnx"]
    assert artifacts.path(tree["model.onnx"]).read_bytes() == b"onnx"
    assert artifacts.put_tree({"data/größe.csv": b"1", "model.onnx": b"onnx"}) == digest
    assert artifacts.put_tree({"data/other.csv": b"1", "model.onnx": b"onnx"}) != digest
    text = f'{{"data/größe.csv":"{tree["data/größe.csv"]}","model.onnx":"{tree["model.onnx"]}"}}'
    assert digest == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a\\b", "a\0", "a\nb", "\udc80"])
def test_a_name_that_could_leave_the_tree_is_refused_and_nothing_is_stored(artifacts: ArtifactStore, name: str) -> None:
    with pytest.raises(InvalidInput):
        artifacts.put_tree({"fine": b"1", name: b"2"})
    assert not list(artifacts.iter_digests())


@pytest.mark.parametrize("text", [b'{"a":1}', b'{"../a":"' + b"0" * 64 + b'"}', b'{"a":"../../x"}', b"{", b"parquet", b"{\xff"])
def test_other_content_is_never_taken_for_a_tree(artifacts: ArtifactStore, text: bytes) -> None:
    digest = artifacts.put_bytes(text)
    assert artifacts.members(digest) is None
    with pytest.raises(StorageFailed, match="not a tree"):
        artifacts.tree(digest)


def test_what_is_not_there_is_not_found(artifacts: ArtifactStore) -> None:
    for digest in ("0" * 64, "", "../../etc/passwd", "A" * 64):
        for look in (artifacts.path, artifacts.tree, artifacts.size_bytes, artifacts.verify, artifacts.delete):
            with pytest.raises(NotFound):
                look(digest)


def test_verify_tells_of_changed_bytes_also_in_the_member_of_a_tree(artifacts: ArtifactStore) -> None:
    tree = artifacts.put_tree({"a": b"rows", "b": b"other"})
    artifacts.verify(tree)
    member = artifacts.path(artifacts.tree(tree)["a"])
    member.chmod(0o600)
    member.write_bytes(b"ROWS")
    with pytest.raises(StorageFailed, match="damaged"):
        artifacts.verify(tree)


def test_a_blob_cut_short_is_mended_by_storing_it_again(artifacts: ArtifactStore) -> None:
    digest = artifacts.put_bytes(b"rows")
    os.truncate(artifacts.path(digest), 2)
    artifacts.put_bytes(b"rows")
    artifacts.verify(digest)


def test_delete_spares_what_was_stored_again(artifacts: ArtifactStore) -> None:
    digest = artifacts.put_bytes(b"rows")
    os.utime(artifacts.path(digest), (100, 100))
    assert not artifacts.delete(digest, unused_since_s=99)
    artifacts.put_bytes(b"rows")
    assert not artifacts.delete(digest, unused_since_s=1000)
    assert artifacts.delete(digest)
    assert not list(artifacts.iter_digests())


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EDQUOT, "quota"), (errno.ENODEV, "system says")],
)
def test_a_disk_that_refuses_leaves_nothing_behind_and_says_what_to_do(
    artifacts: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    (tmp_path / "a").write_bytes(b"rows" * 1000)

    def refuse(handle: int, data: bytes) -> int:
        raise OSError(number, os.strerror(number), str(tmp_path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        for put in (lambda: artifacts.put_bytes(b"rows"), lambda: artifacts.put_file(tmp_path / "a")):
            with pytest.raises(StorageFailed, match=says) as failed:
                put()
            assert str(tmp_path) not in failed.value.message
    assert files_in(artifacts.root) == []


def test_a_file_over_the_limit_of_the_system_is_a_named_failure(artifacts: ArtifactStore) -> None:
    script = f"""
import resource
from pathlib import Path
from modeltap.errors import StorageFailed
from modeltap.storage.artifacts import ArtifactStore
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    ArtifactStore(Path({str(artifacts.root)!r})).put_bytes(bytes(100_000))
except StorageFailed as failed:
    print(failed.message)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "larger than this system allows" in ended.stdout
    assert files_in(artifacts.root) == []


def test_kill_9_before_the_rename_leaves_no_blob(artifacts: ArtifactStore) -> None:
    script = f"""
from pathlib import Path
from modeltap.storage.artifacts import ArtifactStore
ArtifactStore(Path({str(artifacts.root)!r})).put_bytes(b"rows")
"""
    environment = {**os.environ, "MODELTAP_CRASH_AT": "artifact.before_rename"}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not list(artifacts.iter_digests())
    artifacts.verify(artifacts.put_bytes(b"rows"))
