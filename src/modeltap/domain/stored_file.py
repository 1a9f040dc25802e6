"""A file that a client of OpenAI's protocol sent, or that one of its jobs made: what it is for, and who may see it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args

import msgspec

from modeltap.domain.tenant import Principal, Scope

Purpose = Literal[
    "assistants", "batch", "batch_output", "fine-tune", "fine-tune-results", "user_data", "vision", "assistants_output"
]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
MADE_PURPOSES: frozenset[Purpose] = frozenset({"batch_output", "fine-tune-results", "assistants_output"})
"""Of files that nobody may send."""
SENT_PURPOSES: tuple[Purpose, ...] = tuple(sorted(set(PURPOSES) - MADE_PURPOSES))
TRAINING_PURPOSES: frozenset[Purpose] = frozenset({"fine-tune", "fine-tune-results"})

MAX_FILENAME_CHARS = 255


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table of files; its bytes are the artifact `digest`."""

    id: str
    tenant: str
    key: str
    """Whose it is: the key that sent it, or that asked for the job that made it."""
    purpose: Purpose
    filename: str
    size_bytes: int
    digest: str
    made_by: str | None = None
    """The job and what of it this is, so that a job that writes it twice has it once."""
    created_at: datetime
    expires_at: datetime | None = None


def scope_for(purpose: Purpose) -> Scope:
    """What a key needs for files of that purpose."""
    return "train" if purpose in TRAINING_PURPOSES else "predict"


def may_see(principal: Principal, file: StoredFile) -> bool:
    """Whoever may train sees every file of the tenant; any other key its own, but none for training."""
    if principal.may("train"):
        return True
    return principal.may(scope_for(file.purpose)) and file.key == principal.key
