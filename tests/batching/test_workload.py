"""The simulation's own parts: arrivals, run times, and the figures that sum up a run, against cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from queue_making import make_queue

from modeltap.batching.queue import BULK
from modeltap.batching.simulator import fixed_window, simulate
from modeltap.batching.workload import Request, bursts, line_time, poisson, recorded_time, requests


def test_poisson_arrivals_come_at_their_rate_and_irregularly():
    times = poisson(1000, 10, seed=1)
    gaps = np.diff(times)
    assert len(times) == pytest.approx(10_000, rel=0.05)
    assert min(times) >= 0
    assert max(times) <= 10
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.05)
    assert times == sorted(times) == poisson(1000, 10, seed=1) != poisson(1000, 10, seed=2)


def test_bursts_come_together():
    assert bursts(3, 1.0, 2.5) == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    assert all(time % 1.0 <= 0.1 for time in bursts(5, 1.0, 3.0, within_s=0.1))


def test_requests_are_drawn_as_asked():
    drawn = requests(
        [i / 1000 for i in range(5000)],
        rows=(1, 3),
        within_s=(0.5,),
        buckets={"a": 3, "b": 1},
        bulk_part=0.2,
        cancelled_part=0.1,
    )
    assert np.mean([request.rows for request in drawn]) == pytest.approx(2, abs=0.1)
    assert np.mean([request.bucket == "a" for request in drawn]) == pytest.approx(0.75, abs=0.03)
    assert np.mean([request.priority == BULK for request in drawn]) == pytest.approx(0.2, abs=0.03)
    cancelled = [request.cancel_after_s for request in drawn if request.cancel_after_s is not None]
    assert len(cancelled) == pytest.approx(500, rel=0.2)
    assert 0 <= min(cancelled) <= max(cancelled) < 0.5


def test_recorded_run_times_are_drawn_again_and_drawn_out_between_sizes():
    run_time = recorded_time({1: [1.0], 3: [2.0, 4.0]}, seed=1)
    assert run_time(1, None) == 1.0
    assert all(2.0 <= run_time(3, None) <= 4.0 for _ in range(20))
    assert all(1.5 <= run_time(2, None) <= 2.5 for _ in range(20))
    assert all(4.0 <= run_time(6, None) <= 8.0 for _ in range(20))


def test_a_small_case_by_hand():
    # Each batch runs 10 ms. The first goes alone, the next two gather; the last would end 10 + 10 ms after the second batch.
    arrivals = [Request(0.0), Request(0.001), Request(0.002), Request(0.012, within_s=0.005)]
    result = simulate(arrivals, make_queue(prior=0.01 / 2.2e-4), line_time(0.01, 0.0))
    assert [outcome.how for outcome in result.outcomes] == ["answered", "answered", "answered", "refused"]
    assert [run.requests for run in result.runs] == [(0,), (1, 2)]
    assert [outcome.latency_s for outcome in result.outcomes[:3]] == pytest.approx([0.01, 0.019, 0.018])
    summary = result.summary()
    assert summary.goodput_rows == pytest.approx(3 / 0.02)
    assert summary.p50_s == pytest.approx(0.018)
    assert summary.mean_batch_rows == 1.5
    assert summary.utilisation == pytest.approx(1.0)
    assert (summary.offered, summary.answered, summary.refused, summary.late) == (4, 3, 1, 0)


def test_a_fixed_window_holds_an_idle_engine():
    arrivals = [Request(0.0), Request(0.003), Request(0.006)]
    result = simulate(arrivals, make_queue(), line_time(1e-4, 0.0), hold=fixed_window(0.005))
    assert [run.requests for run in result.runs] == [(0, 1), (2,)]
    assert [run.taken_s for run in result.runs] == pytest.approx([0.005, 0.011])


def test_an_engine_that_dies_twice_under_a_request_loses_it():
    result = simulate([Request(0.0)], make_queue(), line_time(0.1, 0.0), deaths=[0.05, 0.2], revive_s=0.1)
    assert [outcome.how for outcome in result.outcomes] == ["lost"]
    assert [run.died for run in result.runs] == [True, True]
    once = simulate([Request(0.0)], make_queue(), line_time(0.1, 0.0), deaths=[0.05], revive_s=0.1)
    assert once.outcomes[0].how == "answered"
    assert once.outcomes[0].latency_s == pytest.approx(0.25)


def test_of_nothing_the_summary_is_empty():
    summary = simulate([], make_queue(), line_time(1e-3, 0.0)).summary()
    assert (summary.offered, summary.goodput_rows, summary.mean_batch_rows) == (0, 0.0, 0.0)
    assert math.isnan(summary.p50_s)
