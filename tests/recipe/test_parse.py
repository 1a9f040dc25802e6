"""A recipe document → a typed recipe: shorthands, defaults, and errors that name the key, the value and what is allowed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeltap.domain.recipe import EarlyStopping, Loss, Optimizer, Recipe
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import BUILT_IN
from modeltap.recipe.document import apply_settings, load_document
from modeltap.recipe.parse import parse_recipe
from modeltap.recipe.render import recipe_digest, recipe_document, render_recipe
from modeltap.tasks.catalogue import task_names

CLASSES = "tabular-classification"


def parse(document: str | dict[str, Any], task: str | None = CLASSES, **more: Any) -> Recipe:
    return parse_recipe(load_document(document) if isinstance(document, str) else document, task=task, **more)


def test_nothing_but_a_task_is_a_whole_recipe():
    for task in task_names():
        recipe = parse({}, task)
        assert recipe.task == task and recipe.model.architecture in BUILT_IN and recipe.loss.name != "auto"
        assert parse(render_recipe(recipe), None) == recipe


def test_shorthands_say_the_same_as_what_they_stand_for():
    short = parse("model: mlp\noptimizer: sgd\nloss: cross-entropy\nschedule: cosine\nearly_stopping: 3\n")
    long = parse(
        "model: {architecture: mlp}\noptimizer: {name: sgd}\nloss: {name: cross-entropy}\nschedule: {name: cosine}\n"
        "early_stopping: {patience: 3}\n"
    )
    assert short == long
    assert short.optimizer == Optimizer(name="sgd") and short.loss == Loss(name="cross-entropy")
    assert parse("early_stopping: yes").early_stopping == EarlyStopping()
    assert parse("model: mlp\nearly_stopping: false").early_stopping is None
    assert parse("data:\nmodel:\nloss:\noptimizer:\nschedule:\n") == parse({})


def test_options_stand_beside_the_architecture():
    recipe = parse("model: {architecture: mlp, hidden: [8, 4], dropout: 1e-1, input: {name: x}, output: {name: y}}")
    assert recipe.model.options.items() >= {"hidden": (8, 4), "dropout": 0.1, "activation": "relu"}.items()
    assert (recipe.model.input.name, recipe.model.output.name) == ("x", "y")


def test_the_architectures_defaults_stand_under_what_the_user_says():
    plain, told = parse("model: mlp"), parse("model: mlp\nepochs: 3\noptimizer: {lr: 0.5}\n")
    assert plain.epochs > 3 and told.epochs == 3 and told.optimizer.lr == 0.5
    assert told.early_stopping == plain.early_stopping


def test_task_and_target_of_the_command_stand_above_the_documents():
    recipe = parse({"task": "tabular-regression", "data": {"target": "a"}}, CLASSES, target="b")
    assert (recipe.task, recipe.data.target) == (CLASSES, "b")


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", "0.001", "+1e-3", ".1e-2"])
def test_every_way_of_writing_a_small_number_is_a_number(text):
    assert parse(f"optimizer: {{lr: {text}}}").optimizer.lr == 0.001
    assert parse(f"model: {{architecture: gradient-boosting, learning_rate: {text}}}").model.options["learning_rate"] == 0.001
    assert parse(apply_settings({}, {"optimizer.lr": text})).optimizer.lr == 0.001


def test_keys_are_texts_whatever_yaml_takes_them_for():
    recipe = parse(
        "data: {columns: {no: id, 1: category, 2024-01-01: ignored, 1e3: number, null: ignored}, target: 2024-01-01}"
    )
    assert recipe.data.columns == {"no": "id", "1": "category", "2024-01-01": "ignored", "1e3": "number", "null": "ignored"}
    assert recipe.data.target == "2024-01-01"
    assert parse("loss: {class_weights: {yes: 2, 0: 1.5}}").loss.class_weights == {"yes": 2.0, "0": 1.5}


def test_settings_are_dotted_keys_over_the_document():
    base = load_document("model: mlp\nloss: cross-entropy\nearly_stopping: 5\n")
    changed = apply_settings(
        base,
        {
            "model.hidden": "[8, 8]",
            "optimizer.name": "sgd",
            "optimizer.lr": "1e-2",
            "loss.label_smoothing": 0.1,
            "early_stopping.min_delta": "0.5",
            "epochs": "3",
            "data.columns.sepal.length": "ignored",
            "data.columns.a.b.kind": "number",
            "data.columns.a.b.decimal": "','",
            "data.target": "ratio: b",
            "data.split.stratify": "false",
        },
    )
    recipe = parse(changed)
    assert recipe.model.architecture == "mlp" and recipe.model.options["hidden"] == (8, 8)
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.epochs) == ("sgd", 0.01, 3)
    assert recipe.loss == Loss(name="cross-entropy", label_smoothing=0.1)
    assert recipe.early_stopping == EarlyStopping(patience=5, min_delta=0.5)
    column: Any = recipe.data.columns["a.b"]
    assert recipe.data.columns["sepal.length"] == "ignored" and (column.kind, column.decimal) == ("number", ",")
    assert recipe.data.target == "ratio: b" and recipe.data.split.stratify is False
    assert base == load_document("model: mlp\nloss: cross-entropy\nearly_stopping: 5\n")


def yaml_bomb() -> str:
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    return "\n".join(lines)


WRONG: dict[str, tuple[str, str]] = {
    "unknown key": ("epoch: 5", "unknown key 'epoch'; did you mean 'epochs'"),
    "unknown key in a section": ("optimizer: {learning_rate: 1}", "unknown key 'optimizer.learning_rate'; known: betas"),
    "unknown key in a deep section": ("data: {split: {trian: 0.8}}", "unknown key 'data.split.trian'; did you mean 'train'"),
    "unknown key of a column": ("data: {columns: {a: {kinds: number}}}", "'data.columns.a.kinds'; did you mean 'kind'"),
    "unknown option": ("model: {architecture: mlp, hiden: [1]}", "model.hiden: unknown key 'hiden'; did you mean 'hidden'"),
    "unknown architecture": ("model: mpl", "no architecture 'mpl'; did you mean 'mlp'"),
    "unknown optimizer": ("optimizer: adamm", "optimizer.name: 'adamm' is not allowed; did you mean 'adam'"),
    "unknown loss": ("loss: crossentropy", "loss.name: 'crossentropy' is not allowed; did you mean 'cross-entropy'"),
    "a loss for another task": ("loss: mse", "loss 'mse' does not fit tabular-classification; allowed: cross-entropy"),
    "unknown kind": ("data: {columns: {a: categry}}", "data.columns.a is 'categry', which is no kind or role; did you mean"),
    "a text for a number": ("epochs: five", "epochs: needs a whole number, given was 'five'"),
    "a fraction for a count": ("epochs: 1.5", "epochs: needs a whole number, given was 1.5"),
    "a truth for a count": ("epochs: true", "epochs: needs a whole number, given was True"),
    "nothing": ("epochs: 0", "epochs: needs a whole number >= 1, given was 0"),
    "too many": ("epochs: 100000000000000000000000000000", "epochs is 100000000000000000000000000000; at most 1,000,000"),
    "too many threads": ("threads: 100000", "threads is 100000; at most 1,024"),
    "not a number": ("optimizer: {lr: .nan}", "optimizer.lr is nan; a finite number is needed"),
    "no end": ("gradient_clip: .inf", "gradient_clip is inf; a finite number is needed"),
    "out of bounds": ("optimizer: {momentum: 1.5}", "optimizer.momentum: needs a number <= 1.0, given was 1.5"),
    "a mapping for a count": ("epochs: {a: 1}", "epochs: needs a whole number, got a mapping of keys"),
    "a list that is short": ("optimizer: {betas: [0.9]}", "optimizer.betas: needs a list of length 2"),
    "a scalar for a list": ("model: {architecture: mlp, hidden: 8}", "model.hidden: needs a list, given was 8"),
    "unknown layer": (
        "model: {architecture: sequential, layers: [dens]}",
        "model.layers[0]: there is no layer 'dens'; did you",
    ),
    "unknown key of a layer": ("model: {architecture: sequential, layers: [dense: {unit: 3}]}", "did you mean 'units'"),
    "unknown activation": (
        "model: {architecture: sequential, layers: [dense: {units: 1, activation: rleu}]}",
        "model.layers[0]: dense.activation: 'rleu' is not allowed; did you mean 'relu'",
    ),
    "no layers": ("model: {architecture: sequential}", "model: the key 'layers' is missing"),
    "parts beyond the whole": ("data: {split: {train: 0.9, val: 0.2}}", "adds up to 1.2"),
    "quantiles that fall": ("data: {clean: {outlier_quantiles: [0.9, 0.1]}}", "[0.9, 0.1] must rise"),
    "a negative weight": ("loss: {class_weights: {a: -1}}", "loss.class_weights.a is -1; a weight is 0 or more"),
    "decay without adamw": ("optimizer: {name: adam, weight_decay: 0.1}", "weight_decay is for adamw"),
    "an extent of nothing": ("model: {architecture: mlp, input: {shape: [0]}}", "model.input.shape is [0]"),
    "a name of nothing": ("model: {architecture: mlp, output: {name: ''}}", "model.output.name is ''"),
    "a name of the graph": ("model: {architecture: mlp, output: {name: modeltap/x}}", "the graph's own"),
    "a list for a recipe": ("[1, 2]", "a recipe is a mapping of keys, given was a list"),
    "no YAML": ("a: b: c", "not YAML: mapping values are not allowed here (line 1, column 5)"),
    "an object to be made": ("a: !!python/object/apply:os.system [id]", "not YAML: could not determine a constructor"),
    "a key twice": ("epochs: 1\nseed: 3\nepochs: 2\n", "the key 'epochs' stands twice, in line 3 again"),
    "a bomb of aliases": (yaml_bomb(), "the recipe is too large"),
    "a mapping in itself": ("&a\nmodel: *a\n", "the recipe is too large"),
    "deep nesting": ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    "a megabyte": ("# " + "x" * 1_000_001, "1,000,003 characters; at most 1,000,000"),
    "half of a pair": ('data: {target: "\\ud800"}', "half of a surrogate pair"),
    "half of a pair in a key": ('data: {columns: {"\\udfff": id}}', "half of a surrogate pair"),
    "a control character": ("epochs: \x00", "not YAML: unacceptable character"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named_with_what_is_allowed(what):
    text, told = WRONG[what]
    with pytest.raises(InvalidRecipe, match=re.escape(told)):
        parse(text)


def test_a_recipe_without_a_task_or_of_an_unknown_one_says_so():
    with pytest.raises(InvalidRecipe, match="names no task; add `task: tabular-classification`, or pass --task"):
        parse({}, None)
    with pytest.raises(InvalidRecipe, match="did you mean 'tabular-classification'"):
        parse({}, "tabular-clasification")


@pytest.mark.parametrize("key", ["", ".", "a.", ".a", "a..b"])
def test_a_setting_without_a_key_is_refused(key):
    with pytest.raises(InvalidRecipe, match="is not a key"):
        apply_settings({}, {key: "1"})


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12) | st.sampled_from(
    ["no", "yes", "null", "1", "1e5", "0x10", "1_000", "2024-01-01", "12:30", "~", "- a", "a: b", "#x", "'", '"', "|", " "]
)
FRACTIONS = st.floats(0, 1)


@given(
    st.dictionaries(TEXTS, st.sampled_from(["number", "category", "id", "ignored"]), max_size=4),
    TEXTS,
    st.one_of(st.none(), st.dictionaries(TEXTS, st.floats(0, 1e6), min_size=1, max_size=3), st.just("balanced")),
    st.floats(1e-12, 1e3),
    st.sampled_from(sorted(name for name, one in BUILT_IN.items() if not one.tasks and name not in ("sequential", "cnn"))),
    st.lists(FRACTIONS, min_size=2, max_size=2, unique=True).map(sorted),
)
def test_a_rendered_recipe_is_read_as_the_same_recipe(columns, target, weights, lr, architecture, quantiles):
    document = {
        "data": {"columns": columns, "target": target, "clean": {"outlier_quantiles": quantiles}},
        "loss": {"class_weights": weights},
        "optimizer": {"lr": lr},
        "model": architecture,
    }
    recipe = parse(document)
    again = parse(render_recipe(recipe), None)
    assert again == recipe and recipe_digest(again) == recipe_digest(recipe)
    assert parse(recipe_document(recipe), None) == recipe


def test_a_rendered_sequential_is_read_as_the_same_recipe():
    layers = [{"embedding": {"dim": 4}}, {"lstm": {"units": 3, "bidirectional": True}}, "flatten", {"dense": {"units": 2}}]
    recipe = parse({"model": {"architecture": "sequential", "layers": layers}})
    assert parse(render_recipe(recipe), None) == recipe
