"""Layers of a recipe against what they mean: NHWC order, Keras' padding, and errors that name the layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modeltap.domain.features import FeatureSpec
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import find_architecture, parse_options
from modeltap.training.building import build_module, check_input_shape


def build(layers: list[Any], shape: tuple[int, ...], num_outputs: int, **options: Any) -> nn.Module:
    architecture = find_architecture("sequential")
    parsed = parse_options(architecture, {"layers": layers, **options})
    torch.manual_seed(0)
    return build_module(architecture, parsed, FeatureSpec(shape=shape), num_outputs).eval()


def conv(**keys: Any) -> dict[str, Any]:
    return {"conv2d": {"filters": 4, "kernel": 3, **keys}}


def dense(units: int, **keys: Any) -> dict[str, Any]:
    return {"dense": {"units": units, **keys}}


def windows(image_HWC: np.ndarray, size: int, stride: int, before: int, after: int, fill: float) -> np.ndarray:
    """Every window of a padded image: (rows, columns, size, size, C)."""
    padded = np.pad(image_HWC, ((before, after), (before, after), (0, 0)), constant_values=fill)
    places = range(0, padded.shape[0] - size + 1, stride), range(0, padded.shape[1] - size + 1, stride)
    return np.array([[padded[y : y + size, x : x + size] for x in places[1]] for y in places[0]])


def test_convolution_and_flatten_walk_in_nhwc_order() -> None:
    module = build([conv(name="c", activation="relu"), "flatten", dense(3, name="d")], (6, 6, 2), 3)
    image_NHWC = np.random.default_rng(0).normal(size=(2, 6, 6, 2)).astype(np.float32)
    weights = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    for image, answer in zip(image_NHWC, module(torch.from_numpy(image_NHWC)).detach().numpy(), strict=True):
        maps = np.einsum("yxhwc,ochw->yxo", windows(image, 3, 1, 0, 0, 0.0), weights["c.weight"]) + weights["c.bias"]
        expected = weights["d.weight"] @ np.maximum(maps, 0).ravel() + weights["d.bias"]
        np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)


def test_nchw_layout_flattens_channels_first() -> None:
    module = build(["flatten", dense(2, name="d")], (3, 4, 5), 2, layout="nchw")
    image_NCHW = torch.randn(2, 3, 4, 5)
    expected = image_NCHW.flatten(1) @ module.state_dict()["d.weight"].T
    torch.testing.assert_close(module(image_NCHW), expected)


def test_same_padding_puts_the_odd_pixel_last_as_keras_does() -> None:
    image_NHWC = np.random.default_rng(1).normal(size=(1, 6, 6, 1)).astype(np.float32)
    pool = {"size": 3, "stride": 2, "padding": "same"}
    seen = windows(image_NHWC[0], 3, 2, 0, 1, np.nan)
    for layer, expected in (
        ({"maxpool2d": pool}, np.nanmax(seen, axis=(2, 3))),
        ({"avgpool2d": pool}, np.nanmean(seen, axis=(2, 3))),
    ):
        stack = nn.Sequential(*list(build([layer, "flatten", dense(1)], (6, 6, 1), 1).children())[:-1])
        np.testing.assert_allclose(stack(torch.from_numpy(image_NHWC))[0], expected.ravel(), rtol=1e-6)


def test_an_image_without_channels_is_taken_as_one_channel() -> None:
    layers = [conv(), {"maxpool2d": {"size": 2}}, "flatten", dense(10, activation="softmax")]
    image = torch.randn(3, 28, 28)
    flat, deep = build(layers, (28, 28), 10), build(layers, (28, 28, 1), 10)
    assert torch.equal(flat(image), deep(image[..., None]))
    check_input_shape((28, 28, 1), FeatureSpec(shape=(28, 28)))
    with pytest.raises(InvalidRecipe, match=r"model.input.shape is \[32, 32\], and the data has \[28, 28\]"):
        check_input_shape((32, 32), FeatureSpec(shape=(28, 28)))


def test_a_final_softmax_is_left_to_the_graph_and_one_sigmoid_becomes_two_classes() -> None:
    given = torch.randn(5, 4)
    open_end, closed = build([dense(3)], (4,), 3), build([dense(3, activation="softmax")], (4,), 3)
    assert torch.equal(open_end(given), closed(given))
    single = build([dense(1, name="d"), {"activation": "sigmoid"}], (4,), 2)
    weights = single.state_dict()
    chance = torch.sigmoid(given @ weights["d.weight"].T + weights["d.bias"])
    torch.testing.assert_close(torch.softmax(single(given), 1), torch.cat([1 - chance, chance], 1))


def test_start_weights_are_those_of_keras() -> None:
    cells = build([{"reshape": {"shape": [5, 4]}}, {"lstm": {"name": "l", "units": 8}}, dense(3, name="d")], (20,), 3)
    weights = cells.state_dict()
    recurrent = weights["l.cells.weight_hh_l0"]
    torch.testing.assert_close(recurrent.T @ recurrent, torch.eye(8), atol=1e-5, rtol=0)
    bias = weights["l.cells.bias_ih_l0"] + weights["l.cells.bias_hh_l0"]
    assert bias.tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16
    limit = (6 / (8 + 3)) ** 0.5
    assert weights["d.weight"].abs().max() <= limit
    assert not weights["d.bias"].any()


@pytest.mark.parametrize(
    ("layers", "shape", "num_outputs", "message"),
    [
        ([conv(), dense(10)], (28, 28), 10, r"layers\[1\] \(dense\): a flat input is needed, 26x26x4 arrives; put flatten"),
        ([conv()], (2, 2), 10, r"layers\[0\] \(conv2d\): a window of 3x3 does not fit into an image of 2x2"),
        ([conv()], (5,), 10, r"layers\[0\] \(conv2d\): an image .* is needed, 5 arrives"),
        ([dense(9)], (5,), 10, r"layers\[0\] \(dense\): the task has 10 classes, so 10 units, and 9 leaves"),
        ([dense(10)], (28, 28), 10, "28x10 leaves the last layer; put flatten before"),
        ([dense(3)], (5,), 1, "the task has one value, and 3 leaves the last layer"),
        ([dense(1, activation="softmax")], (5,), 1, r"layers\[0\]: softmax is for classes"),
        ([dense(3, activation="sigmoid")], (5,), 3, r"layers\[0\]: the last layer of 3 classes is dense: {units: 3"),
        ([{"reshape": {"shape": [4, -1]}}], (6,), 3, r"6 \(6 numbers\) cannot become \[4, -1\]"),
        ([{"lstm": {"units": 3}}], (6,), 3, r"layers\[0\] \(lstm\): a sequence .* is needed, 6 arrives"),
        ([{"embedding": {"dim": 3}}], (6,), 3, r"layers\[0\] \(embedding\): tokens are needed"),
        ([dense(3, name="a"), dense(3, name="a")], (6,), 3, "the name 'a' is taken"),
    ],
)
def test_says_which_layer_does_not_fit(layers: list[Any], shape: tuple[int, ...], num_outputs: int, message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        build(layers, shape, num_outputs)


def test_relu_before_a_maximum_gives_the_same_answers_and_gradients() -> None:
    module = build([conv(name="c", activation="relu"), {"maxpool2d": {"size": 2}}, "flatten", dense(3, name="d")], (9, 9), 3)
    image = torch.randn(5, 9, 9)
    weights = {name: tensor.detach().clone().requires_grad_() for name, tensor in module.named_parameters()}
    maps = nn.functional.conv2d(image[:, None], weights["c.weight"], weights["c.bias"]).relu()
    flat = nn.functional.max_pool2d(maps, 2).permute(0, 2, 3, 1).flatten(1)
    expected = nn.functional.linear(flat, weights["d.weight"], weights["d.bias"])
    given = module(image)
    torch.testing.assert_close(given, expected)
    given.square().sum().backward()
    expected.square().sum().backward()
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad)
