"""Leased limits under any order of messages, any waits and any deaths: never passed, reached, and nobody waits for ever."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from lease_world import KEY, NEW_YEARS_EVE_S, TENANT, World, check_now, check_windows

from modeltap.domain.tenant import Limits


@settings(max_examples=60)
@given(st.integers(0, 10**9), st.integers(1, 4), st.integers(1, 60), st.integers(1, 60))
def test_whatever_the_order_of_messages_all_of_the_limit_is_granted(
    seed: int, num_workers: int, of_key: int, of_tenant: int
) -> None:
    world, random = World({KEY: Limits(rpm=of_key, upm=1000), TENANT: Limits(rpm=of_tenant)}, num_workers), Random(seed)
    for _ in range(130):
        world.ask(random.choice(sorted(world.workers)), random.choice(["k1", "k2"]))
        for _ in range(random.randint(0, 6)):
            world.deliver_one(random)
        if random.random() < 0.05:
            world.tick()
    world.deliver_all(random)
    assert not world.waiting
    of_k1 = [request for request in world.requests if request.key == "k1"]
    granted_k1 = sum(request.granted is not None for request in of_k1)
    assert len(world.granted()) == of_tenant or granted_k1 == of_key
    assert len(world.granted()) == of_tenant or len(world.granted()) - granted_k1 == len(world.requests) - len(of_k1)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["ask"] * 6
            + ["burst"] * 4
            + ["end"] * 6
            + ["deliver"] * 10
            + ["deliver all", "tick", "wait", "wait", "long wait", "die"]
        ),
        st.integers(0, 1_000_000),
    ),
    min_size=20,
    max_size=160,
)


def act(world: World, action: str, random: Random) -> None:
    running = [r for r in world.granted() if r.granted and r.granted.is_open and r.worker in world.workers]
    if action in ("ask", "burst"):
        worker, key = random.choice(sorted(world.workers)), random.choice(["k1", "k1", "k2"])
        for _ in range(1 if action == "ask" else random.randint(2, 9)):
            world.ask(worker, key, random.randint(1, 9), random.randint(0, 9))
    elif action == "end":
        for request in random.sample(running, min(len(running), 4)):
            world.end(request, random.randint(0, request.units), random.randint(0, request.cost_nano))
    elif action == "deliver":
        world.deliver_one(random)
    elif action == "deliver all":
        world.deliver_all(random)
    elif action == "tick":
        world.now_s += 0.1
        world.tick()
    elif action == "wait":
        world.now_s += random.random() * 2
    elif action == "long wait":
        world.now_s += random.random() * 59
    elif action == "die":
        name = random.choice(sorted(world.workers))
        world.kill(name)
        world.start(f"{name}'")
        if random.random() < 0.5:
            world.settle_dead(name)


@settings(max_examples=150)
@given(
    ACTIONS,
    st.integers(1, 4),
    st.builds(
        Limits,
        rpm=st.none() | st.integers(1, 60),
        upm=st.none() | st.integers(5, 300),
        concurrency=st.none() | st.integers(1, 20),
        budget_day_nano=st.none() | st.integers(0, 300),
        budget_month_nano=st.none() | st.integers(0, 300),
    ),
    st.builds(Limits, rpm=st.none() | st.integers(1, 60), concurrency=st.none() | st.integers(1, 20)),
)
def test_no_limit_is_ever_passed(actions: list[tuple[str, int]], num_workers: int, of_key: Limits, of_tenant: Limits) -> None:
    world = World({KEY: of_key, TENANT: of_tenant}, num_workers, NEW_YEARS_EVE_S)
    for action, seed in actions:
        act(world, action, Random(seed))
        check_now(world, [r for r in world.granted() if r.key == "k1"], of_key)
        check_now(world, world.granted(), of_tenant)
    for request in world.granted():  # what died before it was answered used nothing
        if request.granted and request.granted.is_open and request.worker not in world.workers:
            request.used_units = 0
    check_windows([r for r in world.granted() if r.key == "k1"], of_key)
    check_windows(world.granted(), of_tenant)
    for _ in range(30):
        world.deliver_all(Random(0))
        world.now_s += 0.3
        world.tick()
    assert not world.waiting, "every caller gets an answer"
