"""Every metric of a server: its name, kind, labels and help, and how the values of several processes become one."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]
Joined = Literal["sum", "max"]

Bounds = tuple[float, ...]
"""Said in so many words, as a compiled module would else take these apart and put them together again at each request."""
LATENCY_S: Bounds = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LAG_S: Bounds = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
GAPS_S: Bounds = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
ROWS: Bounds = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)

OPEN_LABELS = frozenset({"deployment", "model"})
"""Whose values people make up; those of all other labels are known from the code, and few."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """What one name means. `joined` says what a gauge shows for several processes; counters and histograms are summed."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    """Of a histogram's buckets: values up to and with each bound; one more bucket holds what is above."""
    joined: Joined = "sum"


def _listed(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


METRICS: dict[str, Metric] = _listed(
    Metric(
        name="modeltap_requests_total",
        kind="counter",
        labels=("deployment", "model", "protocol", "status"),
        help="Requests that were answered, whatever the answer; the deployment is empty where the request led to none.",
    ),
    Metric(
        name="modeltap_units_total",
        kind="counter",
        labels=("deployment", "model"),
        help="Units (rows, tokens, …) of answered requests, as they are charged.",
    ),
    Metric(
        name="modeltap_refusals_total",
        kind="counter",
        labels=("deployment", "reason"),
        help="Requests that ended in a named error; the reason is the error's code.",
    ),
    Metric(
        name="modeltap_request_duration_seconds",
        kind="histogram",
        labels=("deployment",),
        bounds=LATENCY_S,
        help="From the end of the headers to the answer, of requests with a status below 400.",
    ),
    Metric(
        name="modeltap_request_queue_seconds",
        kind="histogram",
        labels=("deployment",),
        bounds=LATENCY_S,
        help="The part of the duration that a request waited for an engine.",
    ),
    Metric(
        name="modeltap_request_compute_seconds",
        kind="histogram",
        labels=("deployment",),
        bounds=LATENCY_S,
        help="The part of the duration that an engine ran the request's batch.",
    ),
    Metric(
        name="modeltap_in_flight_requests",
        kind="gauge",
        help="Requests that are being answered now.",
    ),
    Metric(
        name="modeltap_open_connections",
        kind="gauge",
        help="Connections of clients.",
    ),
    Metric(
        name="modeltap_batch_rows",
        kind="histogram",
        labels=("model",),
        bounds=ROWS,
        help="Rows that an engine ran together.",
    ),
    Metric(
        name="modeltap_engine_run_seconds",
        kind="histogram",
        labels=("model",),
        bounds=LATENCY_S,
        help="Runs of the engines, one a batch; the sum's rate is the number of engines that are busy.",
    ),
    Metric(
        name="modeltap_prompt_tokens_total",
        kind="counter",
        labels=("model",),
        help="Tokens of the prompts that language models answered.",
    ),
    Metric(
        name="modeltap_completion_tokens_total",
        kind="counter",
        labels=("model",),
        help="Tokens that language models wrote.",
    ),
    Metric(
        name="modeltap_first_token_seconds",
        kind="histogram",
        labels=("model",),
        bounds=LATENCY_S,
        help="From the hand-over of a call to its language model to the first token that came back.",
    ),
    Metric(
        name="modeltap_token_gap_seconds",
        kind="histogram",
        labels=("model",),
        bounds=GAPS_S,
        help="Between two tokens of a call, on average; its texts are written at the same time.",
    ),
    Metric(
        name="modeltap_open_texts",
        kind="gauge",
        labels=("model",),
        help="Texts that are being written, or wait for a place at their engine.",
    ),
    Metric(
        name="modeltap_queue_entries",
        kind="gauge",
        labels=("model",),
        help="Requests that wait for an engine.",
    ),
    Metric(
        name="modeltap_queue_rows",
        kind="gauge",
        labels=("model",),
        help="Rows of the requests that wait for an engine.",
    ),
    Metric(
        name="modeltap_replicas",
        kind="gauge",
        labels=("model", "state"),
        help="Engines of each model by state.",
    ),
    Metric(
        name="modeltap_replica_restarts_total",
        kind="counter",
        labels=("model",),
        help="Engines that died and were started again.",
    ),
    Metric(
        name="modeltap_loaded_model_bytes",
        kind="gauge",
        help="Memory of the loaded models, as it counts towards MODELTAP_MODEL_MEMORY_BYTES.",
    ),
    Metric(
        name="modeltap_jobs",
        kind="gauge",
        labels=("kind", "state"),
        joined="max",
        help="Jobs in the database by kind and state.",
    ),
    Metric(
        name="modeltap_usage_records_total",
        kind="counter",
        help="Usage records written to the files of this home.",
    ),
    Metric(
        name="modeltap_usage_ingest_lag_bytes",
        kind="gauge",
        joined="max",
        help="Usage records that are in the files and not yet in the database.",
    ),
    Metric(
        name="modeltap_loop_lag_seconds",
        kind="histogram",
        bounds=LAG_S,
        help="How much later than planned an event loop came to a task: what every request waits because of others.",
    ),
    Metric(
        name="modeltap_process_resident_memory_bytes",
        kind="gauge",
        labels=("process",),
        help="Memory of each process of the server that is in RAM.",
    ),
    Metric(
        name="modeltap_process_cpu_seconds_total",
        kind="counter",
        labels=("process",),
        help="Time of processors that each process of the server took.",
    ),
    Metric(
        name="modeltap_process_open_files",
        kind="gauge",
        labels=("process",),
        help="Files, connections and pipes that each process of the server holds open.",
    ),
    Metric(
        name="modeltap_process_start_time_seconds",
        kind="gauge",
        labels=("process",),
        joined="max",
        help="When each process of the server began, in UTC seconds since 1970.",
    ),
    Metric(
        name="modeltap_processes",
        kind="gauge",
        help="Processes of the server that answered this scrape.",
    ),
    Metric(
        name="modeltap_build_info",
        kind="gauge",
        labels=("version",),
        joined="max",
        help="Always 1; the label is the version of modeltap.",
    ),
)
