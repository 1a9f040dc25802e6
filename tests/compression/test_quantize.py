"""Networks in eight and four bits: smaller, nearly the same answers, equal bytes; and what has no such form."""

from __future__ import annotations

import numpy as np
import pytest
from networks import PICTURE, PICTURE_LAYERS, Network, run

from modeltap.compression.quantize import is_recurrent, num_bytes, quantize_dynamic, quantize_int4, quantize_static
from modeltap.domain.features import FEATURES, FeatureSpec
from modeltap.errors import CannotCompress

SEQUENCE = FeatureSpec(shape=(9, 16))


@pytest.fixture(scope="module")
def pictures():
    return Network("sequential", {"layers": PICTURE_LAYERS}, PICTURE)


@pytest.fixture(scope="module")
def table():
    return Network("mlp", {"hidden": [256, 256]}, FeatureSpec(shape=(20,)))


def test_static_answers_nearly_alike_and_is_the_same_every_time(pictures):
    graph, calibration, seen = pictures.graph(), pictures.batch(200), pictures.batch(100, seed=2)
    small = quantize_static(graph, calibration)
    assert small.SerializeToString(deterministic=True) == quantize_static(graph, calibration).SerializeToString(
        deterministic=True
    )
    whole, eight = run(graph, seen), run(small, seen)
    assert np.abs(whole - eight).max() < 0.05 and eight.sum(axis=1) == pytest.approx(1)
    assert [node.op_type for node in small.graph.node][-1] == "Softmax", "the softmax stays as it is"


def test_rows_of_noise_ruin_it(pictures):
    graph, rows, seen = pictures.graph(), pictures.batch(50), pictures.batch(100, seed=2)
    right, ruined = (run(quantize_static(graph, {FEATURES: scale * rows[FEATURES]}), seen) for scale in (1, 1000))
    errors = [np.abs(run(graph, seen) - answer).max() for answer in (right, ruined)]
    assert errors[1] > 10 * errors[0]


def test_dynamic_makes_products_and_recurrent_layers_smaller(table):
    layers = [{"lstm": {"units": 64}}, {"dense": {"units": 4, "activation": "softmax"}}]
    steps = Network("sequential", {"layers": layers}, SEQUENCE)
    for network in (table, steps):
        graph, seen = network.graph(), network.batch(50)
        small = quantize_dynamic(graph)
        assert num_bytes(small) < num_bytes(graph) / 3
        assert np.abs(run(graph, seen) - run(small, seen)).max() < 0.05
    assert is_recurrent(steps.graph()) and not is_recurrent(table.graph())


def test_four_bits_for_fully_connected_layers(table):
    graph, seen = table.graph(), table.batch(50)
    small = quantize_int4(graph)
    assert num_bytes(small) < num_bytes(graph) / 5
    assert np.abs(run(graph, seen) - run(small, seen)).max() < 0.25


def test_what_has_no_form_in_fewer_bits_is_refused(pictures):
    layers = [{"conv2d": {"filters": 16, "kernel": 3}}, "globalavgpool2d", {"dense": {"units": 4}}]
    convolutions = Network("sequential", {"layers": layers}, PICTURE).graph()
    with pytest.raises(CannotCompress, match=r"fully connected layers, which hold 2\d% .* --int8, --prune 0.5 or --distil"):
        quantize_int4(convolutions)
    gru = [{"gru": {"units": 8}}, {"dense": {"units": 4, "activation": "softmax"}}]
    with pytest.raises(CannotCompress, match="no layer of the network has a form"):
        quantize_dynamic(Network("sequential", {"layers": gru}, SEQUENCE).graph())
