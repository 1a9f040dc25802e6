"""Certificates that were stored before rows could be compared are still read."""

from __future__ import annotations

import msgspec

from modeltap.domain.certificate import Certificate

OLDEST = {
    "parent": "words@1",
    "parent_digest": "0" * 64,
    "method": "int8",
    "measure": "loss",
    "evidence": "words@1 (test)",
    "num_documents": 40,
    "num_tokens": 2_000,
    "parent_value": 1.5,
    "child_value": 1.51,
    "drop": 0.01,
    "drop_interval": [0.005, 0.015],
    "parent_bytes": 400,
    "child_bytes": 100,
    "parent_speed": 10.0,
    "child_speed": 20.0,
    "num_streams": 4,
    "gain": 2.0,
    "gain_interval": [1.8, 2.2],
    "demand": {"max_drop": 0.02},
}


def test_the_oldest_form_is_read() -> None:
    read = msgspec.convert(OLDEST, Certificate)
    assert (read.drop, read.num_tokens, read.num_samples, read.slices) == (0.01, 2_000, 0, ())
