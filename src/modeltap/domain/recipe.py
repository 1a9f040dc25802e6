"""Everything that decides a training run, as typed values. `recipe/` makes them from YAML; nothing else does.

Every field has a default, so that the full recipe of a run can be rendered and run again.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from modeltap.domain.dataset import Column, Normalization

Count = Annotated[int, msgspec.Meta(ge=1)]
Seed = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a recipe: an unknown key in it is an error."""


class Split(Section, frozen=True):
    """How rows are divided. Parts that were given as files are taken as they are; a missing `val` is cut from `train`.

    At most one of `group` (rows with the same value stay together) and `time` (the latest rows are the test part).
    """

    train: Fraction = 0.8
    val: Fraction = 0.1
    test: Fraction = 0.1
    stratify: bool | str = True
    """True: by the target where it is a class; a column's name: by that column."""
    group: str | None = None
    time: str | None = None
    seed: Seed = 0


class Clean(Section, frozen=True):
    """What is mended before anything is fitted. Only training rows are dropped; a served row is never refused for it."""

    duplicates: Literal["keep", "drop"] = "keep"
    missing: Literal["impute", "drop"] = "impute"
    outliers: Literal["keep", "clip"] = "keep"
    outlier_quantiles: tuple[Fraction, Fraction] = (0.005, 0.995)
    """Numbers are clipped, in the graph, to these quantiles of the training part."""
    normalize: tuple[Normalization, ...] = ()
    """Added to what the schema says of each category."""


class Transforms(Section, frozen=True):
    """How columns become features; fitted on the training part only, and part of the served graph."""

    numbers: Literal["auto", "standardize", "min-max", "log", "none"] = "auto"
    """auto: standardize for networks, none for trees. log: sign(x) log(1 + |x|), then standardize."""
    categories: Literal["auto", "one-hot", "embedding", "ordinal", "codes"] = "auto"
    """auto: one-hot for networks and for few categories in trees, ordinal for many in trees. codes: trees part them in any two
    sets."""
    rare_count: Count = 5
    """A category seen less often in training shares one bucket; unseen ones fall into it too."""
    max_categories: Count = 200
    dates: Literal["parts", "elapsed", "drop"] = "parts"
    """parts: time elapsed, and month, day of the week and hour as points on a circle (plain numbers for trees)."""
    target: Literal["auto", "standardize", "none"] = "auto"
    """Of a regression. auto: standardize for networks; undone inside the graph."""
    image_scale: Positive = 1 / 255
    image_mean: tuple[float, ...] = ()
    image_std: tuple[float, ...] = ()
    """Per channel, after scaling; empty is no normalisation."""
    columns: dict[str, str] = {}
    """A column's own transform, instead of the one for its kind; `drop` leaves it out."""


class Data(Section, frozen=True):
    target: str | None = None
    columns: dict[str, Column | str] = {}
    """A column's kind (number, category, …) or role (id, ignored), instead of what was inferred."""
    split: Split = Split()
    clean: Clean = Clean()
    transforms: Transforms = Transforms()


class Tensor(Section, frozen=True):
    name: str | None = None
    shape: tuple[int, ...] | None = None


class Model(Section, frozen=True):
    """`options` are the architecture's own keys, written beside `architecture` in YAML and checked by its option type."""

    architecture: str = "default"
    """default: the task's quick one. auto: a search, of a task that has one."""
    input: Tensor = Tensor()
    output: Tensor = Tensor()
    options: dict[str, Any] = {}


class Loss(Section, frozen=True):
    name: Literal["auto", "cross-entropy", "mse", "mae", "huber", "contrastive"] = "auto"
    label_smoothing: Fraction = 0.0
    class_weights: Literal["balanced"] | dict[str, float] | None = None
    delta: Positive = 1.0
    """Of Huber: where squared becomes linear, in units of the (standardised) target."""


class Optimizer(Section, frozen=True):
    name: Literal["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop"] = "adam"
    lr: Positive = 0.001
    momentum: Fraction = 0.9
    """Of momentum, nesterov and rmsprop; sgd has none."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: Positive = 1e-7
    weight_decay: NonNegative = 0.0
    """Decoupled for adamw; refused for the others, where l2 is meant."""
    l1: NonNegative = 0.0
    l2: NonNegative = 0.0
    """Penalties on weights (never on biases or normalisation), added to the loss: l1 * sum |w|, l2 * sum w²."""


class Schedule(Section, frozen=True):
    """Learning rate over the run. `warmup` is the fraction of all steps in which it rises from 0."""

    name: Literal["constant", "cosine", "linear", "step", "exponential", "plateau"] = "constant"
    warmup: Fraction = 0.0
    floor: Fraction = 0.0
    """The last learning rate, as a fraction of the first."""
    every: Count = 10
    """step: epochs between drops. plateau: epochs without a better validation loss."""
    factor: Positive = 0.5
    """step, plateau: what a drop multiplies by. exponential: what an epoch multiplies by."""


class EarlyStopping(Section, frozen=True):
    patience: Count = 5
    min_delta: NonNegative = 0.0
    """Smallest fall of the validation loss that counts. The best epoch's weights are kept."""


class Distributed(Section, frozen=True):
    """How many processes of this machine train one model together; each takes its share of every batch."""

    processes: Count = 1
    gradients: Literal["auto", "ddp"] = "auto"
    """How they are added up. auto: in memory that the processes share, where that can be; else as with ddp, by torch's
    DistributedDataParallel."""


class Candidates(Section, frozen=True):
    """What a key of the recipe may be in a trial: one of `choices`, or a number from `low` to `high`."""

    choices: tuple[Any, ...] | None = None
    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    """Every factor counts the same, as with learning rates."""
    step: int | float | None = None
    """Only low, low + step, …"""
    points: Annotated[int, msgspec.Meta(ge=2, le=1000)] | None = None
    """Of a grid: so many numbers of the range."""


class Search(Section, frozen=True):
    """Trials of this recipe with other values for some of its keys; the best one becomes the version."""

    trials: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 20
    """At the most; a grid has no more than its points."""
    sampler: Literal["tpe", "random", "grid", "cma-es"] = "tpe"
    pruner: Literal["median", "hyperband", "none"] = "median"
    """Which trials end early."""
    metric: str | None = None
    """On the validation part; None is the task's own."""
    parallel: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    """Trials at a time, as far as there are processor cores."""
    timeout: Positive | None = None
    """Seconds of searching, after which no trial begins."""
    seed: Seed = 0
    """Of what is tried."""
    space: dict[str, Candidates] = {}
    """Dotted key of the recipe → what it may be."""


class Recipe(Section, frozen=True):
    task: str
    data: Data = Data()
    model: Model = Model()
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    gradient_clip: Positive | None = None
    """Largest norm of all gradients together."""
    early_stopping: EarlyStopping | None = None
    epochs: Count = 10
    steps: Count | None = None
    """Of a language model: so many, however often that passes over the data, instead of `epochs`."""
    batch_size: Count = 32
    accumulate: Count = 1
    """Of a language model: a batch is taken in so many pieces, one after the other, where memory is short."""
    seed: Seed = 0
    threads: Count | None = None
    """Of each training process; None is what the server's setting says. It is part of what a digest depends on."""
    distributed: Distributed = Distributed()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of a language model's products while it trains; its weights are float32. auto: bfloat16 where that is faster."""
    search: Search | None = None
    """Of `modeltap tune`; a version's recipe has none."""
