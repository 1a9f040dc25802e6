"""/openapi.json about /v1: what its answers hold, object by object."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
PREFIX = "OpenAI"
"""Of the names that these have among the schemas of all paths."""
TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 0}
NUMBER: Json = {"type": "number"}
TRUTH: Json = {"type": "boolean"}
OBJECT: Json = {"type": "object"}


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{PREFIX}{name}"}


def several(what: Json) -> Json:
    return {"type": "array", "items": what}


def maybe(what: Json) -> Json:
    """It, or null; there in any case."""
    return {"anyOf": [what, {"type": "null"}]}


def one_of(*values: str) -> Json:
    return {"enum": list(values)}


def _object(kind: str | None, **properties: Json) -> Json:
    """All of these are there. `kind`: what its field `object` says."""
    told = properties if kind is None else {"object": {"const": kind}, **properties}
    return {"type": "object", "properties": told, "required": sorted(told)}


def _page(name: str) -> Json:
    ids = maybe(TEXT)
    return _object("list", data=several(ref(name)), first_id=ids, last_id=ids, has_more=TRUTH)


_FINISH = maybe(TEXT)
_HEAD = {"id": TEXT, "created": COUNT, "model": TEXT, "system_fingerprint": maybe(TEXT)}
_TOLD_TOKENS = {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT}
_BATCH_MOMENTS = (
    *("in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at"),
    "cancelled_at",
)
ANSWERS: dict[str, Json] = {
    "Problem": _object(None, error=_object(None, message=TEXT, type=TEXT, param=maybe(TEXT), code=maybe(TEXT))),
    "Model": _object("model", id=TEXT, created=COUNT, owned_by=TEXT),
    "Models": _object("list", data=several(ref("Model"))),
    "Engine": _object("engine", id=TEXT, owner=TEXT, ready=TRUTH),
    "Engines": _object("list", data=several(ref("Engine"))),
    "Usage": _object(None, **_TOLD_TOKENS, prompt_tokens_details=OBJECT, completion_tokens_details=OBJECT),
    "Completion": _object(
        "text_completion",
        **_HEAD,
        choices=several(_object(None, index=COUNT, text=TEXT, logprobs=maybe(OBJECT), finish_reason=_FINISH)),
        usage=ref("Usage"),
    ),
    "ChatCompletion": _object(
        "chat.completion",
        **_HEAD,
        choices=several(
            _object(
                None,
                index=COUNT,
                message=_object(None, role={"const": "assistant"}, content=maybe(TEXT), refusal=maybe(TEXT)),
                logprobs=maybe(OBJECT),
                finish_reason=_FINISH,
            )
        ),
        usage=ref("Usage"),
    ),
    "Response": _object(
        "response",
        id=TEXT,
        created_at=COUNT,
        model=TEXT,
        status=one_of("completed", "incomplete"),
        incomplete_details=maybe(OBJECT),
        error={"type": "null"},
        output=several(_object(None, id=TEXT, type=one_of("message", "function_call"), status=TEXT)),
        usage=_object(None, input_tokens=COUNT, output_tokens=COUNT, total_tokens=COUNT),
    ),
    "Embeddings": _object(
        "list",
        data=several(_object("embedding", index=COUNT, embedding={"anyOf": [several(NUMBER), TEXT]})),
        model=TEXT,
        usage=_object(None, prompt_tokens=COUNT, total_tokens=COUNT),
    ),
    "Moderation": _object(
        None,
        id=TEXT,
        model=TEXT,
        results=several(
            _object(None, flagged=TRUTH, categories=OBJECT, category_scores=OBJECT, category_applied_input_types=OBJECT)
        ),
    ),
    "File": _object(
        "file",
        id=TEXT,
        bytes=COUNT,
        created_at=COUNT,
        expires_at=maybe(COUNT),
        filename=TEXT,
        purpose=TEXT,
        status={"const": "processed"},
    ),
    "Files": _page("File"),
    "RemovedFile": _object("file", id=TEXT, deleted={"const": True}),
    "FineTuningJob": _object(
        "fine_tuning.job",
        id=TEXT,
        model=TEXT,
        created_at=COUNT,
        finished_at=maybe(COUNT),
        fine_tuned_model=maybe(TEXT),
        organization_id=TEXT,
        result_files=several(TEXT),
        status=one_of("validating_files", "queued", "running", "succeeded", "failed", "cancelled", "paused"),
        validation_file=maybe(TEXT),
        training_file=TEXT,
        hyperparameters=OBJECT,
        trained_tokens=maybe(COUNT),
        error=maybe(OBJECT),
        seed=COUNT,
        method=OBJECT,
    ),
    "FineTuningJobs": _page("FineTuningJob"),
    "FineTuningEvent": _object(
        "fine_tuning.job.event",
        id=TEXT,
        created_at=COUNT,
        level=one_of("info", "warn", "error"),
        message=TEXT,
        type=one_of("message", "metrics"),
        data=OBJECT,
    ),
    "FineTuningEvents": _page("FineTuningEvent"),
    "FineTuningCheckpoint": _object(
        "fine_tuning.job.checkpoint",
        id=TEXT,
        created_at=COUNT,
        fine_tuned_model_checkpoint=TEXT,
        fine_tuning_job_id=TEXT,
        step_number=COUNT,
        metrics=OBJECT,
    ),
    "FineTuningCheckpoints": _page("FineTuningCheckpoint"),
    "Batch": _object(
        "batch",
        id=TEXT,
        endpoint=TEXT,
        errors=maybe(OBJECT),
        input_file_id=TEXT,
        completion_window={"const": "24h"},
        status=one_of("validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"),
        output_file_id=maybe(TEXT),
        error_file_id=maybe(TEXT),
        created_at=COUNT,
        **dict.fromkeys(_BATCH_MOMENTS, maybe(COUNT)),
        request_counts=_object(None, total=COUNT, completed=COUNT, failed=COUNT),
        metadata=maybe(OBJECT),
    ),
    "Batches": _page("Batch"),
}
"""Name without the prefix → schema. An answer may hold more."""
