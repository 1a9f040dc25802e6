"""A scrape of any process shows the truth of all, also after some of them ended, were replaced, or did not answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_pages import Page, page_of

from modeltap.telemetry.metrics import Metrics
from modeltap.telemetry.scrape import Scrape


def process(name: str, *, calls: int = 0, deployment: str = "wine", total_s: float = 0.01) -> Metrics:
    made = Metrics(name, version="1.2.3")
    for _ in range(calls):
        made.observe_call(deployment, "m@1", "predict", 200, total_s, 0.001, 0.001, 1)
    return made


def requests(scrape: Scrape, *processes: Metrics) -> float:
    return Page(scrape.render([one.dump() for one in processes])).total("modeltap_requests_total")


def test_counters_and_histograms_of_all_processes_are_added():
    page = page_of(process("worker-1", calls=2), process("worker-2", calls=3, total_s=0.2), process("parent"))
    assert page.total("modeltap_requests_total") == 5
    assert page.value("modeltap_request_duration_seconds_bucket", deployment="wine", le="0.01") == 2
    assert page.value("modeltap_request_duration_seconds_bucket", deployment="wine", le="+Inf") == 5
    assert page.value("modeltap_processes") == 3


def test_gauges_are_added_or_the_largest_is_shown_as_each_one_says():
    first, second = process("worker-1"), process("worker-2")
    for one, rows in ((first, 4), (second, 6)):
        one.add_gauge("modeltap_queue_rows", lambda rows=rows: [(("m@1",), rows)])
        one.add_gauge("modeltap_jobs", lambda rows=rows: [(("train", "queued"), rows)])
        one.add_gauge("modeltap_process_resident_memory_bytes", lambda one=one, rows=rows: [((one.process,), rows)])
    page = page_of(first, second)
    assert page.value("modeltap_queue_rows", model="m@1") == 10
    assert page.value("modeltap_jobs", kind="train", state="queued") == 6
    assert page.value("modeltap_process_resident_memory_bytes", process="worker-1") == 4
    assert page.value("modeltap_process_resident_memory_bytes", process="worker-2") == 6


def test_what_a_process_counted_stays_when_it_ends_and_is_replaced():
    scrape = Scrape()
    first = process("worker-1", calls=5)
    first.add_gauge("modeltap_queue_rows", lambda: [(("m@1",), 4)])
    assert requests(scrape, first) == 5
    first.observe_call("wine", "m@1", "predict", 200, 0.01, 0.001, 0.001, 1)
    scrape.keep(first.dump())
    page = Page(scrape.render([process("worker-1", calls=1).dump()]))
    assert page.total("modeltap_requests_total") == 7
    assert page.total("modeltap_request_duration_seconds_count") == 7
    assert page.value("modeltap_queue_rows", model="m@1") is None, "what waited there waits no more"
    assert page.value("modeltap_processes") == 1


def test_a_process_that_was_killed_leaves_what_it_said_last():
    scrape = Scrape()
    assert requests(scrape, process("worker-1", calls=5)) == 5
    scrape.lost("worker-1")
    scrape.lost("worker-1")
    scrape.lost("worker-9")
    assert requests(scrape) == 5
    assert requests(scrape, process("worker-1", calls=2)) == 7


def test_nothing_is_counted_twice_when_the_last_word_is_heard_twice():
    scrape = Scrape()
    first = process("worker-1", calls=5)
    last = first.dump()
    scrape.keep(last)
    scrape.keep(last)
    scrape.lost("worker-1")
    assert Page(scrape.render([last])).total("modeltap_requests_total") == 5


def test_a_replacement_is_noticed_also_if_nobody_told():
    scrape = Scrape()
    assert requests(scrape, process("worker-1", calls=5)) == 5
    assert requests(scrape, process("worker-1", calls=2)) == 7


def test_a_process_that_does_not_answer_in_time_keeps_its_counters_and_shows_no_gauges():
    scrape = Scrape()
    silent, other = process("worker-1", calls=5), process("worker-2", calls=1)
    assert requests(scrape, silent, other) == 6
    page = Page(scrape.render([other.dump()]))
    assert page.total("modeltap_requests_total") == 6
    assert page.value("modeltap_processes") == 1


def test_all_processes_together_show_a_thousand_deployments_and_no_counter_changes_its_name():
    scrape = Scrape()
    first, second = (Metrics(name, version="1") for name in ("worker-1", "worker-2"))
    for number in range(700):
        first.observe_call(f"a{number}", "m@1", "predict", 404, 0.01, 0, 0, 1)
        second.observe_call(f"b{number}", "m@1", "predict", 404, 0.01, 0, 0, 1)
    before = Page(scrape.render([first.dump(), second.dump()]))
    assert len(before.label_values("modeltap_requests_total", "deployment")) == 1_001
    scrape.keep(first.dump())
    for number in range(700, 900):
        second.observe_call(f"b{number}", "m@1", "predict", 404, 0.01, 0, 0, 1)
    after = Page(scrape.render([second.dump()]))
    assert after.total("modeltap_requests_total") == before.total("modeltap_requests_total") + 200
    assert not falling(before, after)


def test_odd_names_are_read_back_as_they_are():
    odd = 'a "quoted"\\name\nof two lines'
    made = process("server", calls=1, deployment=odd)
    assert page_of(made).label_values("modeltap_requests_total", "deployment") == {odd}


def falling(before: Page, after: Page) -> dict[object, object]:
    """Samples of counters and histograms that show less than before, or nothing."""
    gauges = {name for name, family in before.families.items() if family.type == "gauge"}
    return {
        key: (value, after.samples.get(key))
        for key, value in before.samples.items()
        if key[0] not in gauges and after.samples.get(key, -1) < value
    }


STEPS = st.lists(
    st.tuples(st.sampled_from(["call", "batch", "scrape", "end", "kill", "silent"]), st.integers(0, 2)),
    max_size=60,
)


@given(STEPS)
def test_no_counter_ever_falls_and_none_is_lost_in_order(steps):
    scrape = Scrape()
    living = {number: process(f"worker-{number}") for number in range(3)}
    seen = Page(scrape.render([one.dump() for one in living.values()]))
    told = dict.fromkeys(living, 0)
    unsaid = dict.fromkeys(living, 0)
    for step, number in steps:
        one = living[number]
        if step == "call":
            one.observe_call("wine", f"m@{number}", "predict", 200, 0.01, 0.001, 0.001, 1)
            unsaid[number] += 1
        elif step == "batch":
            one.observe_batch(f"m@{number}", 3, 0.01)
        elif step == "end":
            scrape.keep(one.dump())
            told[number] += unsaid[number]
            unsaid[number] = 0
            living[number] = process(f"worker-{number}")
        elif step == "kill":  # what it had not said is gone with it
            scrape.lost(f"worker-{number}")
            unsaid[number] = 0
            living[number] = process(f"worker-{number}")
        else:
            asked = [other for at, other in living.items() if step == "scrape" or at != number]
            page = Page(scrape.render([other.dump() for other in asked]))
            assert not falling(seen, page)
            seen = page
            for at in living:
                if step == "scrape" or at != number:
                    told[at] += unsaid[at]
                    unsaid[at] = 0
            assert page.total("modeltap_requests_total") == sum(told.values())
