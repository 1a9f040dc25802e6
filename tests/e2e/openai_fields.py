"""The fields that OpenAI's clients insist on, object by object, with what may stand in each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Kinds = Mapping[str, tuple[type, ...]]
NONE = type(None)
NUMBER = (int, float)
HEAD: Kinds = {"id": (str,), "object": (str,), "created": (int,), "model": (str,), "choices": (list,)}
USAGE: Kinds = {
    "prompt_tokens": (int,),
    "completion_tokens": (int,),
    "total_tokens": (int,),
    "prompt_tokens_details": (dict,),
    "completion_tokens_details": (dict,),
}
ERROR: Kinds = {"message": (str,), "type": (str,), "param": (str, NONE), "code": (str, NONE)}
FIELDS: Mapping[str, Kinds] = {
    "text_completion": {**HEAD, "usage": (dict,)},
    "text_completion.choice": {"finish_reason": (str,), "index": (int,), "logprobs": (dict, NONE), "text": (str,)},
    "text_completion.part": HEAD,
    "text_completion.part.choice": {"finish_reason": (str, NONE), "index": (int,), "logprobs": (dict, NONE), "text": (str,)},
    "chat.completion": {**HEAD, "usage": (dict,)},
    "chat.completion.choice": {"finish_reason": (str,), "index": (int,), "message": (dict,), "logprobs": (dict, NONE)},
    "chat.completion.message": {"role": (str,), "content": (str, NONE), "refusal": (str, NONE)},
    "chat.completion.chunk": HEAD,
    "chat.completion.chunk.choice": {"delta": (dict,), "finish_reason": (str, NONE), "index": (int,)},
    "usage": USAGE,
    "model": {"id": (str,), "object": (str,), "created": (int,), "owned_by": (str,)},
    "embeddings": {"object": (str,), "data": (list,), "model": (str,), "usage": (dict,)},
    "embeddings.usage": {"prompt_tokens": (int,), "total_tokens": (int,)},
    "embedding": {"object": (str,), "index": (int,), "embedding": (list,)},
    "file": {
        "id": (str,),
        "object": (str,),
        "bytes": (int,),
        "created_at": (int,),
        "filename": (str,),
        "purpose": (str,),
        "status": (str,),
    },
    "page": {"object": (str,), "data": (list,), "first_id": (str, NONE), "last_id": (str, NONE), "has_more": (bool,)},
    "fine_tuning.job": {
        "id": (str,),
        "object": (str,),
        "created_at": (int,),
        "error": (dict, NONE),
        "fine_tuned_model": (str, NONE),
        "finished_at": (int, NONE),
        "hyperparameters": (dict,),
        "model": (str,),
        "organization_id": (str,),
        "result_files": (list,),
        "seed": (int,),
        "status": (str,),
        "trained_tokens": (int, NONE),
        "training_file": (str,),
        "validation_file": (str, NONE),
    },
    "fine_tuning.job.event": {"id": (str,), "object": (str,), "created_at": (int,), "level": (str,), "message": (str,)},
    "batch": {
        "id": (str,),
        "object": (str,),
        "endpoint": (str,),
        "input_file_id": (str,),
        "completion_window": (str,),
        "status": (str,),
        "created_at": (int,),
    },
    "batch.line": {"id": (str,), "custom_id": (str,), "response": (dict, NONE), "error": (dict, NONE)},
    "error": ERROR,
}
JOB_STATES = {"validating_files", "queued", "running", "succeeded", "failed", "cancelled", "paused"}
BATCH_STATES = {
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
}


def checked(kind: str, found: Any) -> Any:
    """The object, after it was found to have every field of its kind."""
    assert isinstance(found, dict), (kind, found)
    for name, kinds in FIELDS[kind].items():
        assert name in found, f"{kind} lacks {name}: {found}"
        value = found[name]
        is_meant = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        assert is_meant, f"{kind}.{name} is {value!r}"
    return found
