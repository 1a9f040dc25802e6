"""Loss, perplexity and bits a byte of texts, as computed by hand, with intervals that hold them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modeltap.errors import InvalidValue
from modeltap.evaluation.generation import evaluate_generation
from modeltap.evaluation.report import render_report
from modeltap.evaluation.result import Written


def test_metrics_are_of_all_tokens_together() -> None:
    found = evaluate_generation(np.array([2.0, 10.0]), np.array([1.0, 3.0]), np.array([4.0, 8.0]))
    assert found.metrics["loss"] == pytest.approx(3.0)
    assert found.metrics["perplexity"] == pytest.approx(math.exp(3.0))
    assert found.metrics["bits_per_byte"] == pytest.approx(12.0 / math.log(2) / 12.0)
    low, high = found.intervals["loss"] or (0.0, 0.0)
    assert low == pytest.approx(2.0) and high == pytest.approx(10 / 3)


def test_texts_without_bytes_have_no_bits_a_byte() -> None:
    found = evaluate_generation(np.array([2.0]), np.array([1.0]), np.array([0.0]))
    assert found.metrics["bits_per_byte"] is None and found.intervals["bits_per_byte"] is None


def test_a_loss_that_is_no_number_is_told() -> None:
    for nats, tokens in (([math.nan], [1.0]), ([], []), ([0.0], [0.0])):
        with pytest.raises(InvalidValue, match="diverged"):
            evaluate_generation(np.array(nats), np.array(tokens), np.array(tokens))


def test_samples_stand_in_the_report_as_text() -> None:
    written = [Written(prompt="<b>Once", text=" upon & a\ntime</b>")]
    found = evaluate_generation(np.array([2.0]), np.array([1.0]), np.array([4.0]), written=written)
    page = render_report(title="t", evaluation=found, history=[], recipe_yaml="", facts={})
    assert "&lt;b&gt;Once" in page and "upon &amp; a\ntime" in page and "Bits per byte" in page
