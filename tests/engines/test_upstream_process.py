"""A server that is started and watched here: ready when it answers, started again when it dies, gone when we are."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from peers import command

from modeltap.domain.upstream import Upstream
from modeltap.engines.upstream_child import Log
from modeltap.engines.upstream_process import WatchedUpstream
from modeltap.errors import Broken, Loading, Refused, UpstreamFailed

BODY = {"model": "good", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}
LIMIT_S = 60.0


def watched(folder, *words, name="peer@1"):
    return WatchedUpstream(name, Upstream(command=(*command(), *words), model="good"), folder, programs=sys.executable)


async def text_of(upstream):
    answer = await upstream.client().ask("/chat/completions", BODY)
    return answer["choices"][0]["message"]["content"]


async def until(holds):
    async with asyncio.timeout(LIMIT_S):
        while not holds():
            await asyncio.sleep(0.02)


def test_it_is_ready_when_it_answers_and_nothing_is_left_when_it_is_closed(tmp_path):
    async def run():
        upstream = watched(tmp_path / "own")
        with pytest.raises(Loading):
            upstream.client()
        await upstream.settled(LIMIT_S)
        assert upstream.state == "ready" and upstream.memory_bytes > 1_000_000
        assert await text_of(upstream) == "w0 w1 w2"
        left = psutil.Process(upstream.pid).children(recursive=True)
        await upstream.close()
        assert left and not any(one.is_running() and one.status() != "zombie" for one in left)

    asyncio.run(run())
    log = tmp_path / "own" / "log"
    assert "the peer begins" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0
    assert not (tmp_path / "own" / "running.json").exists()


def test_one_that_dies_is_started_again_and_callers_are_told_meanwhile(tmp_path):
    async def run():
        upstream = watched(tmp_path)
        try:
            await upstream.settled(LIMIT_S)
            (program,) = psutil.Process(upstream.pid).children()
            program.kill()
            await until(lambda: upstream.state != "ready")
            with pytest.raises(UpstreamFailed, match="started again"):
                upstream.client()
            await until(lambda: upstream.state == "ready")
            assert await text_of(upstream) == "w0 w1 w2"
            assert upstream.num_restarts == 1
        finally:
            await upstream.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("words", "said"), [(("--broken",), r"ended \(status 3\)"), (("--missing",), "cannot be started on the server")]
)
def test_why_one_does_not_start_is_said(tmp_path, words, said):
    async def run():
        if words == ("--missing",):
            upstream = WatchedUpstream(
                "x@1", Upstream(command=("no-such-program", "{port}")), tmp_path, programs="no-such-program"
            )
        else:
            upstream = watched(tmp_path, *words)
        try:
            with pytest.raises(Broken, match=said):
                await upstream.settled(LIMIT_S)
        finally:
            await upstream.close()

    asyncio.run(run())
    assert ("no such weights" if words == ("--broken",) else "No such file") in (tmp_path / "log").read_text()


def test_a_program_that_the_setting_does_not_name_is_not_started(tmp_path):
    async def run():
        WatchedUpstream("x@1", Upstream(command=("sh", "-c", "{port}")), tmp_path, programs="llama-server,vllm")

    with pytest.raises(Refused, match="allowed: llama-server, vllm"):
        asyncio.run(run())


def test_of_two_processes_one_runs_it_and_the_other_finds_it_and_takes_over(tmp_path):
    async def run():
        first = watched(tmp_path)
        await first.settled(LIMIT_S)
        second = watched(tmp_path)
        try:
            await second.settled(LIMIT_S)
            assert await text_of(second) == "w0 w1 w2"
            assert second.pid is None
            await first.close()
            await until(lambda: second.pid is not None and second.state == "ready")
            assert await text_of(second) == "w0 w1 w2"
        finally:
            await second.close()

    asyncio.run(run())


HOLDER = """
import asyncio, sys
from pathlib import Path
from modeltap.domain.upstream import Upstream
from modeltap.engines.upstream_process import WatchedUpstream

async def main():
    folder, *command = sys.argv[1:]
    upstream = WatchedUpstream("peer@1", Upstream(command=tuple(command), model="good"), Path(folder), programs=command[0])
    await upstream.settled(60)
    print("ready", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_it_does_not_outlive_a_server_that_is_killed(tmp_path):
    started = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), *command()], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert started.stdout.readline() == b"ready\n"
        below = psutil.Process(started.pid).children(recursive=True)
        assert len(below) == 2
    finally:
        os.kill(started.pid, signal.SIGKILL)
        started.wait()
        started.stdout.close()
    _, alive = psutil.wait_procs(below, timeout=LIMIT_S)
    assert not alive


def test_the_log_starts_anew_when_it_is_full_and_keeps_the_one_before(tmp_path):
    log = Log(tmp_path / "log", limit_bytes=100)
    for number in range(30):
        log.write(b"line %02d\n" % number)
    log.close()
    assert (tmp_path / "log").read_bytes().endswith(b"line 29\n")
    assert max((tmp_path / name).stat().st_size for name in ("log", "log.1")) <= 100
