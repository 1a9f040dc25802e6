"""The plan of what starts next: shares, priorities and threads, for any queue."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from modeltap.domain.job import JOB_KINDS, JobKind
from modeltap.domain.scheduling import AGEING_S, Lane, Pool, Running, Waiting, plan_standings, plan_starts, threads_wanted

LIGHT: tuple[JobKind, ...] = ("import", "evaluate")
BATCH: tuple[JobKind, ...] = ("batch",)
HEAVY = tuple(kind for kind in JOB_KINDS if kind not in (*LIGHT, *BATCH))
TENANTS = st.sampled_from(["ada", "bob", "cy"])


def pool_of(threads: int, slots: int, share: int) -> Pool:
    lanes = (
        Lane(noun="light", kinds=LIGHT, slots=2, share=share, is_light=True),
        Lane(noun="heavy", kinds=HEAVY, slots=slots, share=share),
        Lane(noun="batches", kinds=BATCH, slots=2, share=0),
    )
    return Pool(lanes=lanes, threads=threads)


POOLS = st.builds(pool_of, st.integers(1, 9), st.integers(1, 4), st.integers(1, 9))
QUEUES = st.lists(
    st.builds(
        Waiting,
        id=st.uuids().map(str),
        tenant=TENANTS,
        kind=st.sampled_from(JOB_KINDS),
        priority=st.sampled_from(["low", "normal", "high"]),
        created_s=st.integers(0, 10_000).map(float),
        threads=st.none() | st.integers(1, 12),
    ),
    max_size=12,
)
USED = st.dictionaries(st.tuples(st.sampled_from(["light", "heavy", "batches"]), TENANTS), st.floats(0, 3600))


def run_on(waiting: list[Waiting], running: list[Running], used: dict, pool: Pool) -> list[Running]:
    """What runs after what may start has started."""
    by_id = {job.id: job for job in waiting}
    starts = plan_starts(waiting, running, used, pool)
    waiting[:] = [job for job in waiting if job.id not in {start.id for start in starts}]
    started = [Running(tenant=by_id[s.id].tenant, kind=by_id[s.id].kind, threads=s.threads) for s in starts]
    return running + started


@given(QUEUES, USED, POOLS, st.data())
def test_whatever_comes_and_ends_nobody_gets_more_than_there_is(queue, used, pool, data) -> None:
    running: list[Running] = []
    waiting = list(queue)
    while waiting:
        before = len(waiting)
        running = run_on(waiting, running, used, pool)
        assert sum(job.threads for job in running) <= pool.threads
        assert sum(job.threads for job in running if job.kind not in LIGHT) <= pool.heavy_threads
        for lane in pool.lanes:
            in_lane = [job for job in running if job.kind in lane.kinds]
            assert len(in_lane) <= lane.slots
            assert all(job.threads >= 1 for job in in_lane if lane.share)
        assert running, "with nothing running, something starts"
        if len(waiting) == before:  # and so every queue gets empty
            running.pop(data.draw(st.integers(0, len(running) - 1)))


@given(QUEUES, USED, POOLS)
def test_who_has_least_goes_first(queue, used, pool) -> None:
    by_id = {job.id: job for job in queue}
    has: Counter[tuple[str, str]] = Counter()
    left = dict(by_id)
    for start in plan_starts(queue, [], used, pool):
        job = left.pop(start.id)
        lane = pool.lane_of(job.kind)
        for other in left.values():
            if other.kind in lane.kinds:
                assert has[lane.noun, job.tenant] <= has[lane.noun, other.tenant]
        has[lane.noun, job.tenant] += 1


@given(QUEUES, USED, POOLS)
def test_nothing_of_a_tenant_is_overtaken_by_what_came_much_later_or_is_no_more_urgent(queue, used, pool) -> None:
    standings = plan_standings(queue, [], used, pool)
    assert standings.keys() == {job.id for job in queue}
    for job in queue:
        for other in queue:
            if job.tenant != other.tenant or pool.lane_of(job.kind) != pool.lane_of(other.kind):
                continue
            if standings[other.id].position < standings[job.id].position:
                assert other.created_s - job.created_s <= 2 * AGEING_S
                assert job.created_s >= other.created_s or other.priority != job.priority


@given(QUEUES, USED, POOLS, st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_in_which_jobs_are_read(queue, used, pool, draw) -> None:
    shuffled = list(queue)
    draw.shuffle(shuffled)
    assert plan_starts(queue, [], used, pool) == plan_starts(shuffled, [], used, pool)
    assert plan_standings(queue, [], used, pool) == plan_standings(shuffled, [], used, pool)


@given(QUEUES, USED, POOLS)
def test_the_first_in_the_queue_is_the_first_to_start(queue, used, pool) -> None:
    standings = plan_standings(queue, [], used, pool)
    by_lane: dict[str, list[str]] = {}
    by_id = {job.id: job for job in queue}
    for start in plan_starts(queue, [], used, pool):
        by_lane.setdefault(pool.lane_of(by_id[start.id].kind).noun, []).append(start.id)
    for started in by_lane.values():
        assert [standings[job_id].position for job_id in started] == list(range(1, len(started) + 1))


def job(name: str, tenant: str = "ada", at_s: float = 0.0, **more) -> Waiting:
    return Waiting(id=name, tenant=tenant, created_s=at_s, **{"kind": "train", **more})


def test_a_thousand_jobs_of_one_tenant_do_not_hold_the_one_of_another() -> None:
    pool = pool_of(3, 1, 1)
    waiting = [job(f"a{number:04}", at_s=number) for number in range(1000)]
    running = run_on(waiting, [], {}, pool)
    waiting.append(job("b", tenant="bob", at_s=5000))
    assert plan_standings(waiting, running, {("heavy", "ada"): 60.0}, pool)["b"].position == 1
    (start,) = plan_starts(waiting, [], {("heavy", "ada"): 60.0}, pool)
    assert start.id == "b"


def test_a_job_that_is_urgent_goes_first_and_one_that_is_not_goes_in_time() -> None:
    pool = pool_of(3, 1, 1)
    queue = [job("old", at_s=0, priority="low"), job("new", at_s=60), job("urgent", at_s=120, priority="high")]
    standings = plan_standings(queue, [], {}, pool)
    assert sorted(standings, key=lambda name: standings[name].position) == ["urgent", "new", "old"]
    late = job("late", at_s=2 * AGEING_S + 1, priority="high")
    standings = plan_standings([*queue, late], [], {}, pool)
    assert standings["old"].position < standings["late"].position


def test_nothing_smaller_overtakes_the_job_that_waits_for_threads() -> None:
    pool = pool_of(5, 3, 1)
    running = [Running(tenant="bob", kind="train", threads=2)]
    queue = [job("wide", threads=4), job("narrow", at_s=1, threads=1)]
    assert plan_starts(queue, running, {}, pool) == []
    standing = plan_standings(queue, running, {}, pool)["wide"]
    assert (standing.waits_for, standing.detail) == ("threads", "it needs 4 of 4 threads, and 2 are free")
    assert [start.id for start in plan_starts(queue, [], {}, pool)] == ["wide"]


def test_an_import_starts_beside_trainings_that_have_every_core() -> None:
    pool = pool_of(3, 2, 1)  # of a machine of two cores
    running = [Running(tenant="ada", kind="train", threads=1)] * 2
    (start,) = plan_starts([job("i", kind="import")], running, {}, pool)
    assert start.threads == 1


def test_more_threads_than_there_are_is_all_of_them_alone() -> None:
    pool = pool_of(3, 2, 1)
    assert threads_wanted(job("wide", threads=64), pool) == 2
    queue = [job("wide", threads=64), job("other", at_s=1)]
    assert [start.id for start in plan_starts(queue, [], {}, pool)] == ["wide"]
    told = plan_standings(queue, [Running(tenant="ada", kind="train", threads=1)] * 2, {}, pool)["other"]
    assert (told.position, told.waits_for) == (2, "slot")
    assert told.detail == "1 job goes before it; 2 of 2 slots for heavy are taken"
