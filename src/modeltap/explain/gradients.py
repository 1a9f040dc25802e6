"""What a network's answer depends on, by its gradients: for pictures, and where torch is at hand.

`module` is a torch module that gives logits, `features` what it takes, (N, H, W) or (N, H, W, C), float32.
Letters: N pictures, H and W rows and columns of pixels, C channels.
Sources: Sundararajan, Taly, Yan 2017 (integrated gradients); Selvaraju et al. 2017 (Grad-CAM).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeltap.errors import MissingExtra
from modeltap.explain.steps import Floats

STEPS = 32
"""Points between nothing and the picture at which the gradient is taken."""


def integrated_gradients(module: Any, features: NDArray[np.float32], index_N: NDArray[np.int64]) -> Floats:
    """(N, H, W): what each pixel adds to the logit of the class, against a picture of its most common brightness."""
    import torch

    captum = _captum()
    pixels_NHWC = _with_channels(features)
    away_N11C = np.median(pixels_NHWC, axis=(1, 2), keepdims=True).astype(np.float32)
    baseline = np.ascontiguousarray(np.broadcast_to(away_N11C, pixels_NHWC.shape)).reshape(features.shape)
    found = captum.attr.IntegratedGradients(module).attribute(
        torch.from_numpy(np.ascontiguousarray(features)),
        baselines=torch.from_numpy(baseline),
        target=torch.from_numpy(index_N),
        n_steps=STEPS,
        internal_batch_size=max(STEPS, len(features)),
    )
    summed: Floats = _with_channels(found.detach().numpy().astype(np.float64)).sum(axis=3)
    return summed


def grad_cam(module: Any, features: NDArray[np.float32], index_N: NDArray[np.int64]) -> Floats | None:
    """(N, H, W): where the last convolution sees what speaks for the class; None for a network without one."""
    import torch

    captum = _captum()
    layers = [part for part in module.modules() if isinstance(part, torch.nn.Conv2d)]
    if not layers:
        return None
    seen = captum.attr.LayerGradCam(module, layers[-1]).attribute(
        torch.from_numpy(np.ascontiguousarray(features)), target=torch.from_numpy(index_N), relu_attributions=True
    )
    whole = torch.nn.functional.interpolate(seen.detach(), size=features.shape[1:3], mode="bilinear", align_corners=False)
    heat: Floats = whole[:, 0].numpy().astype(np.float64)
    return heat


def _with_channels(values: Any) -> Any:
    return values if values.ndim == 4 else values[..., None]


def _captum() -> Any:
    try:
        import captum.attr
    except ImportError:
        raise MissingExtra(what="captum, which explains networks by their gradients,", extra="train") from None
    return captum
