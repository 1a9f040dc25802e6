"""The train step of text-embedding: texts, or pairs of them, → a sentence encoder → bundle → registered version.

Letters: N texts, T ids of a text, D numbers of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeltap import __version__
from modeltap.bundle.card import write_card
from modeltap.bundle.files import bundle_files
from modeltap.bundle.golden import awkward_rows, record_golden
from modeltap.bundle.join import join_graphs
from modeltap.control.trainings import TrainSpec
from modeltap.data.infer_overrides import override_columns
from modeltap.data.rows import input_spec, parse_column
from modeltap.data.split import plan_split
from modeltap.data.store import StoredDataset, open_dataset
from modeltap.data.text_columns import text_columns, with_texts
from modeltap.data.text_reading import TextReader, padded
from modeltap.domain.dataset import Column, Part, Schema
from modeltap.domain.features import FeatureBatch
from modeltap.domain.model import EngineChoice, Lineage, Manifest
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.domain.signature import Signature
from modeltap.engines.new_engine import measured_engine
from modeltap.errors import InvalidData, InvalidRecipe
from modeltap.faults import crash_point
from modeltap.recipe.render import recipe_digest, render_recipe
from modeltap.runner.embedding_accuracy import METRIC, pair_accuracy, text_array
from modeltap.runner.prepare import TRAINED_PARTS
from modeltap.runner.register import register
from modeltap.runner.steps import Step
from modeltap.runner.text_features import fit_reader, ids_graph, ids_spec
from modeltap.runner.text_start import open_start
from modeltap.storage.datasets import DatasetRepository
from modeltap.tasks.text_embedding import TASK
from modeltap.training.fit import TrainingData, fit_texts

TEXT = Column(name="text", kind="text")
"""The only input of a sentence encoder, whatever the dataset's columns are called."""
SCHEMA = Schema(form="texts", columns=(TEXT,), missing=())
EMBEDDING = "embedding"
GOLDEN_ROWS = 12
HELD_OUT: tuple[Part, ...] = ("val", "test")


@dataclass(frozen=True)
class TextParts:
    """Of each part, the texts, or the first and the second of each pair."""

    columns: dict[Part, list[list[str]]]
    are_pairs: bool
    notices: tuple[str, ...]


def train_embedding(step: Step, spec: TrainSpec, recipe: Recipe) -> dict[str, Any]:
    """The registered version, as `train` says it. Raises InvalidRecipe, InvalidData, Stopped, StorageFailed."""
    threads = recipe.threads or 1
    dataset = DatasetRepository(step.database, step.job.tenant).get(spec.dataset)
    step.report(Progress(phase="data", message=f"reading {dataset.id}"))
    parts = read_texts(open_dataset(step.artifacts.paths(dataset.digest)), recipe)
    step.pause_point()
    step.report(Progress(phase="features", message="fitting the tokenizer"))
    texts = parts.columns["train"]
    recipe, fitted, start = fit_reader([text for column in texts for text in column], recipe, partial(open_start, step))
    reader = fitted.open()
    data, longest = _ids(parts, reader)
    trained = fit_texts(
        recipe,
        ids_spec(reader, longest * (2 if parts.are_pairs else 1)),
        data,
        are_pairs=parts.are_pairs,
        threads=threads,
        workdir=step.workdir,
        report=step.report,
        stop_requested=step.stop_requested,
        checkpoint_every_s=spec.checkpoint_every_s,
        saved=step.saved,
        start=start,
    )
    crash_point("train.finished")
    step.report(Progress(phase="evaluate", message="evaluating"))
    front, graph_inputs = ids_graph(TEXT.name)
    width = next(dim.dim_value for dim in list(trained.graph.graph.output[0].type.tensor_type.shape.dim)[1:])
    graph, joined = join_graphs(
        front, trained.graph, inputs=graph_inputs, output=recipe.model.output.name or EMBEDDING, labels=(), width=width
    )
    signature = Signature((input_spec(TEXT),), joined.outputs)
    content = graph.SerializeToString(deterministic=True)
    sample = parts.columns["test"][0][:64] or texts[0][:64]
    engine, min_batch = measured_engine(content, signature, {TEXT.name: text_array(sample)}, fitted)
    metrics: dict[str, Any] = {
        part: {METRIC: pair_accuracy(engine, signature, signature.outputs[0].name, parts.columns[part], fitted)}
        for part in HELD_OUT
        if parts.columns[part][0]
    }
    manifest = Manifest(
        task=recipe.task,
        architecture=recipe.model.architecture,
        signature=signature,
        engine=EngineChoice(min_batch=min_batch),
        schema=SCHEMA,
        output=signature.outputs[0].name,
        lineage=Lineage(
            dataset=dataset.id,
            dataset_digest=dataset.digest,
            recipe_digest=recipe_digest(recipe),
            code_version=__version__,
            seed=recipe.seed,
            threads=threads,
        ),
        metrics=metrics,
    )
    step.pause_point()
    step.report(Progress(phase="bundle", message="writing the bundle"))
    rows = [{TEXT.name: text} for text in sample[:GOLDEN_ROWS]] + awkward_rows(SCHEMA)
    files = bundle_files(
        manifest=manifest,
        graph=content,
        golden=record_golden(SCHEMA, rows, engine.run),
        card=write_card(
            manifest,
            name=spec.name,
            summary=TASK.summary,
            num_rows={part: len(columns[0]) for part, columns in parts.columns.items()},
            slices=[],
        ),
        recipe_yaml=render_recipe(recipe),
        weights=trained.weights,
        architecture=trained.architecture,
        texts=fitted.files(),
    )
    digest = step.artifacts.put_tree(files)
    return register(step, spec, digest, manifest, history=trained.history, notices=parts.notices)


def read_texts(stored: StoredDataset, recipe: Recipe) -> TextParts:
    """The texts of each part; a row without one of them is left out. Raises InvalidData, InvalidRecipe."""
    schema = stored.schema
    if recipe.data.columns:
        schema = override_columns(schema, stored.as_source(), recipe.data.columns)
    columns = text_columns(schema)
    if len(columns) > 2:
        raise InvalidRecipe(
            f"there are {len(columns)} columns of texts, one or a pair is learned from; give the others the role 'ignored'"
        )
    schema = with_texts(schema, columns)
    planned = plan_split(stored, recipe.data.split, target_is_class=False, schema=schema)
    found: dict[Part, list[list[str]]] = {}
    notices = list(planned.notices)
    for part in TRAINED_PARTS:
        source = getattr(planned, part)
        read = [parse_column(c, stored.column(source.stored, c.name), missing=()) for c in schema.features]
        rows = [[str(values[row]) for values in read] for row in source.index]
        kept = [row for row in rows if all(row)]
        if len(kept) < len(rows):
            notices.append(f"left out {len(rows) - len(kept)} rows of {part} without a text")
        found[part] = [list(column) for column in zip(*kept, strict=True)] or [[] for _ in columns]
    if len(found["train"][0]) < 2:
        raise InvalidData("the training part has fewer than two texts")
    return TextParts(found, len(columns) == 2, tuple(notices))


def _ids(parts: TextParts, reader: TextReader) -> tuple[TrainingData, int]:
    read = {part: [reader.read(column) for column in parts.columns[part]] for part in ("train", "val")}
    longest = max(len(ids) for columns in read.values() for column in columns for ids in column)

    def batch(part: str) -> FeatureBatch:
        codes = np.concatenate([padded(column, longest, padding=reader.padding) for column in read[part]], axis=1)
        return FeatureBatch(features=np.empty((len(codes), 0), dtype=np.float32), codes=codes)

    train, val = batch("train"), batch("val")
    nothing: NDArray[np.int64] = np.zeros(len(train), dtype=np.int64)
    return TrainingData(train=train, train_target=nothing, val=val, val_target=nothing[: len(val)]), longest
