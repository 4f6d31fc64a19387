"""A study: checked before it trains, stopped and resumed exactly, and what it says of the runs."""

import dataclasses
import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from helpers import capitals
from helpers.capitals import write_corpus
from helpers.paths import ROOT
from matplotlib.axes import Axes
from safetensors.torch import load_file

from tfm.runtime.commands.cli import cli
from tfm.trainer import checkpoint as files
from tfm.trainer import validation
from tfm.trainer.config import load_recipe
from tfm.trainer.errors import TrainError
from tfm.trainer.studies import results as study_results
from tfm.trainer.studies import study as experiments
from tfm.trainer.studies.parallel_trainings import Job, train_side_by_side
from tfm.trainer.studies.results import as_table, draw_study
from tfm.trainer.studies.study import load_study, run_study, to_toml
from tfm.trainer.train import Trainer, train

RECIPES = ROOT / "trainer" / "recipes"

BASE = capitals.RECIPE
for old, new in {
    'path = "': 'path = "text/',
    "max_steps = 14": "max_steps = 6",
    "log_steps = 1": "log_steps = 2",
    "validate_steps = 5": "validate_steps = 3",
    "average_checkpoints = 2": "average_checkpoints = 1",
}.items():
    assert old in BASE
    BASE = BASE.replace(old, new)

STUDY = """
base = "recipes/base.toml"

[[variant]]
name = "baseline"
claim = "the paper's"

[[variant]]
name = "hot"
group = "rates"
claim = "a rate | far too high"
training.learning_rate = 1e30

[[variant]]
name = "batch-norm"
group = "normalization"
claim = "batch normalization"
model.ablations = ["batch_norm"]
training.warmup = "none"
"""


pytestmark = pytest.mark.usefixtures("one_thread")


def write_study(folder: Path, study: str = STUDY, base: str = BASE) -> Path:
    """A study, its base recipe in a folder of its own, and the corpora elsewhere."""
    (folder / "recipes" / "text").mkdir(parents=True, exist_ok=True)
    write_corpus(folder / "recipes" / "text")
    (folder / "recipes" / "base.toml").write_text(base, "utf-8")
    path = folder / "study.toml"
    path.write_text(study, "utf-8")
    return path


def command(study: Path, out: Path) -> Result:
    return CliRunner().invoke(cli, ["experiments", str(study), "--out", str(out), "--threads", "1"])


@pytest.fixture(scope="module")
def study_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def unbroken(study_path: Path) -> tuple[Path, Result]:
    """A study that nothing stopped, and what the command said."""
    torch.set_num_threads(1)
    folder = study_path.parent / "unbroken"
    return folder, command(study_path, folder)


def without_clock(folder: Path) -> list[dict[str, Any]]:
    tree = json.loads((folder / study_results.JSON).read_text("utf-8"))
    return [{k: v for k, v in result.items() if k != "tokens_per_second"} for result in tree]


def test_results_are_those_of_the_metrics(unbroken: tuple[Path, Result]) -> None:
    folder, said = unbroken
    assert said.exit_code == 0, said.output
    table = (folder / study_results.TABLE).read_text("utf-8")
    assert said.stdout == table
    baseline, hot, batch_norm = without_clock(folder)
    for result in (baseline, batch_norm):
        text = (folder / result["name"] / files.METRICS).read_text("utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
        found = [line for line in lines if "validation_loss" in line]
        assert result["steps"] == [3, 6] and result["diverged"] is None
        assert result["losses"] == [line["validation_loss"] for line in found]
        last = found[-1]
        assert (result["loss"], result["bleu"]) == (last["validation_loss"], last["bleu"])
        weights = load_file(folder / result["name"] / files.MODEL)
        numbers = sum(t.numel() for name, t in weights.items() if "running" not in name)
        assert result["parameters"] == numbers
    assert hot["diverged"] == 2 and hot["loss"] is None and hot["losses"] == []
    assert batch_norm["changes"] == ['model.ablations = ["batch_norm"]', 'training.warmup = "none"']

    rows = [[cell.strip() for cell in line[1:-1].split(" | ")] for line in table.splitlines()[:5]]
    assert rows[0][4:6] == ["validation loss", "difference"]
    assert rows[2][:3] == ["", "baseline", "the paper's"] and rows[2][5] == "–"
    assert rows[3][:5] == ["rates", "hot", "a rate \\| far too high", rows[2][3], rows[3][4]]
    assert rows[3][4:7] == ["diverged at step 2", "–", "–"]
    assert rows[4][4] == f"{batch_norm['loss']:.3f}"
    assert rows[4][5] == f"{batch_norm['loss'] - baseline['loss']:+.3f}"
    assert '- batch-norm: `model.ablations = ["batch_norm"]`, `training.warmup = "none"`' in table
    assert (folder / study_results.PICTURE).read_bytes().startswith(b"\x89PNG")


def test_a_recipe_is_what_was_trained(
    unbroken: tuple[Path, Result], study_path: Path, tmp_path: Path
) -> None:
    """`tfm train` of it makes the same checkpoint."""
    folder = unbroken[0]
    written = folder / "batch-norm.toml"
    assert (folder / "batch-norm" / files.RECIPE).read_bytes() == written.read_bytes()
    recipe, base = load_recipe(written), load_recipe(study_path.parent / "recipes" / "base.toml")
    assert recipe.model == dataclasses.replace(base.model, ablations=("batch_norm",))
    assert recipe.training == dataclasses.replace(base.training, warmup="none")
    train(recipe, tmp_path, resume=False)
    ours = load_file(tmp_path / files.MODEL)
    theirs = load_file(folder / "batch-norm" / files.MODEL)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() | theirs.keys())


def test_variants_share_the_vocabulary(unbroken: tuple[Path, Result]) -> None:
    for name in ("source.spm", "target.spm"):
        assert len({path.read_bytes() for path in unbroken[0].glob(f"*/{name}")}) == 1
        assert len(list(unbroken[0].glob(f"*/{name}"))) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_and_resumed_is_unbroken(
    number: signal.Signals,
    study_path: Path,
    unbroken: tuple[Path, Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the last variant, after the one that diverged."""
    whole = Trainer._step

    def stopped(self: Trainer, *arguments: Any) -> Any:
        if self.folder.path.name == "batch-norm" and self.state.step == 4:
            signal.raise_signal(number)
        return whole(self, *arguments)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stopped)
        result = command(study_path, out)
    assert result.exit_code == 128 + number
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == (
        f"stopped, all is saved; continue with: tfm experiments {study_path} --out {out} "
        "--threads 1"
    )
    assert [row["name"] for row in without_clock(out)] == ["baseline", "hot"]

    result = command(study_path, out)
    assert result.exit_code == 0
    assert without_clock(out) == without_clock(unbroken[0])
    ours, theirs = (load_file(f / "batch-norm" / files.LAST) for f in (out, unbroken[0]))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() | theirs.keys())


def test_stopped_in_the_last_validation_is_not_done(
    study_path: Path, unbroken: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = validation.translate, itertools.count(1)

    def failing(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 2:
            raise RuntimeError("stop")
        return whole(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(validation, "translate", failing)
        command(study_path, tmp_path)
    assert files.CheckpointFolder(tmp_path / "baseline").read_state().step == 6
    assert command(study_path, tmp_path).exit_code == 0
    assert without_clock(tmp_path) == without_clock(unbroken[0])


def test_a_variant_that_ended_early_is_done(
    study_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([2.0, 2.0, 3.0, 3.0, 3.0, 3.0])
    base = BASE.replace("validate_steps = 3", "validate_steps = 1\nstop_after_no_gain = 2")
    path = write_study(tmp_path, STUDY[: STUDY.index('[[variant]]\nname = "hot"')], base)
    with monkeypatch.context() as patch:
        patch.setattr(validation, "validation_loss", lambda *_: next(losses))
        assert command(path, tmp_path / "out").exit_code == 0
    assert files.CheckpointFolder(tmp_path / "out" / "baseline").read_state().step == 3
    monkeypatch.setattr(experiments, "train", None)
    assert command(path, tmp_path / "out").exit_code == 0


def test_side_by_side_is_one_after_the_other(
    study_path: Path, unbroken: tuple[Path, Result], tmp_path: Path
) -> None:
    """Three variants by two processes, one of them diverging."""
    arguments = [str(study_path), "--out", str(tmp_path), "--jobs", "2", "--threads", "1"]
    result = CliRunner().invoke(cli, ["experiments", *arguments])
    assert result.exit_code == 0, result.stderr
    assert without_clock(tmp_path) == without_clock(unbroken[0])
    assert "hot: the loss is " in (tmp_path / "hot.log").read_text("utf-8")
    for name in ("baseline", "batch-norm"):
        ours, theirs = (load_file(f / name / files.LAST) for f in (tmp_path, unbroken[0]))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours.keys() | theirs.keys())


def test_side_by_side_is_stopped_saved_and_resumed(
    study_path: Path, unbroken: tuple[Path, Result], tmp_path: Path
) -> None:
    """By a SIGTERM to the first process alone, while its two children train."""
    base = study_path.parent / "recipes" / "base.toml"
    endless = tmp_path / "study" / "recipes"
    shutil.copytree(base.parent, endless)
    text, steps = base.read_text("utf-8"), "max_steps = 6"
    assert steps in text
    (endless / "base.toml").write_text(text.replace(steps, "max_steps = 1000000"), "utf-8")
    study, out = shutil.copy(study_path, endless.parent), tmp_path / "out"
    code = "from tfm.trainer.commands.experiments import experiments; experiments()"
    command = [sys.executable, "-c", code, str(study), "--out", str(out), "--jobs", "2"]
    checkpoints = [out / name for name in ("baseline", "batch-norm")]  # "hot" has ended by then
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 120
            while not all((folder / files.LAST).exists() for folder in checkpoints):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 143
    assert stderr.splitlines()[-1].startswith("stopped, all is saved; continue with: tfm exp")
    for folder in checkpoints:
        lines = (folder / files.METRICS).read_text("utf-8").splitlines()
        saved = files.CheckpointFolder(folder).read_state().step
        assert 0 <= saved - json.loads(lines[-1])["step"] < 2  # log_steps


def test_a_failure_side_by_side_is_said(study_path: Path, tmp_path: Path) -> None:
    study = shutil.copytree(study_path.parent, tmp_path / "study", ignore=lambda *_: ["unbroken"])
    for corpus in (study / "recipes" / "text").iterdir():
        corpus.unlink()
    arguments = [str(study / "study.toml"), "--out", str(tmp_path / "out"), "--jobs", "2"]
    result = CliRunner().invoke(cli, ["experiments", *arguments])
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert "corpus not found" in last and last.endswith(".log")
    assert "Traceback" not in result.stderr


def test_an_error_of_an_earlier_run_is_not_said_again(tmp_path: Path) -> None:
    job = Job("one", tmp_path / "one.toml", tmp_path / "one", tmp_path / "one.log")
    job.log.write_text("Error: of the first run\n", "utf-8")
    with pytest.raises(TrainError, match=r"^one: its process ended with status 1; see .*one\.log$"):
        list(train_side_by_side(crash, [job], 2, 1))


def crash(*_: Path) -> None:
    raise OSError("no space left")


def test_ctrl_c_between_two_trainings(
    study_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "train", interrupted)
    result = command(study_path, tmp_path)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1].startswith("stopped; continue with: tfm experiments ")


def test_a_finished_study_trains_nothing(
    study_path: Path, unbroken: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("it trains")

    folder, said = unbroken
    monkeypatch.setattr(experiments, "train", fail)
    (folder / study_results.PICTURE).unlink()
    assert command(study_path, folder).stdout == said.stdout
    assert (folder / study_results.PICTURE).exists()


def test_an_unfinished_variant_is_not_compared(
    study_path: Path, unbroken: tuple[Path, Result]
) -> None:
    baseline, _, last = experiments.results_of(load_study(study_path), unbroken[0])
    half = dataclasses.replace(last, steps=(3,), losses=(2.5,), loss=2.5, average_loss=2.5)
    none = dataclasses.replace(half, steps=(), losses=(), loss=None, average_loss=None)
    table = as_table([baseline, half, none]).splitlines()[3:5]
    assert [row.split(" | ")[4].strip() for row in table] == ["2.500 (step 3)", "–"]
    assert [row.split(" | ")[5].strip() for row in table] == ["–", "–"]
    averaged = dataclasses.replace(last, average_loss=2.125)
    assert "averaged weights" in as_table([baseline, averaged])
    assert "2.125" in as_table([baseline, averaged])
    assert as_table([]) == "No variant has begun.\n"


def test_another_recipe_is_refused(
    study_path: Path, unbroken: tuple[Path, Result], tmp_path: Path
) -> None:
    changed = write_study(tmp_path, STUDY.replace('warmup = "none"', "weight_decay = 0.1"))
    run = command(changed, unbroken[0])
    assert run.exit_code == 1 and len(run.stderr.splitlines()) == 1
    assert "was trained with another" in run.stderr
    study = load_study(study_path)
    other = dataclasses.replace(
        study.variants[2],
        recipe={**study.variants[2].recipe, "training": {**load_base(), "seed": 5}},
    )
    study = dataclasses.replace(study, variants=(*study.variants[:2], other))
    message = r"batch-norm was trained with another training\.seed: move it away"
    with pytest.raises(TrainError, match=message):
        run_study(study, unbroken[0])


def load_base() -> dict[str, Any]:
    training: dict[str, Any] = tomllib.loads(BASE)["training"]
    return {**training, "warmup": "none"}


MISTAKES = {
    "unknown key": ("training.warmup =", "training.warm =", "'batch-norm': training: unknown key"),
    "unknown table": ("model.abl", "data.max_length = 9\nmodel.abl", "unknown key 'data'"),
    "wrong type": ("= 1e30", "= 'hot'", r"variant 'hot': training.learning_rate = 'hot': expect"),
    "wrong value": ("= 1e30", "= -1", r"variant 'hot': training.learning_rate = -1.0: choose a nu"),
    "wrong ablation": ('"batch_norm"', '"bn"', r"ablations\[0\] = 'bn': choose one of 'batch_no"),
    "ablation twice": ('["b', '["batch_norm", "b', "ablation 'batch_norm': choose, each at most"),
    "no table": ("training.learning_rate = 1e30", "training = 3", "training: expected a table"),
    "no claim": ('claim = "the paper\'s"', "", r"variant\[0\]: missing key 'claim'"),
    "twice a name": ('"batch-norm"', '"Hot"', "two variants are named 'Hot'"),
    "name of a path": ('"batch-norm"', '"../hot"', "variant name '../hot': use letters, digits"),
    "no base": ("base.toml", "bare.toml", r"bare\.toml: cannot be read"),
    "no TOML": ("[[variant]]", "[[variant]", "not TOML"),
    "variant is a value": (STUDY, 'base = "recipes/base.toml"\nvariant = 3', "variant = 3: exp"),
    "variants are values": (STUDY, 'base = "recipes/base.toml"\nvariant = [3]', "expected a tab"),
    "no variant": (STUDY, 'base = "recipes/base.toml"\nvariant = []', r"no \[\[variant\]\]"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_before_anything_trains(mistake: str, tmp_path: Path) -> None:
    old, new, message = MISTAKES[mistake]
    assert old in STUDY
    path = write_study(tmp_path, STUDY.replace(old, new, 1))
    result = command(path, tmp_path / "out")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    with pytest.raises(TrainError, match=message):
        raise TrainError(result.stderr)
    assert not (tmp_path / "out").exists()


def test_toml_is_written_as_it_is_read() -> None:
    text = """
flag = true
[model]
name = "quoted \\"so\\" \\\\ and über \\u007f"
rate = 1E-9
big = 1e30
list = [0.9, 0.98]
[[data.train]]
path = "a\\tb"
corpora = { "web text" = 0.5, news = 2 }
[data.validation]
source = 'x'
"""
    tree = tomllib.loads(text)
    assert tomllib.loads(to_toml(tree)) == tree


def test_every_curve_is_drawn_beside_the_first(
    study_path: Path,
    unbroken: tuple[Path, Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: dict[str, list[str]] = {}
    title = Axes.set_title
    results = experiments.results_of(load_study(study_path), unbroken[0])

    def noted(self: Axes, text: str, **options: Any) -> Any:
        drawn[text] = [str(line.get_label()).split()[0] for line in self.get_lines()]
        for line in self.get_lines():
            name = str(line.get_label()).split()[0]
            expected = next(result.losses for result in results if result.name == name)
            assert list(line.get_ydata()) == list(expected)
        return title(self, text, **options)

    monkeypatch.setattr(Axes, "set_title", noted)
    draw_study(results, tmp_path / "study.png")
    assert drawn == {"rates": ["baseline", "hot"], "normalization": ["baseline", "batch-norm"]}


def test_a_large_group_is_drawn_whole(
    study_path: Path,
    unbroken: tuple[Path, Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, *_, last = experiments.results_of(load_study(study_path), unbroken[0])
    others = [dataclasses.replace(last, name=f"other-{i}") for i in range(9)]
    counts: list[int] = []
    title = Axes.set_title

    def counted(self: Axes, text: str, **options: Any) -> Any:
        counts.append(len(self.get_lines()))
        return title(self, text, **options)

    monkeypatch.setattr(Axes, "set_title", counted)
    draw_study([first, *others], tmp_path / "study.png")
    assert counts == [10]


def test_written_recipes_find_their_corpora(tmp_path: Path) -> None:
    """By way of a link to a folder elsewhere; a claim of two lines stays a comment."""
    claim = 'claim = """the\nmodel = 3"""'
    study = load_study(write_study(tmp_path, STUDY.replace('claim = "the paper\'s"', claim)))
    (tmp_path / "far" / "away").mkdir(parents=True)
    link = tmp_path / "out"
    link.symlink_to(tmp_path / "far" / "away")
    path = experiments.write_recipe(study, study.variants[0], link)
    corpus = load_recipe(path).data.train[0]
    name = corpus.path or corpus.source
    assert name is not None
    assert Path(name).exists()


def test_written_recipes_find_their_lists_of_names(tmp_path: Path) -> None:
    path = 'path = "text/train.tsv"'
    names = 'augmentation = "names"\nnames = ["text/valid.tsv", "text/train.tsv"]'
    assert path in BASE
    study = load_study(write_study(tmp_path, base=BASE.replace(path, f"{path}\n{names}")))
    written = experiments.write_recipe(study, study.variants[0], tmp_path / "deep" / "out")
    found = [Path(name).resolve() for name in load_recipe(written).data.train[0].names]
    text = (tmp_path / "recipes" / "text").resolve()
    assert found == [text / "valid.tsv", text / "train.tsv"]


def test_torchrun_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = command(write_study(tmp_path), tmp_path / "out")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "start it without torchrun" in result.stderr


def test_the_study_of_the_paper_is_read() -> None:
    study = load_study(RECIPES / "claims.toml")
    assert study.variants[0].name == "baseline"
    assert study.variants[0].changes == ()
    assert all(variant.changes and variant.group for variant in study.variants[1:])
    recipes = [json.dumps(variant.recipe) for variant in study.variants]
    assert len(set(recipes)) == len(recipes) == 12
