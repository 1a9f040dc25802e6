"""The way into this room: a recipe and texts → a Hugging Face directory with what was learned, measured and said."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from modeltap.data.texts import Sample, plain_messages
from modeltap.data.tokenizer import CHAT_TEMPLATE, CONFIG, GENERATION_CONFIG, Tokenizer, open_tokenizer
from modeltap.domain.dataset import Part
from modeltap.domain.model import Language
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.errors import Broken, InvalidData, MissingExtra
from modeltap.recipe.language_architectures import FullOptions, GptOptions

if TYPE_CHECKING:
    import torch

    from modeltap.training.language.batches import Learned
    from modeltap.training.language.judging import Surprise
    from modeltap.training.language.learning import Lesson
    from modeltap.training.language.loop import Trainee
    from modeltap.training.language.speaking import Spoken
    from modeltap.training.standing import Standing

MODEL, BASE = "model", "base"
"""Folders of the job: what is made, and links to what it is made from."""
AGREES = 1e-3
"""How far the saved model's logits may be from those of the trained one, relative to their size."""


@dataclass(frozen=True)
class LanguageAssignment:
    """Everything one training run is told. `base`: the files of the version that is trained on; `base_digest` names them."""

    recipe: Recipe
    samples: Mapping[Part, Sequence[Sample]]
    base: Mapping[str, Path]
    base_digest: str
    threads: int
    workdir: Path
    report: Callable[[Progress], None]
    stop_requested: Callable[[], bool]
    checkpoint_every_s: float
    saved: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class TrainedLanguage:
    """`folder` is a Hugging Face directory; `surprises` are of val and test, where there are such rows."""

    folder: Path
    language: Language
    history: list[dict[str, Any]]
    best_epoch: int | None
    surprises: dict[Part, Surprise]
    spoken: list[Spoken]
    prompts: tuple[str, ...]
    """Texts that its golden prompts may be made of."""
    notices: tuple[str, ...]


@dataclass(frozen=True)
class _Texts:
    """The parts as rows to learn. `end` ends a text."""

    learned: dict[Part, Learned]
    fingerprint: str
    notices: tuple[str, ...]


def fit_language(given: LanguageAssignment) -> TrainedLanguage:
    """The trained model; the same bytes for the same arguments, threads included.

    Raises InvalidRecipe and InvalidData for what cannot be trained, Stopped with a checkpoint written, StorageFailed,
    MissingExtra, Broken if the saved model does not answer as the trained one.
    """
    try:
        import tokenizers  # noqa: F401
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ModuleNotFoundError as problem:
        raise MissingExtra(what=str(problem.name), extra="llm") from problem
    from modeltap.training.determinism import deterministic

    folder = given.workdir / MODEL
    for name in (MODEL, BASE):
        shutil.rmtree(given.workdir / name, ignore_errors=True)
    folder.mkdir()
    with deterministic(seed=given.recipe.seed, threads=given.threads):
        return _fit(given, folder)


def _fit(given: LanguageAssignment, folder: Path) -> TrainedLanguage:
    from modeltap.training.language.building import build_trainee, language_options
    from modeltap.training.language.judging import byte_lengths, measure
    from modeltap.training.language.learning import Lesson
    from modeltap.training.language.speaking import prompt_texts, speak
    from modeltap.training.network import find_device

    recipe = given.recipe
    options = language_options(recipe)
    device = find_device(recipe.device)
    tokenizer = _tokenizer(given, options, folder)
    trainee, context = build_trainee(
        recipe, vocabulary=tokenizer.vocabulary, base=given.base, folder=given.workdir / BASE, device=device
    )
    given.report(Progress(phase="data", fraction=0.5, message="reading the texts"))
    texts = _read(given, tokenizer, context)
    token_bytes = byte_lengths(tokenizer)
    lesson = Lesson(
        recipe=recipe,
        learned=texts.learned,
        token_bytes=token_bytes,
        context=context,
        run=texts.fingerprint,
        workdir=given.workdir,
        checkpoint_every_s=given.checkpoint_every_s,
        report=given.report,
        saved=given.saved,
        stop_requested=given.stop_requested,
    )
    standing = _learn(given, lesson, trainee, vocabulary=tokenizer.vocabulary, device=device)
    given.report(Progress(phase="evaluate", message="measuring"))
    trainee.eval()
    surprises: dict[Part, Surprise] = {
        part: measure(trainee, learned, bytes_V=token_bytes, device=device)
        for part, learned in texts.learned.items()
        if part != "train"
    }
    model = _save(given, options, trainee, folder, tokenizer, texts.learned["train"])
    given.report(Progress(phase="evaluate", fraction=0.5, message="writing samples"))
    shown = given.samples["val"] or given.samples["train"]
    limit = int(model.config.max_position_embeddings)

    return TrainedLanguage(
        folder=folder,
        language=Language(
            cache="float32",  # as exact as its weights; a compressed child has the small one
            family=model.config.model_type,
            context_tokens=limit,
            vocabulary=int(model.config.vocab_size),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            has_chat_template=tokenizer.has_chat_template,
        ),
        history=standing.history,
        best_epoch=standing.best_epoch,
        surprises=surprises,
        spoken=speak(model, tokenizer, shown, context=limit, seed=recipe.seed),
        prompts=tuple(prompt_texts(tokenizer, shown, context=limit)),
        notices=texts.notices,
    )


def _tokenizer(given: LanguageAssignment, options: GptOptions | FullOptions, folder: Path) -> Tokenizer:
    """Learned from the training part, or the base's own with its template, whose files are copied."""
    from modeltap.training.language.pretrained import KEPT
    from modeltap.training.language.vocabulary import SPECIAL, TEMPLATE, learn_tokenizer

    talks = any(one.messages for one in given.samples["train"])
    if isinstance(options, GptOptions):
        given.report(Progress(phase="data", message="learning the tokenizer"))
        contents = [text for one in given.samples["train"] for text in _contents(one)]
        for name, content in learn_tokenizer(contents, options.vocabulary, context=options.context, talks=talks).items():
            (folder / name).write_bytes(content)
    else:
        for name in KEPT:
            if name in given.base:
                shutil.copyfile(given.base[name], folder / name)
    tokenizer = open_tokenizer(_files(folder))
    if talks and not tokenizer.has_chat_template:
        if not all(tokenizer.has_special(token) for token in SPECIAL):
            raise InvalidData(
                "the base has no chat template, so nothing says how talks are written for it; give pairs of prompt and"
                " completion, or train on a base that has one"
            )
        (folder / CHAT_TEMPLATE).write_text(TEMPLATE)
        tokenizer = open_tokenizer(_files(folder))
    return tokenizer


def _read(given: LanguageAssignment, tokenizer: Tokenizer, context: int) -> _Texts:
    """Rows of the parts. Raises InvalidData where nothing is left to learn."""
    import torch

    from modeltap.training.language.batches import Stream, Texts, cut_seed
    from modeltap.training.language.reading import read_answers, read_stream

    end = tokenizer.end_id
    if end is None:
        raise InvalidData("the base names no token that ends a text (eos_token); add one to its tokenizer_config.json")
    digest = hashlib.sha256()
    facts = [given.recipe, given.threads, given.base_digest, str(torch.__version__)]
    digest.update(msgspec.json.encode(facts, order="sorted"))
    learned: dict[Part, Learned] = {}
    notices: list[str] = []
    for part, samples in given.samples.items():
        if all(not one.prompt and not one.messages for one in samples):
            stream = read_stream(tokenizer, samples, end=end)
            digest.update(stream.tobytes())
            if len(stream) > 2:
                learned[part] = Stream(stream, context=context, seed=cut_seed(part, given.recipe.seed))
            continue
        answers, told = read_answers(tokenizer, samples, end=end, context=context + 1, part=part)
        notices += told
        for one in answers:
            digest.update(one.ids.tobytes() + one.is_learned.tobytes() + b"|")
        if answers:
            learned[part] = Texts.of(answers)
    if "train" not in learned:
        raise InvalidData("the training part holds no text to learn from; give longer texts, or a longer model.context")
    return _Texts(learned, digest.hexdigest(), tuple(notices))


def _learn(given: LanguageAssignment, lesson: Lesson, trainee: Trainee, *, vocabulary: int, device: torch.device) -> Standing:
    if lesson.recipe.distributed.processes == 1:
        from modeltap.training.language.learning import learn

        return learn(lesson, trainee.to(device), device=device)
    from modeltap.training.language.shared import learn_together

    standing = learn_together(lesson, trainee, threads=given.threads, vocabulary=vocabulary, base=given.base)
    trainee.to(device)  # which was the processes' until now
    return standing


def _save(
    given: LanguageAssignment,
    options: GptOptions | FullOptions,
    trainee: Any,
    folder: Path,
    tokenizer: Tokenizer,
    learned: Learned,
) -> Any:
    """Writes the weights, and loads them as whoever serves them will. Raises Broken if the two differ."""
    import numpy as np
    import torch

    from modeltap.training.language.network import Gpt
    from modeltap.training.language.pretrained import load, merged, own_weights, write_model

    ids, _ = learned.cut(np.arange(min(2, learned.num_rows)), pass_=0)
    network = merged(trainee.network).cpu().eval()
    with torch.no_grad():
        expected = network(ids) if isinstance(network, Gpt) else network(input_ids=ids, use_cache=False).logits
    if isinstance(network, Gpt):
        end = tokenizer.end_id
        assert end is not None
        llama = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "dtype": "float32"}
        write_model(folder, network.hugging_face_weights(), {**llama, **network.configuration(end=end)})
        ends = {"eos_token_id": end, "pad_token_id": end}
        (folder / GENERATION_CONFIG).write_text(json.dumps(ends, indent=1))
    else:
        configuration = {**json.loads((folder / CONFIG).read_bytes()), "dtype": "float32"}
        configuration.pop("torch_dtype", None)
        write_model(folder, own_weights(network), configuration)
    model = load(folder)
    with torch.no_grad():
        found = model(input_ids=ids, use_cache=False).logits
    farthest = float((found - expected).abs().max() / max(1.0, float(expected.abs().max())))
    if not farthest < AGREES:
        raise Broken(f"the saved model's answers differ by {farthest:g} from those of the trained one; it is not kept")
    return model


def _contents(one: Sample) -> list[str]:
    return [text for text in (one.prompt, one.text, *(m["content"] for m in plain_messages(one.messages))) if text]


def _files(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.iterdir()}
