"""A runner knows how many threads it was granted, also for libraries that read no variable."""

from __future__ import annotations

import pytest

from modeltap.domain.model import Language
from modeltap.engines.tokens_openvino import properties_of
from modeltap.engines.tokens_wire import EngineSettings
from modeltap.jobs.thread_limits import granted_threads, thread_environment

LANGUAGE = Language(family="llama", context_tokens=8, vocabulary=8, parameters=1)


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_what_a_runner_was_granted_reaches_the_engine_of_tokens(threads: int) -> None:
    granted = granted_threads(thread_environment(threads))
    assert granted == threads
    assert properties_of(LANGUAGE, EngineSettings(threads=granted))["INFERENCE_NUM_THREADS"] == threads


@pytest.mark.parametrize("told", ["", "many", "-1", "²"])
def test_without_a_grant_an_engine_decides_itself(told: str) -> None:
    assert granted_threads({"OMP_NUM_THREADS": told} if told else {}) == 0
