"""A recipe that cannot be meant stops with one line that names what is wrong."""

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.paths import ROOT

from tfm.trainer.commands.train import train
from tfm.trainer.config import (
    PRESETS,
    Recipe,
    TransformerConfig,
    load_checked,
    load_model_config,
    load_recipe,
)
from tfm.trainer.data.recipe import DataRecipe
from tfm.trainer.errors import TrainError
from tfm.trainer.studies.study import load_study

RECIPE = """
[model]
preset = "tiny"
d_ff = 96

[vocabulary]
size = 300

[data]
max_length = 40

[[data.train]]
path = "train.tsv"
weight = 2
[data.train.corpora]
news = 0.5

[[data.train]]
source = "a.zh"
target = "a.en"

[data.validation]
path = "valid.tsv"

[training]
adam_betas = [0.9, 0.99]
learning_rate = 1
"""

# what to replace, by what, and what the message must name
MISTAKES = {
    "unknown key": ("d_ff = 96", "d_fff = 96", r"model: unknown key 'd_fff'; known keys: .*d_ff"),
    "unknown table": ("[training]", "[trainings]", "unknown key 'trainings'"),
    "unknown key of a corpus": ("weight", "wieght", r"data\.train\[0\]: unknown key 'wieght'"),
    "missing validation": (
        '[data.validation]\npath = "valid.tsv"',
        "",
        "data: missing key 'validation'",
    ),
    "string for int": ("d_ff = 96", 'd_ff = "96"', "model.d_ff = '96': expected an integer"),
    "float for int": ("size = 300", "size = 300.0", "vocabulary.size = 300.0: expected an integer"),
    "bool for int": ("size = 300", "size = true", "size = True: expected an integer"),
    "int for bool": ("size = 300", "joint = 1", "joint = 1: expected true or false"),
    "string for float": ("= 1\n", "= '1e-3'\n", "learning_rate = '1e-3': expected a number"),
    "string for a weight": ("news = 0.5", "news = 'a'", "corpora.news = 'a': expected a number"),
    "number for path": ('"valid.tsv"', "7", "validation.path = 7: expected a string"),
    "value for table": (
        '[model]\npreset = "tiny"\nd_ff = 96',
        "model = 3",
        "model: expected a table, got 3",
    ),
    "too many betas": ("[0.9, 0.99]", "[0.9, 0.99, 1]", "adam_betas = .*: expected 2 values"),
    "wrong beta": ("[0.9, 0.99]", "[0.9, '0']", r"adam_betas\[1\] = '0': expected a number"),
    "wrong choice": ('"tiny"', '"huge"', "preset = 'huge': choose one of 'tiny', 'edge', 'base'"),
    "wrong norm": ('preset = "tiny"', 'norm = "mid"', "norm = 'mid': choose one of"),
    "negative weight": ("weight = 2", "weight = -2", "weight = -2.0: choose 0 to 1000"),
    "negative corpus weight": (
        "news = 0.5",
        "news = -0.5",
        "news = -0.5: choose 0 to 1000",
    ),
    "no corpus path": ('path = "train.tsv"', "", "needs either path .* or source and target"),
    "half a corpus": ('target = "a.en"', "", "needs either path .* or source and target"),
    "two corpora in one": (
        'path = "train.tsv"',
        'path = "train.tsv"\nsource = "a"\ntarget = "b"',
        "needs either path",
    ),
    "no epoch": (
        "weight = 2",
        "weight = 2\nfrom_epoch = 2\nuntil_epoch = 2",
        "from_epoch 2, until_epoch 2: choose until_epoch above from_epoch",
    ),
    "negative epoch": (
        "weight = 2",
        "weight = 2\nfrom_epoch = -1",
        "from_epoch = -1: choose 0 to",
    ),
    "reversed files": (
        'source = "a.zh"',
        'reverse = true\nsource = "a.zh"',
        "reverse is for a .tsv: exchange source 'a.zh' and target 'a.en' instead",
    ),
    "small batches": ("adam_betas", "max_tokens = 30\nadam_betas", "max_tokens 30 is below"),
    "tied without joint": (
        'preset = "tiny"',
        'tied_embeddings = "all"',
        "'all' needs a joint vocabulary: set joint = true",
    ),
    "dropout of 1": ('preset = "tiny"', "dropout = 1", "dropout = 1.0: choose 0 to 0.9"),
    "smoothing of 1": ("adam_betas", "label_smoothing = 1\nadam_betas", "label_smoothing = 1.0"),
    "no steps": ("adam_betas", "max_steps = 0\nadam_betas", "max_steps = 0: choose 1 to"),
    "no warm-up": ("adam_betas", "warmup_steps = 0\nadam_betas", "warmup_steps = 0"),
    "no heads": ("d_ff = 96", "num_heads = 0", "num_heads = 0: choose 1 to"),
    "no layers": ("d_ff = 96", "decoder_layers = 0", "decoder_layers = 0: choose 1 to"),
    "negative d_ff": ("d_ff = 96", "d_ff = -1", "d_ff = -1: choose 1 to"),
    "weight is no number": ("weight = 2", "weight = nan", "weight = nan: choose 0 to 1000"),
    "rate is no number": ("learning_rate = 1", "learning_rate = nan", "a number above 0"),
    "negative clip": ("adam_betas", "clip_norm = -1\nadam_betas", "clip_norm = -1.0"),
    "negative cooldown": ("adam_betas", "cooldown_steps = -5\nadam_betas", "cooldown_steps = -5"),
    "negative seed": ("adam_betas", "seed = -1\nadam_betas", "seed = -1: choose 0 to"),
    "betas of 1": ("[0.9, 0.99]", "[1.0, 2.0]", r"adam_betas\[0\] = 1.0: choose 0 to below 1"),
    "no patience": ("adam_betas", "stop_after_no_gain = 0\nadam_betas", "stop_after_no_gain = 0"),
    "path and a side": ('path = "train.tsv"', 'path = "t.tsv"\nsource = "a"', "needs either path"),
    "no room for BOS and EOS": ("adam_betas", "max_tokens = 41\nadam_betas", "max_tokens 41"),
    "no logging": ("adam_betas", "log_steps = 0\nadam_betas", "log_steps = 0"),
    "not TOML": ("[model]", "[model", "not TOML: .*line 2"),
    "key twice": ("d_ff = 96", "d_ff = 96\nd_ff = 97", "not TOML"),
}


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_good_recipe_is_read(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, RECIPE))
    assert recipe.data.train[0].weight == 2.0
    assert recipe.data.train[0].corpora == {"news": 0.5}
    assert recipe.data.train[1].target == str(tmp_path / "a.en")
    assert recipe.data.validation.path == str(tmp_path / "valid.tsv")
    assert recipe.training.adam_betas == (0.9, 0.99)
    assert recipe.training.learning_rate == 1.0 and type(recipe.training.learning_rate) is float
    assert recipe.training.label_smoothing == 0.1


def test_corpora_are_found_beside_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path)
    text = RECIPE.replace("a.zh", "../a.zh").replace("a.en", "/b.en")
    recipe = load_recipe(write(Path("recipes"), text))
    assert recipe.data.train[1].files() == [Path("recipes/../a.zh"), Path("/b.en")]
    assert recipe.data.validation.files() == [Path("recipes/valid.tsv")]
    assert recipe.text == text


def test_a_choice_may_be_left_open(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, RECIPE)).training.validation_tokenizer is None
    recipe = load_recipe(write(tmp_path, f'{RECIPE}validation_tokenizer = "none"\n'))
    assert recipe.training.validation_tokenizer == "none"


def test_the_recipes_that_come_with_tfm_are_good() -> None:
    recipes = sorted((ROOT / "trainer" / "recipes").glob("*.toml"))
    assert len(recipes) >= 5
    for path in recipes:
        if path.name in ("claims.toml", "ssru.toml"):
            load_study(path)
        else:
            load_recipe(path)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_in_one_line(tmp_path: Path, mistake: str) -> None:
    old, new, message = MISTAKES[mistake]
    assert RECIPE.count(old) >= 1
    path = write(tmp_path, RECIPE.replace(old, new, 1))
    with pytest.raises(TrainError, match=message) as caught:
        load_recipe(path)
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)


def test_empty_list_of_corpora(tmp_path: Path) -> None:
    path = write(tmp_path, "[data]\ntrain = []\nvalidation = { path = 'a.tsv' }\n")
    with pytest.raises(TrainError, match=r"data\.train is empty"):
        load_recipe(path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe[model]"])
def test_unreadable_recipe(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "recipe.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainError, match=r"recipe\.toml: cannot be read"):
        load_recipe(path)


@pytest.mark.parametrize("mistake", ["unknown key", "wrong choice", "not TOML", "small batches"])
def test_command_stops_with_one_line(tmp_path: Path, mistake: str) -> None:
    old, new, message = MISTAKES[mistake]
    path = write(tmp_path, RECIPE.replace(old, new, 1))
    result = CliRunner().invoke(train, [str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("Error: ")
    with pytest.raises(TrainError, match=message):
        raise TrainError(result.stderr)
    assert not (tmp_path / "out").exists()


def test_command_names_a_missing_corpus(tmp_path: Path) -> None:
    path = write(tmp_path, RECIPE)
    result = CliRunner().invoke(train, [str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert f"{tmp_path / 'train.tsv'}: corpus not found" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_command_refuses_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(train, [str(tmp_path / "none.toml"), "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "does not exist" in result.stderr


@pytest.mark.parametrize("name", ["zh-en", "en-zh"])
def test_the_recipes_of_the_models_are_read(name: str) -> None:
    recipe = load_recipe(ROOT / "trainer" / "recipes" / "zh-en" / f"{name}.toml")
    assert f"{recipe.data.source_language}-{recipe.data.target_language}" == name
    corpora = (*recipe.data.train, recipe.data.validation)
    assert {corpus.reverse for corpus in corpora} == {name == "en-zh"}


def test_a_joint_vocabulary_is_not_folded(tmp_path: Path) -> None:
    text = RECIPE.replace("[vocabulary]", "[vocabulary]\njoint = true\nfold_traditional = true")
    with pytest.raises(TrainError, match="set joint = false"):
        load_recipe(write(tmp_path, text))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_overridden_key_by_key(tmp_path: Path, preset: str) -> None:
    text = RECIPE.replace('"tiny"', f'"{preset}"')
    recipe = load_recipe(write(tmp_path, text))
    config = recipe.model.build(recipe.data, 300, 290, pad_id=5)
    assert dataclasses.asdict(config) == {
        **dataclasses.asdict(TransformerConfig(source_vocab_size=300, target_vocab_size=290)),
        **PRESETS[preset],
        "d_ff": 96,
        "pad_id": 5,
    }


def test_every_default_of_a_recipe_is_accepted_from_toml() -> None:
    defaults = Recipe(
        data=load_checked(DataRecipe, {"train": [{"path": "a"}], "validation": {"path": "b"}}, "x")
    )
    tree = dataclasses.asdict(defaults)
    del tree["text"]  # no key of the file
    tree["data"]["train"] = list(tree["data"]["train"])
    for corpus in (*tree["data"]["train"], tree["data"]["validation"]):
        corpus["names"] = list(corpus["names"])
    tree["model"]["ablations"] = list(tree["model"]["ablations"])
    tree["training"]["adam_betas"] = list(tree["training"]["adam_betas"])
    assert load_checked(Recipe, tree, "x") == defaults


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "not found; is this a checkpoint"),
        ("{", "cannot be read as JSON"),
        ("[]", "expected a table"),
        ('{"source_vocab_size": 9}', "missing key 'target_vocab_size'"),
        (
            '{"source_vocab_size": 9, "target_vocab_size": 9, "heads": 4}',
            "unknown key 'heads'",
        ),
    ],
)
def test_bad_model_config(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(TrainError, match=message):
        load_model_config(path)


def test_keys_of_older_checkpoints_are_read(tmp_path: Path) -> None:
    config = TransformerConfig(
        source_vocab_size=9,
        target_vocab_size=9,
        language_token="source",
        language_ids={"target": 7},
        num_extra_pieces=2,
        suppress_ids=(0, 4),
    )
    new = json.dumps(dataclasses.asdict(config))
    old = new
    for before, after in (
        ("tagged", "language_token"),
        ("language_tags", "language_ids"),
        ("unknown_pieces", "num_extra_pieces"),
        ("forbidden_ids", "suppress_ids"),
    ):
        assert f'"{after}"' in old
        old = old.replace(f'"{after}"', f'"{before}"')
    for text in (old, new):
        (tmp_path / "config.json").write_text(text, "utf-8")
        assert load_model_config(tmp_path / "config.json") == config


@pytest.mark.parametrize("name", ["zh-en", "en-zh"])
def test_the_configurations_of_the_models_are_read(name: str) -> None:
    config = load_model_config(ROOT / "models" / name / "checkpoint.json")
    assert f"{config.source_language}-{config.target_language}" == name
