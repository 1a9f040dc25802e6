"""The compress step: a version → a smaller one, measured against it → a registered version with its certificate."""

from __future__ import annotations

from typing import Any

import msgspec

from modeltap.bundle.files import open_bundle
from modeltap.control.compress_spec import CompressSpec
from modeltap.runner.steps import Step


def compress(step: Step) -> dict[str, Any]:
    """The registered version, whether it holds what was demanded, and its certificate.

    Raises InvalidData for a version, data or texts that cannot be used, Broken for a model that does not load, Stopped,
    StorageFailed.
    """
    spec = msgspec.convert(step.job.spec, CompressSpec)
    bundle = open_bundle(step.artifacts.paths(spec.digest))
    if bundle.manifest.language is not None:
        from modeltap.runner.compress_language import compress_language

        return compress_language(step, spec, bundle)
    from modeltap.runner.compress_tensors import compress_tensors

    return compress_tensors(step, spec, bundle)
