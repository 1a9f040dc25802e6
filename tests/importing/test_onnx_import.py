"""A graph made elsewhere becomes a bundle: what it takes, whether its rows can be put together, and answers that repeat."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest
from foreign_graphs import dense, graph, identity, imported, save, spinning, sum_and_difference, text_sum_and_difference
from onnx import TensorProto, helper, numpy_helper

from modeltap.bundle.files import GRAPH, open_bundle
from modeltap.bundle.golden import replay_golden
from modeltap.domain.signature import Batch, TensorSpec
from modeltap.engines.probation import try_bundle
from modeltap.engines.select import open_engine
from modeltap.errors import GoldenMismatch, InvalidData
from modeltap.importing.onnx import import_onnx

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def run(files, inputs: Batch) -> Batch:
    return open_engine(open_bundle(files)).run(inputs)


def test_a_graph_keeps_its_bytes_and_tells_its_tensors(tmp_path):
    model = sum_and_difference()
    made = imported(model, tmp_path)
    manifest = made.manifest
    assert manifest.task == "tensors" and made.notices == [] and not manifest.is_batched
    assert manifest.signature.inputs == (TensorSpec("INPUT0", "INT32", (1, 16)), TensorSpec("INPUT1", "INT32", (1, 16)))
    assert manifest.signature.outputs == (TensorSpec("OUTPUT0", "INT32", (1, 16)), TensorSpec("OUTPUT1", "INT32", (1, 16)))
    sent = (tmp_path / "graph" / "model.onnx").read_bytes()
    assert made.files[GRAPH].read_bytes() == sent
    assert manifest.lineage.source_digest == hashlib.sha256(sent).hexdigest()
    try_bundle(made.files)


def test_the_same_graph_gives_the_same_files(tmp_path):
    first, second = (imported(dense(), tmp_path / name) for name in "ab")
    for name, path in first.files.items():
        assert path.read_bytes() == second.files[name].read_bytes(), name


@pytest.mark.parametrize("axes", [("N", 16), (None, 16), ("batch", "length")])
def test_rows_of_a_free_first_axis_are_put_together(tmp_path, axes):
    made = imported(sum_and_difference(axes=axes), tmp_path)
    assert made.manifest.is_batched and made.manifest.engine.min_batch == 1
    columns = [(c.name, c.kind, c.shape, c.datatype) for c in made.manifest.schema.features]
    fixed = [("INPUT0", "array", (16,), "INT32"), ("INPUT1", "array", (16,), "INT32")]
    assert columns == (fixed if axes[1] == 16 else [])


def test_a_rows_answer_does_not_depend_on_the_rows_beside_it(tmp_path):
    made = imported(dense(), tmp_path)
    assert made.manifest.is_batched
    rows = np.random.default_rng(1).standard_normal((9, 64)).astype(np.float32)
    whole = run(made.files, {"x": rows})["y"]
    for at in range(9):
        assert run(made.files, {"x": rows[at : at + 1]})["y"].tobytes() == whole[at : at + 1].tobytes()


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1), helper.make_node("Sub", ["x", "m"], ["y"])],
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
        [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)],
        [helper.make_node("RandomNormalLike", ["x"], ["y"])],
    ],
    ids=["less the mean of all", "a share of all", "twice as many rows", "chance"],
)
def test_rows_that_depend_on_each_other_are_run_as_they_were_sent(tmp_path, nodes):
    made = imported(graph(nodes, [("x", FLOAT, ("N", 4))], [("y", FLOAT, ("M", 4))]), tmp_path)
    assert not made.manifest.is_batched and made.manifest.schema.features == ()
    try_bundle(made.files)


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (text_sum_and_difference(), {"INPUT0": "BYTES", "INPUT1": "BYTES"}),
        (identity(TensorProto.FLOAT16, ()), {"INPUT0": "FP16"}),
        (identity(TensorProto.BOOL, ("a", "b")), {"INPUT0": "BOOL"}),
        (identity(TensorProto.UINT64, (2, 3)), {"INPUT0": "UINT64"}),
    ],
    ids=["text", "half", "truth", "unsigned"],
)
def test_every_datatype_is_tried_and_repeated(tmp_path, model, inputs):
    made = imported(model, tmp_path)
    assert {spec.name: spec.datatype for spec in made.manifest.signature.inputs} == inputs
    assert made.notices == [] and open_bundle(made.files).golden.cases
    try_bundle(made.files)


def test_a_table_takes_small_numbers_and_a_convolution_large_pictures(tmp_path):
    table = np.eye(3, dtype=np.float32)
    looked_up = graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        [("ids", INT64, ("N", "length"))],
        [("y", FLOAT, ("N", "length", 3))],
        constants={"table": table},
    )
    assert imported(looked_up, tmp_path / "table").notices == []
    kernel = np.ones((1, 3, 9, 9), dtype=np.float32)
    convolved = graph(
        [helper.make_node("Conv", ["x", "kernel"], ["y"])],
        [("x", FLOAT, ("N", 3, "height", "width"))],
        [("y", FLOAT, None)],
        constants={"kernel": kernel},
    )
    made = imported(convolved, tmp_path / "convolution")
    assert open_bundle(made.files).golden.cases
    assert made.manifest.signature.outputs == (TensorSpec("y", "FP32", (-1, 1, -1, -1)),)


def test_a_graph_that_takes_none_of_the_tried_values_is_imported_with_a_notice(tmp_path):
    model = graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [("x", FLOAT, (2, 3)), ("shape", INT64, (3,))],
        [("y", FLOAT, ("a", "b", "c"))],
    )
    made = imported(model, tmp_path)
    assert len(made.notices) == 1 and "no answer of it was recorded" in made.notices[0]
    try_bundle(made.files)
    assert run(made.files, {"x": np.zeros((2, 3), np.float32), "shape": np.array([3, 1, 2])})["y"].shape == (3, 1, 2)


def test_an_answer_that_changed_is_noticed(tmp_path):
    made = imported(sum_and_difference(), tmp_path)
    bundle = open_bundle(made.files)
    engine = open_engine(bundle)

    def changed(batch: Batch) -> Batch:
        outputs = engine.run(batch)
        return {**outputs, "OUTPUT1": outputs["OUTPUT1"] + 1}

    with pytest.raises(GoldenMismatch, match="'OUTPUT1' of golden case 1"):
        replay_golden(bundle.golden, bundle.manifest.schema, bundle.manifest.signature, changed)


def test_weights_beside_the_graph_become_part_of_it(tmp_path):
    weights = {"save_as_external_data": True, "location": "weights/all.bin", "size_threshold": 0}
    (tmp_path / "graph" / "weights").mkdir(parents=True)
    (tmp_path / "bundle").mkdir()
    made = import_onnx(save(dense(), tmp_path / "graph", **weights), tmp_path / "bundle")
    assert (tmp_path / "graph" / "weights" / "all.bin").stat().st_size > 2000
    rows = {"x": np.ones((4, 64), np.float32)}
    assert run(made.files, rows)["y"].tobytes() == run(imported(dense(), tmp_path / "whole").files, rows)["y"].tobytes()
    assert not onnx.load_model(made.files[GRAPH], load_external_data=False).graph.initializer[0].external_data


@pytest.mark.parametrize("location", ["/etc/passwd", "../outside.bin", "a/../../outside.bin", "gone.bin", "C:\\x.bin", ""])
def test_weights_that_lie_elsewhere_are_refused(tmp_path, location):
    model = dense()
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    (tmp_path / "outside.bin").write_bytes(bytes(4096))
    with pytest.raises(InvalidData, match=r"the graph keeps 'w' in .*(plain name|did not come)"):
        imported(model, tmp_path)


def test_weights_in_a_link_or_beyond_their_file_are_refused(tmp_path):
    model = dense()
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="w.bin")
    weights.external_data.add(key="length", value="2048")
    (tmp_path / "outside.bin").write_bytes(bytes(4096))
    folder = tmp_path / "graph"
    folder.mkdir()
    (folder / "w.bin").symlink_to(tmp_path / "outside.bin")
    with pytest.raises(InvalidData, match="did not come with it"):
        imported(model, tmp_path)
    (folder / "w.bin").unlink()
    (folder / "w.bin").write_bytes(bytes(2047))
    (tmp_path / "bundle").rmdir()
    with pytest.raises(InvalidData, match="beyond the end of that file"):
        imported(model, tmp_path)


REFUSED = {
    "an operator of somebody's own": (
        graph(
            [helper.make_node("Sort3", ["x"], ["y"], domain="my.ops")],
            [("x", FLOAT, (3,))],
            [("y", FLOAT, (3,))],
            domains=["my.ops"],
        ),
        r"operators that are not ONNX's own: my\.ops\.Sort3",
    ),
    "an operator that does not exist": (
        graph([helper.make_node("Invented", ["x"], ["y"])], [("x", FLOAT, (3,))], [("y", FLOAT, (3,))]),
        "Invented",
    ),
    "numbers that the protocol does not have": (identity(TensorProto.BFLOAT16, (2,)), r"'INPUT0' is a tensor\(bfloat16\)"),
    "an input without a shape": (identity(FLOAT, None), "'INPUT0' has no shape"),
    "a sequence": (
        helper.make_model(
            helper.make_graph(
                [helper.make_node("SequenceConstruct", ["x"], ["y"])],
                "graph",
                [helper.make_tensor_value_info("x", FLOAT, (2,))],
                [helper.make_tensor_sequence_value_info("y", FLOAT, None)],
            ),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
        ),
        r"the output 'y' is a seq\(tensor\(float\)\)",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_served_is_refused_by_name(tmp_path, what):
    model, told = REFUSED[what]
    with pytest.raises(InvalidData, match=told):
        imported(model, tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a graph at all", bytes(1000), b"\x08\x08\x12\x00", b"PK\x03\x04 broken"])
def test_what_is_no_graph_is_refused(tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    (tmp_path / "bundle").mkdir()
    with pytest.raises(InvalidData):
        import_onnx(tmp_path / "model.onnx", tmp_path / "bundle")


def test_half_a_graph_is_refused(tmp_path):
    path = save(dense(), tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / "bundle").mkdir()
    with pytest.raises(InvalidData, match="not complete"):
        import_onnx(path, tmp_path / "bundle")


def test_a_graph_that_takes_too_long_ends_with_its_process(tmp_path):
    model = spinning()
    del model.graph.input[:]
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**60]), "rounds"))
    (tmp_path / "bundle").mkdir()
    with pytest.raises(InvalidData, match="not imported"):
        import_onnx(save(model, tmp_path / "graph"), tmp_path / "bundle", timeout_s=2.0)
