"""A checkpoint that every runner saves anew is no progress."""

from __future__ import annotations

from modeltap.domain.progress import Progress
from modeltap.jobs.advance import Advance


def at(fraction: float) -> Progress:
    return Progress(phase="train", fraction=fraction)


def test_a_runner_that_went_on_from_the_last_checkpoint_counts_with_its_first() -> None:
    first = Advance(None)
    first.see(Progress(phase="data", fraction=0.9))
    first.see(at(0.0))
    first.see(at(0.25))
    assert first.is_further() and first.reached == 0.25
    second = Advance(first.reached)
    second.see(at(0.3))  # the checkpoint was a little further than what was told before it
    assert second.is_further() and second.reached == 0.3


def test_a_runner_that_began_at_nothing_again_counts_only_beyond_what_was_reached() -> None:
    again = Advance(0.5)
    again.see(at(0.0))
    again.see(at(0.5))
    assert not again.is_further()
    again.see(at(0.6))
    assert again.is_further() and again.reached == 0.6


def test_jobs_that_tell_nothing_of_a_training_count_as_they_say() -> None:
    assert Advance(None).is_further()
    assert Advance(0.7).is_further()
