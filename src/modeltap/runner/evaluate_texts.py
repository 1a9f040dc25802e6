"""The evaluate step of models that have no target: how well texts are foreseen, and how often the right text is the nearest.

Both are measured as their trainings measure them, on a part that the version did not learn from where that is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from modeltap.bundle.files import RECIPE, Bundle
from modeltap.control.trainings import EvaluateSpec
from modeltap.data.rows import parse_column
from modeltap.data.store import StoredDataset
from modeltap.data.text_columns import text_columns, with_texts
from modeltap.data.text_reading import read_fitted
from modeltap.data.texts import Sample, divide_samples, read_samples
from modeltap.data.tokenizer import open_tokenizer
from modeltap.domain.dataset import Part
from modeltap.domain.generation import Sampling
from modeltap.domain.model import Language
from modeltap.domain.recipe import Recipe
from modeltap.engines.select import open_engine
from modeltap.errors import Broken, InvalidData
from modeltap.evaluation.generation import evaluate_generation
from modeltap.evaluation.result import Evaluation, Metrics, Written, flat_metrics
from modeltap.jobs.thread_limits import granted_threads
from modeltap.recipe.architectures import find_architecture, parse_options
from modeltap.recipe.document import load_document
from modeltap.recipe.parse import parse_recipe
from modeltap.runner.embedding_accuracy import METRIC, pair_accuracy
from modeltap.runner.steps import Step

if TYPE_CHECKING:
    from modeltap.training.language.judging import Surprise

HELD_OUT: tuple[Part, ...] = ("test", "val")
LARGEST_CONTEXT = 2048
"""Of a version that was not trained here: a longer text is cut into pieces of so many tokens, as training does it."""
AT_ONCE = 8
SERVED = "the version has no weights that could be loaded here, so its serving engine was asked, and no samples were written"


@dataclass(frozen=True)
class Judged:
    """What the step says of the version; `evaluation` is None where there is no page to make of it."""

    part: str
    metrics: dict[str, Any]
    evaluation: Evaluation | None
    notices: tuple[str, ...]


def own_recipe(bundle: Bundle) -> Recipe | None:
    """That it was trained with; None for what was imported."""
    path = bundle.files.get(RECIPE)
    text = "" if path is None else path.read_text(encoding="utf-8")
    return parse_recipe(load_document(text)) if text.strip() else None


def judge_texts(step: Step, spec: EvaluateSpec, bundle: Bundle, stored: StoredDataset, *, is_own: bool) -> Judged:
    """`is_own`: the dataset is the one that the version learned from. Raises InvalidData, MissingExtra, Broken."""
    judge = _judge_embedding if bundle.manifest.language is None else _judge_language
    return judge(step, spec, bundle, stored, is_own=is_own)


def _judge_language(step: Step, spec: EvaluateSpec, bundle: Bundle, stored: StoredDataset, *, is_own: bool) -> Judged:
    """Loss, perplexity and bits a byte, with samples. Raises InvalidData, MissingExtra, Broken."""
    language, recipe = bundle.manifest.language, own_recipe(bundle)
    assert language is not None, "a model of this task has facts of its language"
    part, samples = _samples(stored, spec, recipe if is_own else None)
    context = _context(recipe, language)
    step.pause_point()
    if not any(name.endswith(".safetensors") for name in bundle.files):
        surprise, notices = _ask_engine(spec.model, bundle, language, samples, context=context, part=part)
        return _generation(part, surprise, (), (*notices, SERVED))
    from modeltap.training.language.evaluating import measure_weights

    measured = measure_weights(
        bundle.files,
        samples,
        context=context,
        limit=language.context_tokens,
        part=part,
        precision="auto" if recipe is None else recipe.precision,
        device="auto" if recipe is None else recipe.device,
        threads=step.job.given_threads or bundle.manifest.lineage.threads,
        seed=bundle.manifest.lineage.seed,
        folder=step.workdir / "weights",
    )
    written = [Written(prompt=one.prompt, text=one.text) for one in measured.spoken]
    return _generation(part, measured.surprise, written, measured.notices)


def _generation(part: str, surprise: Surprise, written: Sequence[Written], notices: tuple[str, ...]) -> Judged:
    evaluation = evaluate_generation(surprise.nats, surprise.tokens, surprise.bytes, written=written)
    return Judged(part, flat_metrics(evaluation), evaluation, notices)


def _samples(stored: StoredDataset, spec: EvaluateSpec, recipe: Recipe | None) -> tuple[str, list[Sample]]:
    """The name of the part and its texts; with the version's recipe, the parts are as its training divided them."""
    if recipe is not None and spec.part not in ("rows", "all"):
        divided = divide_samples(stored, recipe.data.split)
        wanted = next((part for part in HELD_OUT if divided[part]), None) if spec.part is None else spec.part
        found = next((part for part in divided if part == wanted), None)
        if found is None or not divided[found]:
            raise InvalidData(
                f"the version's recipe leaves no text for its {wanted or 'test or val'} part; name another part, or other data"
            )
        return found, divided[found]
    parts = stored_parts(stored, spec.part)
    return "+".join(parts), [one for part in parts for one in read_samples(stored, part)]


def stored_parts(stored: StoredDataset, wanted: str | None) -> list[Part]:
    """Those of a dataset that was given; without a wish the test part, or all that there is."""
    if wanted is None:
        return ["test"] if "test" in stored.parts else list(stored.parts)
    return list(stored.parts) if wanted == "all" else [part for part in stored.parts if part == wanted]


def _context(recipe: Recipe | None, language: Language) -> int:
    """How many tokens are read at a time, as the training of the version did it."""
    said: int | None = None
    if recipe is not None and (found := find_architecture(recipe.model.architecture)).family == "language":
        said = getattr(parse_options(found, recipe.model.options), "context", None)
    return min(said or LARGEST_CONTEXT, language.context_tokens)


def _ask_engine(
    name: str, bundle: Bundle, language: Language, samples: Sequence[Sample], *, context: int, part: str
) -> tuple[Surprise, list[str]]:
    """The same rows, foreseen by the engine that serves the version; a row leaves room for one token more."""
    from modeltap.training.language.evaluating import rows_of
    from modeltap.training.language.judging import Surprise, byte_lengths

    tokenizer = open_tokenizer(bundle.files)
    rows, notices = rows_of(tokenizer, samples, context=min(context, language.context_tokens - 2), part=part)
    sizes = byte_lengths(tokenizer).tolist()
    asked: list[tuple[list[int], list[bool]]] = []
    for number in range(rows.num_rows):
        ids, targets = (one[0].tolist() for one in rows.cut(np.array([number], dtype=np.int64), pass_=0))
        is_learned = [target >= 0 for target in targets]
        last = max(place for place, learned in enumerate(is_learned) if learned)
        asked.append(([*ids[: last + 1], targets[last]], is_learned[: last + 1]))
    nats = asyncio.run(_nats(name, bundle, language, asked))
    tokens = [float(sum(is_learned)) for _, is_learned in asked]
    num_bytes = [
        sum(sizes[token] for token, learned in zip(ids[1:], is_learned, strict=True) if learned) for ids, is_learned in asked
    ]
    return Surprise(nats=np.array(nats), tokens=np.array(tokens), bytes=np.array(num_bytes)), notices


async def _nats(name: str, bundle: Bundle, language: Language, asked: Sequence[tuple[list[int], list[bool]]]) -> list[float]:
    """Of each row the sum of -ln p over what is learned of it."""
    from modeltap.compression.asking import answer
    from modeltap.compression.golden import empty_golden
    from modeltap.engines.tokens_process import TokenProcess
    from modeltap.engines.tokens_wire import EngineSettings

    settings = EngineSettings(threads=granted_threads())
    engine = await TokenProcess.start(name, bundle.files, language, empty_golden(), settings=settings)
    free = asyncio.Semaphore(AT_ONCE)
    reading = Sampling(max_tokens=1, temperature=0.0, echo=True, logprobs=True, ignore_end=True)

    async def one(number: int, ids: list[int], is_learned: list[bool]) -> float:
        async with free:
            deltas = await answer(engine, f"row-{number}", ids, reading)
        told = [value for delta in deltas for value in delta.prompt_logprobs][1:]
        if len(told) != len(is_learned):
            raise Broken(f"the engine gave {len(told) + 1} log-probabilities of a prompt of {len(ids)} tokens")
        return -sum(value or 0.0 for value, learned in zip(told, is_learned, strict=True) if learned)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number, *row)) for number, row in enumerate(asked)]
    finally:
        await engine.close()
    return [task.result() for task in tasks]


def _judge_embedding(step: Step, spec: EvaluateSpec, bundle: Bundle, stored: StoredDataset, *, is_own: bool) -> Judged:
    """In how many of 100 texts the nearest of 64 others is the right one. Raises InvalidData."""
    from modeltap.runner.train_embedding import read_texts

    recipe = own_recipe(bundle)
    notices: tuple[str, ...] = ()
    if is_own and recipe is not None and spec.part not in ("rows", "all"):
        read = read_texts(stored, recipe)
        wanted = next((one for one in HELD_OUT if read.columns[one][0]), None) if spec.part is None else spec.part
        found = next((one for one in read.columns if one == wanted), None)
        columns = [] if found is None else read.columns[found]
        part, notices = str(wanted or "test or val"), read.notices
    else:
        parts = stored_parts(stored, spec.part)
        part, columns = "+".join(parts), _columns(stored, parts)
    if not columns or not columns[0]:
        raise InvalidData(f"there is no text in the {part} part to measure with; name another part, or other data")
    step.pause_point()
    accuracy = pair_accuracy(
        open_engine(bundle), bundle.manifest.signature, bundle.manifest.output, columns, read_fitted(bundle.files)
    )
    metrics: Metrics = {METRIC: accuracy}
    return Judged(part, {**metrics, "num_texts": len(columns[0])}, None, notices)


def _columns(stored: StoredDataset, parts: Sequence[Part]) -> list[list[str]]:
    """The texts, or both columns of pairs; rows without one of them are left out."""
    named = text_columns(stored.schema)
    if len(named) > 2:
        raise InvalidData(f"there are {len(named)} columns of texts; vectors are measured on one, or on pairs")
    features = with_texts(stored.schema, named).features
    read = [
        [str(value) for part in parts for value in parse_column(column, stored.column(part, column.name), missing=())]
        for column in features
    ]
    kept = [row for row in zip(*read, strict=True) if all(row)]
    return [list(column) for column in zip(*kept, strict=True)] or [[] for _ in features]


def result_of(step: Step, judged: Judged, *, model: str, dataset: str) -> dict[str, Any]:
    """What the job says."""
    return {
        "job": step.job.id,
        "model": model,
        "dataset": dataset,
        "part": judged.part,
        "metrics": judged.metrics,
        "evaluation": None if judged.evaluation is None else msgspec.to_builtins(judged.evaluation),
        "notices": list(judged.notices),
        "report": judged.evaluation is not None,
    }
