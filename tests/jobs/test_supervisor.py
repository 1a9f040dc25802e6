"""The supervisor with real processes: started, watched, found again, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modeltap.domain.job import Job
from modeltap.errors import LeaseLost
from modeltap.jobs.journal import Journal
from modeltap.jobs.processes import started_s
from modeltap.jobs.supervisor import Supervisor
from modeltap.jobs.watched import plan_signal
from modeltap.storage.jobs import JobQueue, JobRepository

NOW = datetime.now(UTC)
Make = Callable[..., Supervisor]
Until = Callable[..., None]


def started(jobs: JobRepository, home: Path, job: Job) -> bool:
    """True once the runner of the newest claim holds its lease."""
    row = jobs.get(job.id)
    fence = f"runner with fence {row.fence} says"
    events, _ = Journal(home, job.id).read_events()
    return row.state == "running" and fence in Journal(home, job.id).read_log()[0] and len(events) >= row.fence


def test_jobs_run_one_after_the_other_in_one_slot_and_leave_their_log(
    jobs: JobRepository, home: Path, make_supervisor: Make, until: Until
) -> None:
    added = [jobs.add("train", {}, NOW) for _ in range(2)]
    supervisor = make_supervisor(slots=1)
    most = []

    def all_ended() -> bool:
        most.append(len(jobs.list("running")))
        return len(jobs.list("succeeded")) == 2

    until(all_ended, supervisor)
    until(lambda: supervisor.num_running == 0, supervisor)
    assert max(most) == 1
    for job in added:
        assert jobs.get(job.id).result == {"version": "iris@1"}
        assert Journal(home, job.id).read_log()[0] == "runner with fence 1 says grüezi\n"


def test_a_runner_killed_with_9_is_followed_by_another_and_can_write_nothing(
    jobs: JobRepository, queue: JobQueue, home: Path, make_supervisor: Make, until: Until
) -> None:
    job = jobs.add("train", {"stay": True}, NOW)
    supervisor = make_supervisor()
    until(lambda: started(jobs, home, job), supervisor)
    first = jobs.get(job.id)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: jobs.get(job.id).fence == 2 and started(jobs, home, job), supervisor)
    second = jobs.get(job.id)
    assert second.attempt == 2 and second.pid != first.pid
    with pytest.raises(LeaseLost):
        queue.finish(job.id, first.fence, "succeed", NOW)


def test_the_next_supervisor_finds_the_runner_and_watches_on(
    jobs: JobRepository, home: Path, make_supervisor: Make, until: Until
) -> None:
    job = jobs.add("train", {"stay": True}, NOW)
    until(lambda: started(jobs, home, job), make_supervisor())
    before = jobs.get(job.id)
    after_restart = make_supervisor()
    after_restart.tick()
    assert after_restart.num_running == 1
    assert (jobs.get(job.id).pid, jobs.get(job.id).fence) == (before.pid, before.fence)
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: jobs.get(job.id).fence == 2, after_restart)


@pytest.mark.parametrize("crash_at", ["job.claimed", "job.spawned"])
def test_a_supervisor_that_dies_while_it_starts_a_runner_loses_no_job(
    jobs: JobRepository, home: Path, make_supervisor: Make, until: Until, crash_at: str
) -> None:
    job = jobs.add("train", {}, NOW)
    script = f"""
import sys
from pathlib import Path
from modeltap.jobs.supervisor import Supervisor
from modeltap.storage.opening import open_database
from modeltap.storage.jobs import JobQueue
home = Path({str(home)!r})
command = [sys.executable, {str(Path(__file__).with_name("sleepy_runner.py"))!r}]
Supervisor(JobQueue(open_database(home)), home, command=command).tick()
"""
    environment = {**os.environ, "MODELTAP_CRASH_AT": crash_at}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    until(lambda: jobs.get(job.id).state == "succeeded", make_supervisor())
    assert jobs.get(job.id).fence == (2 if crash_at == "job.claimed" else 1)


def test_a_runner_that_crashes_before_its_result_is_followed_by_one_that_ends_the_job(
    jobs: JobRepository, make_supervisor: Make, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELTAP_CRASH_AT", "job.before_result")
    job = jobs.add("train", {}, NOW)
    until(lambda: jobs.get(job.id).state == "succeeded", make_supervisor())
    assert jobs.get(job.id).attempt == 2


def test_cancel_ends_a_runner_at_once(jobs: JobRepository, home: Path, make_supervisor: Make, until: Until) -> None:
    job = jobs.add("train", {"stay": True}, NOW)
    supervisor = make_supervisor()
    until(lambda: started(jobs, home, job), supervisor)
    jobs.ask(job.id, "cancel", NOW)
    until(lambda: jobs.get(job.id).state == "cancelled", supervisor)
    assert supervisor.num_running == 0
    resumed = jobs.resume(job.id, NOW)
    until(lambda: jobs.get(job.id).fence == resumed.fence + 1, supervisor)


def test_cancel_ends_also_a_runner_that_ignores_it_and_what_it_started(
    jobs: JobRepository, home: Path, clock: Callable[[], datetime], make_supervisor: Make, until: Until
) -> None:
    job = jobs.add("train", {"stay": True, "stubborn": True, "child": True}, NOW)
    supervisor = make_supervisor()
    until(lambda: started(jobs, home, job), supervisor)
    child = int((home / "jobs" / job.id / "child").read_text())
    assert started_s(child) is not None
    jobs.ask(job.id, "cancel", NOW)
    supervisor.tick()
    assert jobs.get(job.id).state == "running"
    clock.advance(6)  # type: ignore[attr-defined]
    until(lambda: jobs.get(job.id).state == "cancelled", supervisor)
    until(lambda: started_s(child) is None)


def test_what_a_dead_runner_started_is_ended_too(jobs: JobRepository, home: Path, make_supervisor: Make, until: Until) -> None:
    job = jobs.add("train", {"stay": True, "child": True}, NOW)
    until(lambda: started(jobs, home, job), make_supervisor())
    child = int((home / "jobs" / job.id / "child").read_text())
    runner = jobs.get(job.id).pid
    assert runner is not None
    os.kill(runner, signal.SIGKILL)
    after_restart = make_supervisor()
    until(lambda: jobs.get(job.id).fence == 2, after_restart)
    until(lambda: started_s(child) is None)


def test_a_pause_is_the_runners_own_and_the_job_goes_on_later(
    jobs: JobRepository, home: Path, make_supervisor: Make, until: Until
) -> None:
    job = jobs.add("train", {"stay": True, "lease_s": 0.1}, NOW)
    supervisor = make_supervisor()
    until(lambda: started(jobs, home, job), supervisor)
    jobs.ask(job.id, "pause", NOW)
    until(lambda: jobs.get(job.id).state == "paused", supervisor)
    jobs.resume(job.id, NOW)
    until(lambda: started(jobs, home, job), supervisor)
    assert jobs.get(job.id).attempt == 1


def test_a_runner_that_does_not_pause_in_time_is_ended_and_the_job_paused(
    jobs: JobRepository, home: Path, clock: Callable[[], datetime], make_supervisor: Make, until: Until
) -> None:
    job = jobs.add("train", {"stay": True, "stubborn": True}, NOW)
    supervisor = make_supervisor()
    until(lambda: started(jobs, home, job), supervisor)
    jobs.ask(job.id, "pause", NOW)
    supervisor.tick()
    clock.advance(36)  # type: ignore[attr-defined]
    until(lambda: jobs.get(job.id).state == "paused", supervisor)


def test_a_runner_that_stands_still_is_replaced(
    jobs: JobRepository, home: Path, clock: Callable[[], datetime], make_supervisor: Make, until: Until
) -> None:
    job = jobs.add("train", {"stay": True}, NOW)
    supervisor = make_supervisor()
    until(lambda: started(jobs, home, job), supervisor)
    still = jobs.get(job.id).pid
    assert still is not None
    os.kill(still, signal.SIGSTOP)
    supervisor.tick()
    clock.advance(11)  # type: ignore[attr-defined]  # its lease is over
    supervisor.tick()
    clock.advance(66)  # type: ignore[attr-defined]
    until(lambda: jobs.get(job.id).fence == 2, supervisor)
    assert started_s(still) is None


@pytest.mark.parametrize("off_by_s", [0.0, 5.0])
def test_a_stranger_with_the_runners_number_is_left_alone(
    jobs: JobRepository, queue: JobQueue, make_supervisor: Make, off_by_s: float
) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
    try:
        jobs.add("train", {}, NOW)
        job = queue.claim(NOW, 10)
        assert job is not None
        queue.set_process(job.id, job.fence, stranger.pid, (started_s(stranger.pid) or 0) + off_by_s)
        jobs.ask(job.id, "cancel", NOW)
        make_supervisor().tick()
        assert jobs.get(job.id).state == "cancelled"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_runner_that_cannot_be_started_fails_its_job_with_the_reason(jobs: JobRepository, make_supervisor: Make) -> None:
    job = jobs.add("train", {}, NOW)
    supervisor = make_supervisor(command=("/nonexistent/python",))
    supervisor.tick()
    failed = jobs.get(job.id)
    assert failed.state == "failed" and failed.error is not None
    assert failed.error["code"] == "storage_failed" and "nonexistent" not in failed.error["detail"]


def test_run_starts_what_comes_in_and_leaves_runners_alive_when_it_stops(
    jobs: JobRepository, home: Path, make_supervisor: Make, until: Until
) -> None:
    stop, wake = threading.Event(), threading.Event()
    thread = threading.Thread(target=make_supervisor().run, args=(stop, wake))
    thread.start()
    job = jobs.add("train", {"stay": True}, NOW)
    wake.set()
    until(lambda: started(jobs, home, job))
    stop.set()
    wake.set()
    thread.join()
    pid = jobs.get(job.id).pid
    assert pid is not None and started_s(pid) is not None


def test_signals_come_in_order() -> None:
    assert plan_signal("cancel", 0) == signal.SIGTERM
    assert plan_signal("cancel", 5) == signal.SIGKILL
    assert [plan_signal("pause", s) for s in (0, 29, 30, 35)] == [None, None, signal.SIGTERM, signal.SIGKILL]
