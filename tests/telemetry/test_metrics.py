"""What one process counts is what a scrape of it shows, and people cannot make it count without end."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest
from prometheus_pages import Page, page_of

from modeltap.errors import StorageFailed
from modeltap.telemetry.catalogue import METRICS
from modeltap.telemetry.metrics import Metrics
from modeltap.telemetry.process import watch_loop, watch_process
from modeltap.telemetry.scrape import Scrape


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("server", version="1.2.3")


def call(metrics, deployment="wine", model="wine@1", *, status=200, total_s=0.003, units=2, protocol="predict"):
    metrics.observe_call(deployment, model, protocol, status, total_s, 0.0002, 0.00004, units)


def test_a_call_is_counted_with_its_units_and_the_parts_of_its_time(metrics):
    call(metrics, units=2)
    call(metrics, units=3, total_s=0.4)
    page = page_of(metrics)
    assert page.value("modeltap_requests_total", deployment="wine", model="wine@1", protocol="predict", status="200") == 2
    assert page.value("modeltap_units_total", deployment="wine", model="wine@1") == 5
    assert page.value("modeltap_request_duration_seconds_count", deployment="wine") == 2
    assert page.value("modeltap_request_duration_seconds_sum", deployment="wine") == pytest.approx(0.403)
    assert page.value("modeltap_request_queue_seconds_sum", deployment="wine") == pytest.approx(0.0004)
    assert page.value("modeltap_request_compute_seconds_sum", deployment="wine") == pytest.approx(0.00008)


def test_a_value_on_the_bound_of_a_bucket_is_in_it_and_one_above_all_is_in_the_last(metrics):
    call(metrics, total_s=0.25)
    call(metrics, total_s=0.2500001)
    call(metrics, total_s=3600.0)
    page = page_of(metrics)

    def up_to(bound):
        return page.value("modeltap_request_duration_seconds_bucket", deployment="wine", le=bound)

    assert [up_to("0.1"), up_to("0.25"), up_to("0.5"), up_to("60.0"), up_to("+Inf")] == [0, 1, 2, 2, 3]


def test_what_failed_is_counted_by_status_and_does_not_make_the_times_look_better(metrics):
    call(metrics, status=422, total_s=0.0001)
    call(metrics, status=503, total_s=0.0001)
    page = page_of(metrics)
    assert page.label_values("modeltap_requests_total", "status") == {"422", "503"}
    assert page.total("modeltap_request_duration_seconds_count") == 0
    assert page.total("modeltap_units_total") == 0


def test_refusals_are_counted_by_reason_and_batches_by_size_and_time(metrics):
    metrics.observe_refusal("wine", "rate_limit_exceeded")
    metrics.observe_refusal("wine", "rate_limit_exceeded")
    metrics.observe_batch("wine@1", 8, 0.002)
    metrics.observe_batch("wine@1", 9, 0.004)
    page = page_of(metrics)
    assert page.value("modeltap_refusals_total", deployment="wine", reason="rate_limit_exceeded") == 2
    assert page.value("modeltap_batch_rows_bucket", model="wine@1", le="8.0") == 1
    assert page.value("modeltap_batch_rows_sum", model="wine@1") == 17
    assert page.value("modeltap_engine_run_seconds_sum", model="wine@1") == pytest.approx(0.006)


def test_beyond_a_thousand_deployments_the_rest_is_counted_as_other(metrics):
    for number in range(1_010):
        call(metrics, f"d{number}", f"m{number}@1", units=1)
        metrics.observe_refusal(f"d{number}", "not_found")
        metrics.observe_batch(f"m{number}@1", 1, 0.001)
    call(metrics, "d1009", "m1009@1", units=1)
    call(metrics, "d0", "m0@1", status=503)
    page = page_of(metrics)
    for name in ("modeltap_requests_total", "modeltap_units_total", "modeltap_refusals_total"):
        assert len(page.label_values(name, "deployment")) == 1_001
    assert page.value("modeltap_requests_total", deployment="other", model="other", protocol="predict", status="200") == 11
    assert page.value("modeltap_requests_total", deployment="d0", model="m0@1", protocol="predict", status="503") == 1
    assert page.value("modeltap_request_duration_seconds_count", deployment="other") == 11
    assert page.value("modeltap_batch_rows_count", model="other") == 10
    assert page.total("modeltap_units_total") == 1_011


def test_a_gauge_is_read_whenever_somebody_asks(metrics):
    waiting = {"wine@1": 3}
    metrics.add_gauge("modeltap_queue_rows", lambda: [((model,), rows) for model, rows in waiting.items()])
    assert page_of(metrics).value("modeltap_queue_rows", model="wine@1") == 3
    waiting.clear()
    assert page_of(metrics).value("modeltap_queue_rows", model="wine@1") is None


def test_several_sources_of_one_gauge_are_added(metrics):
    for number in (1, 2):
        metrics.add_gauge("modeltap_replicas", lambda number=number: [(("wine@1", "ready"), number)])
    assert page_of(metrics).value("modeltap_replicas", model="wine@1", state="ready") == 3


def test_a_gauge_that_cannot_be_read_takes_nothing_else_with_it(metrics, caplog):
    def refuse():
        raise StorageFailed("the disk is gone")

    metrics.add_gauge("modeltap_jobs", refuse)
    metrics.add_gauge("modeltap_jobs", lambda: [(("train", "running"), 1)])
    call(metrics)
    page = page_of(metrics)
    assert "modeltap_jobs" not in page.families
    assert page.total("modeltap_requests_total") == 1
    assert "modeltap_jobs could not be read: the disk is gone" in caplog.text


def test_a_counter_that_cannot_be_read_for_once_does_not_go_backwards(metrics):
    answers = iter([[((), 5.0)], StorageFailed("busy"), StorageFailed("busy"), [((), 7.0)]])

    def written():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    metrics.add_counter("modeltap_usage_records_total", written)
    scrape = Scrape()
    shown = [Page(scrape.render([metrics.dump()])).value("modeltap_usage_records_total") for _ in range(4)]
    assert shown == [5, 5, 5, 7]


def test_a_name_that_is_not_in_the_catalogue_is_refused(metrics):
    for name in ("modeltap_moons", "modeltap_requests_total", "modeltap_usage_records_total"):
        with pytest.raises(ValueError, match=name):
            metrics.add_gauge(name, list)
    with pytest.raises(ValueError, match="modeltap_jobs"):
        metrics.add_counter("modeltap_jobs", list)


def test_labels_that_do_not_fit_the_metric_are_refused(metrics):
    metrics.add_gauge("modeltap_jobs", lambda: [(("running",), 1)])
    with pytest.raises(ValueError, match="kind"):
        metrics.dump()


def test_a_process_tells_its_memory_its_time_and_its_files(metrics):
    watch_process(metrics)
    page = page_of(metrics)
    assert page.value("modeltap_process_resident_memory_bytes", process="server") > 1_000_000
    assert page.value("modeltap_process_cpu_seconds_total", process="server") > 0
    assert 1e9 < page.value("modeltap_process_start_time_seconds", process="server") <= time.time()
    before = page.value("modeltap_process_open_files", process="server")
    ends = os.pipe()
    after = page_of(metrics).value("modeltap_process_open_files", process="server")
    for end in ends:
        os.close(end)
    assert after == before + 2
    assert page.value("modeltap_build_info", version="1.2.3") == 1


def test_a_loop_that_was_held_up_shows_it(metrics):
    async def held_up() -> None:
        watching = asyncio.create_task(watch_loop(metrics, every_s=0.01))
        await asyncio.sleep(0)
        time.sleep(0.08)
        while page_of(metrics).value("modeltap_loop_lag_seconds_count") == 0:
            await asyncio.sleep(0.001)
        watching.cancel()

    asyncio.run(held_up())
    page = page_of(metrics)
    late = page.value("modeltap_loop_lag_seconds_count") - page.value("modeltap_loop_lag_seconds_bucket", le="0.05")
    assert late >= 1


def test_numbers_are_collected_while_requests_go_on(metrics):
    done = threading.Event()
    failures: list[BaseException] = []

    def collect() -> None:
        try:
            while not done.is_set():
                metrics.dump()
        except BaseException as problem:
            failures.append(problem)

    collecting = threading.Thread(target=collect)
    collecting.start()
    for number in range(4_000):
        call(metrics, f"d{number % 300}", "m@1", status=400 + number % 7)
    done.set()
    collecting.join()
    assert not failures
    assert page_of(metrics).total("modeltap_requests_total") == 4_000


def test_every_metric_has_the_projects_prefix_its_unit_and_a_sentence():
    units = (
        *("seconds", "bytes", "rows", "entries", "requests", "connections", "replicas", "jobs", "files", "processes", "info"),
        "texts",
    )
    for name, metric in METRICS.items():
        assert name.startswith("modeltap_")
        assert name.endswith("_total" if metric.kind == "counter" else units)
        assert metric.help.endswith(".")
        assert not {"\\", "\n"} & set(metric.help)
        assert bool(metric.bounds) == (metric.kind == "histogram")
        assert list(metric.bounds) == sorted(set(metric.bounds))
        assert not {"tenant", "key", "request_id"} & set(metric.labels)
