"""A network whose layers are known, with its weights → a graph that answers as it does, and what is needed to train it on.

Letters: N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modeltap.bundle.join import join_graphs
from modeltap.data.graph import GraphWriter
from modeltap.data.rows import input_spec
from modeltap.domain.features import CODES, FEATURES, FeatureSpec
from modeltap.domain.signature import Array, Batch, Signature, TensorSpec
from modeltap.errors import InvalidRecipe
from modeltap.importing.declared import ARCHITECTURE_NAME, CLASSES, NUMBERS, Declared, own_task
from modeltap.importing.network_bundle import Network
from modeltap.recipe.architectures import find_architecture
from modeltap.tasks import tensors
from modeltap.training.architectures.sequential import build, build_whole, final_activation
from modeltap.training.export import export_network
from modeltap.training.graphs import PREDICTION
from modeltap.training.targets import TargetScale
from modeltap.training.trained import describe

INNER = "modeltap/model/"
RawAnswer = Callable[[Array], Array]
"""Rows of the input → what the network gives for them, with the function that it ends in, as its own framework computes it."""


class SequentialNetwork:
    """The network of the layers, with start weights until `load`."""

    def __init__(self, declared: Declared) -> None:
        """Raises InvalidRecipe, naming the layer, where the layers do not fit each other or the task."""
        self.declared = declared
        self.spec = declared.spec()
        self.whole, self.shape = build_whole(declared.layers, self.spec, layout=declared.options.layout)
        self.labels = self._labels()

    def _labels(self) -> tuple[str, ...]:
        declared = self.declared
        if declared.task not in CLASSES:
            return ()
        if len(self.shape) != 1:
            raise InvalidRecipe(f"the last layer gives {_by(self.shape)}; of classes it gives one number each")
        count = 2 if self._is_sigmoid else self.shape[0]
        if declared.labels and len(declared.labels) != count:
            raise InvalidRecipe(f"the network tells {count} classes apart, and {len(declared.labels)} labels were given")
        if count < 2:
            raise InvalidRecipe(
                "one number tells no classes apart; end the network in sigmoid, or say task: tabular-regression"
            )
        return declared.labels or tuple(map(str, range(count)))

    @property
    def _is_sigmoid(self) -> bool:
        return self.shape == (1,) and final_activation(self.declared.layers) == "sigmoid"

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Sets the weights, by their names here; shapes were checked. Counters may be left out."""
        state = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
        self.whole.load_state_dict(state, strict=False)
        self.whole.eval()

    def raw(self, rows: Array) -> Array:
        """What torch gives for the rows."""
        with torch.no_grad():
            answer: Array = self.whole(self._tensor(rows)).numpy()
        return answer

    def network(
        self,
        sample: Batch,
        *,
        raw: RawAnswer | None = None,
        source: str,
        source_digest: str,
        recipe: str,
        facts: Mapping[str, str],
        notices: list[str],
    ) -> Network:
        """With its graph, seen to answer as the torch network does for the sample's rows."""
        declared = self.declared
        module, scale = self._module()
        rows = self._tensor(sample[declared.input])
        is_plain = declared.task == tensors.TASK.name
        graph = export_network(module, self.spec, scale, [rows], gives_vectors=is_plain)
        content, signature = self._named(graph)
        described = self._described()
        answered = raw or self.raw
        return Network(
            graph=content,
            signature=signature,
            schema=declared.schema(),
            answer=lambda batch: {declared.output: self._shown(answered(batch[declared.input]))},
            source=source,
            source_digest=source_digest,
            architecture=ARCHITECTURE_NAME,
            task=declared.task,
            labels=self.labels,
            facts=facts,
            notices=notices,
            recipe=recipe,
            weights={name: tensor.numpy() for name, tensor in self.whole.state_dict().items()} if described else {},
            described=described,
        )

    def _module(self) -> tuple[nn.Module, TargetScale | None]:
        """What is exported: the network itself, or for a task the one that gives logits or values, with the same weights."""
        if self.declared.task == tensors.TASK.name:
            return self.whole, None
        module = build(self.declared.options, self.spec, len(self.labels) or 1)
        module.load_state_dict(self.whole.state_dict())
        return module.eval(), None if self.labels else TargetScale()

    def _shown(self, raw: Array) -> Array:
        """The raw answer as the task has it: (N, C) probabilities, (N,) values, or as it is."""
        if self.declared.task == NUMBERS:
            return raw[:, 0]
        if not self.labels:
            return raw
        value = torch.from_numpy(np.asarray(raw))
        if self._is_sigmoid:
            return np.concatenate([1 - raw, raw], axis=1)
        if final_activation(self.declared.layers) == "softmax":
            return raw
        shares: Array = torch.softmax(value, dim=-1).numpy()
        return shares

    def _tensor(self, rows: Array) -> Tensor:
        plain = np.ascontiguousarray(rows)
        if self.declared.embedding is None:
            return torch.from_numpy(plain.astype(np.float32, copy=False))
        return torch.from_numpy(plain.astype(np.int64, copy=False)).flatten(1)

    def _named(self, graph: Any) -> tuple[bytes, Signature]:
        """The graph with input and output called as they were declared; with labels, where there are classes."""
        declared = self.declared
        given = input_spec(declared.schema().columns[0])
        if declared.task != tensors.TASK.name:
            joined, signature = join_graphs(
                _front(given, self.spec), graph, inputs=(given,), output=declared.output, labels=self.labels
            )
            return joined.SerializeToString(deterministic=True), signature
        from onnx import compose

        inner = FEATURES if self.spec.shape else CODES
        named = {INNER + inner: declared.input, INNER + PREDICTION: declared.output}
        prefixed = compose.add_prefix(graph, INNER)
        for node in prefixed.graph.node:
            for names in (node.input, node.output):
                names[:] = [named.get(name, name) for name in names]
        for value in (*prefixed.graph.input, *prefixed.graph.output):
            value.name = named[value.name]
        prefixed.producer_name = "modeltap"
        answer = TensorSpec(declared.output, "FP32", (-1, *self.shape))
        return prefixed.SerializeToString(deterministic=True), Signature((given,), (answer,))

    def _described(self) -> dict[str, Any]:
        """`architecture.json`, from which the network is built again to be trained on; empty where its answers are not classes
        or numbers."""
        task = own_task(self.declared)
        count = (2 if self._is_sigmoid and task in CLASSES else self.shape[0]) if len(self.shape) == 1 else 0
        try:
            build(self.declared.options, self.spec, count)
        except InvalidRecipe:
            return {}
        target = {"mean": 0.0, "std": 1.0} if task == NUMBERS else None
        return describe(find_architecture(ARCHITECTURE_NAME), self.declared.options, self.spec, count, target=target)


def _front(given: TensorSpec, spec: FeatureSpec) -> Any:
    """The graph before the network, which changes nothing."""
    writer = GraphWriter("features")
    inner = FEATURES if spec.shape else CODES
    writer.node("Identity", [given.name], out=inner)
    return writer.model([given], [TensorSpec(inner, given.datatype, given.shape)])


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "nothing"
