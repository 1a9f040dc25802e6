"""A version's weights on texts: measured as its training measures its own, by the same rows and the same code.

`rows_of` also gives the rows to who asks an engine for them, where a version has no weights to load here.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeltap.data.texts import Sample
from modeltap.data.tokenizer import Tokenizer, open_tokenizer
from modeltap.errors import InvalidData
from modeltap.training.determinism import deterministic
from modeltap.training.language.batches import Learned, Stream, Texts
from modeltap.training.language.judging import Surprise, byte_lengths, measure
from modeltap.training.language.loop import Trainee, takes_bfloat16
from modeltap.training.language.pretrained import lay_out_model, load
from modeltap.training.language.reading import read_answers, read_stream
from modeltap.training.language.speaking import Spoken, speak
from modeltap.training.network import find_device


@dataclass(frozen=True)
class Measured:
    surprise: Surprise
    spoken: list[Spoken]
    notices: tuple[str, ...]


def rows_of(tokenizer: Tokenizer, samples: Sequence[Sample], *, context: int, part: str) -> tuple[Learned, list[str]]:
    """What the texts are as rows to foresee, and what was noticed. Raises InvalidData where there is nothing."""
    end = tokenizer.end_id
    if end is None:
        raise InvalidData("the version names no token that ends a text (eos_token), so what it was to foresee is not known")
    if all(not one.prompt and not one.messages for one in samples):
        stream = read_stream(tokenizer, samples, end=end)
        if len(stream) > 2:
            return Stream(stream, context=context, seed=None), []
        notices: list[str] = []
    else:
        answers, notices = read_answers(tokenizer, samples, end=end, context=context + 1, part=part)
        if answers:
            return Texts.of(answers), notices
    raise InvalidData(f"{part} holds no text to measure with; {'; '.join(notices) or 'give longer texts'}")


def measure_weights(
    files: Mapping[str, Path],
    samples: Sequence[Sample],
    *,
    context: int,
    limit: int,
    part: str,
    precision: str,
    device: str,
    threads: int,
    seed: int,
    folder: Path,
) -> Measured:
    """`limit`: tokens that the version reads and writes together. `folder` is filled with links to the files.

    Raises InvalidData, MissingExtra.
    """
    tokenizer = open_tokenizer(files)
    rows, notices = rows_of(tokenizer, samples, context=context, part=part)
    shutil.rmtree(folder, ignore_errors=True)
    with deterministic(seed=seed, threads=threads):
        found = find_device(device)
        network = load(lay_out_model(files, folder))
        width = int(network.config.hidden_size)
        trainee = Trainee(network.to(found), autocast=takes_bfloat16(precision, device=found, width=width)).eval()
        surprise = measure(trainee, rows, bytes_V=byte_lengths(tokenizer), device=found)
        spoken = speak(network.cpu(), tokenizer, samples, context=limit, seed=seed)
    return Measured(surprise, spoken, tuple(notices))
