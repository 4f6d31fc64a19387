"""`tfm bench`: the conversions are exact, the figures are of what they say, errors are clear."""

import contextlib
import ctypes
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from helpers.models import MakeModel
from tfm_bench import contenders, measure, subject
from tfm_bench.errors import BenchError
from tfm_bench.pool import Worker
from tfm_bench.report import as_markdown, relative_speeds
from tfm_bench.results import Results, Row
from tfm_bench.systems import System
from tfm_bench.worker import PR_SET_PDEATHSIG
from tfm_bench.workload import LONGEST, MIXED_SENTENCES, SHORTEST, random_workload, real_workload

from tfm.export.formats.ctranslate2 import write_ctranslate2
from tfm.export.graphs.trace import Graphs
from tfm.runtime.commands.cli import cli
from tfm.trainer import checkpoint
from tfm.trainer.config import PRESETS, TransformerConfig
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer

QUICK = ("--rounds", "1", "--threads", "1", "--length", "6")
SMALL = {"d_model": 32, "d_ff": 64, "num_heads": 4, "encoder_layers": 1, "decoder_layers": 1}


def bench(*arguments: str | int | Path) -> Result:
    result = CliRunner().invoke(cli, ["bench", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def measured(folder: Path, *arguments: str | int | Path) -> dict[str, Any]:
    """results.json, and the report under "text"."""
    result = bench(*arguments, "--output", folder)
    assert result.exit_code == 0, result.output
    results: dict[str, Any] = json.loads((folder / "results.json").read_text("utf-8"))
    return {**results, "text": result.stdout}


@pytest.fixture(scope="module")
def tiny_checkpoint(
    tiny_model: Transformer, tiny_vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    checkpoint.write_config(folder, tiny_model.config)
    checkpoint.write_weights(folder / checkpoint.MODEL, checkpoint.weights_of(tiny_model))
    tiny_vocabulary.save(folder)
    sentences = ["三百零五", "七", "一千二百三十四", "九十"] * 5
    checkpoint.CheckpointFolder(folder).write_validation(sentences, ["?"] * 20)
    return folder


def test_a_preset_beside_ctranslate2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(subject.SHAPES, "tiny", SMALL)
    monkeypatch.setattr(measure, "FRESH_STARTS", 1)
    found = measured(
        tmp_path / "results",
        *("tiny", "--vocab-size", 300, *QUICK, "--batch", "1,3", "--beam", "1,2"),
        *("--against", "ctranslate2", "--length-scaling"),
        *("--parts", "cells,mixed,latency,fresh"),
    )
    ours, theirs = ["tfm int8", "tfm fp32"], ["CTranslate2 int8", "CTranslate2 float32"]
    cells = ["b1 greedy", "b3 greedy", "mixed greedy", "b1 beam 2", "b3 beam 2", "mixed beam 2"]
    assert [row["name"] for row in found["rows"]] == [*ours, *theirs]
    assert found["cells"] == cells
    for row in found["rows"]:
        system = row["label"]
        for speeds in (found["tokens_per_s"][system], found["tokens_per_cpu_s"][system]):
            assert all(speed > 0 for cell in cells for speed in speeds[cell])
        assert {len(times) for times in found["latency_s"][system].values()} == {32}
        assert 20 < found["fresh"][system]["peak_mb"] < 200  # no torch in there
        assert found["seconds_per_token"][system].keys() == {"32", "256"}
        assert found["text"].count(f"\n| {row['name']} |") == 2  # wall and CPU time
        assert f"\n| {system} |" in found["text"]  # memory and so on
    # The same weights in float32 find the same words, wherever they are decoded.
    for system in ("tfm fp32, 1 thread", "CTranslate2 float32, 1 thread"):
        assert found["exact_match"][system] == {"greedy": 1.0, "beam 2": 1.0}
    assert found["references"] == {"greedy": "PyTorch", "beam 2": "CTranslate2 float32"}
    assert found["rows"][0]["megabytes"] < found["rows"][1]["megabytes"]
    assert "| ms per token, b8 beam 2 | at 32 tokens | at 256 tokens | grows by |" in found["text"]
    chart = (tmp_path / "results" / "chart-1-thread.png").read_bytes()
    assert chart.startswith(b"\x89PNG")
    assert (tmp_path / "results" / "report.md").read_text("utf-8") == found["text"]
    assert all(part in found["text"] for part in ("V 300", "ctranslate2 ", "; 1 thread;"))


def test_a_checkpoint_and_its_own_sentences(
    tiny_checkpoint: Path, tiny_graphs: Graphs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "convert", lambda model: tiny_graphs)  # which is tiny_model's
    found = measured(
        tmp_path,
        *(tiny_checkpoint, *QUICK, "--variant", "fp32", "--batch", "2"),
        *("--against", "ctranslate2,torch", "--parts", "cells,mixed"),
    )
    assert found["exact_match"]["tfm fp32, 1 thread"] == {"greedy": 1.0, "beam 4": 1.0}
    assert found["exact_match"]["PyTorch, no cache, 1 thread"] == {"greedy": 1.0}
    assert not found["fresh"]


def test_decoding_options(
    tiny_checkpoint: Path, tiny_graphs: Graphs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "convert", lambda model: tiny_graphs)
    arguments = (tiny_checkpoint, *QUICK, "--variant", "fp32", "--beam", "1,2", "--parts", "mixed")
    plain = measured(tmp_path / "plain", *arguments, "--against", "ctranslate2")
    options = ("--repetition-penalty", 1.5, "--no-repeat-ngram-size", 2, "--min-length", 5)
    results = measured(tmp_path / "options", *arguments, *options, "--patience", 2)
    # Of all engines that are installed, only CTranslate2 has these options.
    assert results["rows"] == plain["rows"]
    assert set(results["references"].values()) == {"CTranslate2 float32"}
    assert results["exact_match"]["tfm fp32, 1 thread"] == {"greedy": 1.0, "beam 2": 1.0}
    named = "patience 2.0, repetition_penalty 1.5, no_repeat_ngram_size 2"
    assert f"; min_length 5, {named}; " in results["text"]
    assert "min_length" not in plain["text"]


def test_a_model_folder_beside_ctranslate2(tiny_folder: Path, tmp_path: Path) -> None:
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("七\n\n九十\t?\n", "utf-8")
    found = measured(
        tmp_path,
        *(tiny_folder, *QUICK, "--parts", "mixed", "--sentences", sentences),
        *("--variant", "fp32", "--against", "ctranslate2"),
    )
    names = ["tfm fp32", "CTranslate2 int8", "CTranslate2 float32"]
    assert [row["name"] for row in found["rows"]] == names
    for name in ("tfm fp32", "CTranslate2 float32"):  # PyTorch is the reference of greedy search
        assert found["exact_match"][f"{name}, 1 thread"] == {"greedy": 1.0, "beam 4": 1.0}


def test_ctranslate2_is_measured_with_one_thread_too(tiny_folder: Path, tmp_path: Path) -> None:
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("七\n", "utf-8")
    tiny = subject.open_subject(
        str(tiny_folder),
        vocab_size=None,
        length=None,
        sentences=sentences,
        count=1,
        folder=tmp_path,
    )
    found = contenders.convert_all(tiny, ["int8"], ["ctranslate2"], tmp_path, [0, 2], decoding={})
    assert [contender.system.label for contender in found] == [
        *("tfm int8, default threads", "tfm int8, 2 threads"),
        *(
            f"CTranslate2 {precision}, {threads}"
            for precision in ("int8", "float32")
            for threads in ("default threads", "1 thread", "2 threads")
        ),
    ]


def test_a_model_folder_alone(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    (folder / "checkpoint.json").unlink()  # as older folders have none
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("七\n", "utf-8")
    options = ("--sentences", sentences, "--variant", "int8", "--beam", "1")
    found = measured(tmp_path, folder, *QUICK, *options, "--parts", "mixed,operators")
    assert [row["name"] for row in found["rows"]] == ["tfm int8"]
    assert not list(tmp_path.glob("chart*"))  # nothing to compare with
    (work,) = found["work"]["tfm int8"].values()
    assert work["floor_s"] > 0
    assert work["products_s"] > 0
    assert f"| MB of weights read per token | {work['weight_bytes'] / 1e6:.3f} |" in found["text"]
    assert f"| operators run per token | {work['operators']:.1f} |" in found["text"]
    speed = found["tokens_per_cpu_s"]["tfm int8, 1 thread"]["mixed greedy"][0]
    assert f"| products, of the CPU time | {work['products_s'] * speed:.0%} |" in found["text"]
    assert "GB/s of 0.0 MB, which are a step's weights" in found["text"]


@pytest.mark.parametrize(("name", "language"), [("zh-en", "zh"), ("en-zh", "en")])
def test_a_bundled_model_has_sentences(name: str, language: str, tmp_path: Path) -> None:
    found = subject.open_subject(
        name, vocab_size=None, length=None, sentences=None, count=64, folder=tmp_path
    )
    assert found.checkpoint is not None
    assert found.model_folder is not None
    sentences = (subject.SENTENCES / f"{language}.txt").read_text("utf-8").splitlines()
    assert len(set(sentences)) == len(found.workload.mixed) == 64
    lengths = [len(ids) for ids in found.workload.mixed]
    assert min(lengths) <= 5
    assert max(lengths) >= 35
    unknown = found.special_ids["unk_id"]
    assert all(unknown not in ids for ids in found.workload.mixed)


def test_what_cannot_be_measured(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def error(*arguments: str | Path) -> str:
        result = bench(*arguments)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        return result.stderr.removeprefix("Error: ").strip()

    (tmp_path / "empty.txt").write_text("\n\n", "utf-8")
    empty = ("--sentences", tmp_path / "empty.txt")
    assert f"neither a preset ({', '.join(subject.SHAPES)}) nor" in error("huge")
    assert "neither a preset" in error("tiny", "huge")  # before anything is measured
    assert error(tiny_folder, f"{tiny_folder}/../{tiny_folder.name}") == (
        f"two models are named {tiny_folder.name}: measure them one by one"
    )
    monkeypatch.setattr(subject, "SENTENCES", tmp_path)
    assert "is a model folder: name sentences with --sentences" in error(tiny_folder)
    assert "holds no sentence to translate" in error(tiny_folder, *empty)
    assert "has random weights" in error("tiny", *empty)
    assert "--vocab-size is for presets" in error(tiny_folder, "--vocab-size", "500")
    (tmp_path / "one.txt").write_text("七\n", "utf-8")
    one = ("--sentences", tmp_path / "one.txt")
    old = tmp_path / "old"
    shutil.copytree(tiny_folder, old)
    (old / "checkpoint.json").unlink()
    assert "has no weights that others could load" in error(old, *one, "--against", "torch")
    assert "--variant int3" in error(tiny_folder, *one, "--variant", "int3")
    assert "--length-scaling needs a preset" in error(tiny_folder, *one, "--length-scaling")
    small = ("tiny", "--vocab-size", "300")
    assert error(
        *small, "--against", "ctranslate2", "--suppress-ids", "5,6", "--patience", "2"
    ) == ("ctranslate2 is not measured with --suppress-ids")
    assert error(*small, "--against", "torch", "--min-length", "2", "--length-penalty", "0.5") == (
        "torch is not measured with --length-penalty, --min-length"
    )
    assert error(*small, "--length", "5", "--min-length", "6") == (
        "--min-length 6 is more than --length 5: lower it"
    )
    monkeypatch.setattr(contenders, "_is_installed", lambda name: name != "ctranslate2")
    assert error("tiny", "--vocab-size", "300", "--against", "ctranslate2") == (
        "ctranslate2 needs ctranslate2, which is not installed:"
        " pip install '.[cpu]' './tests/bench[peers]' -c constraints.txt"
    )


def test_wrong_options() -> None:
    for arguments, reason in (
        (["--against", "marian"], "'marian' is not one of"),
        (["--batch", "1,zero"], "'zero' is not a valid integer"),
        (["--threads", "1,-1"], "-1 is not in the range"),
        (["--busy", "-1"], "-1 is not in the range"),
        (["--beam", "0"], "0 is not in the range"),
        (["--parts", "all"], "'all' is not one of"),
        (["--repetition-penalty", "0"], "0.0 is not in the range"),
        (["--beam-size", "2"], "No such option"),
    ):
        result = bench("tiny", *arguments)
        assert result.exit_code == 2
        assert reason in result.stderr


def test_a_worker_that_dies(tmp_path: Path) -> None:
    system = System("tfm int8", "tfm", str(tmp_path), "int8", 1)
    with pytest.raises(BenchError) as error:
        Worker(system, tmp_path / "log")
    message = str(error.value)
    assert message.startswith("tfm int8, 1 thread: its worker ended with status 1: ")
    assert f"{tmp_path} has no config.json" in message
    assert "\n" not in message


def running_bench(folder: Path, tmp_path: Path) -> "subprocess.Popen[bytes]":
    """A `tfm bench` that would run for hours, in a session of its own, with both workers up."""
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "checkpoint.json").unlink()  # no peers, which take long to convert for
    (tmp_path / "one.txt").write_text("七\n", "utf-8")
    options = ["--sentences", str(tmp_path / "one.txt"), "--rounds", "100000"]
    options += ["--threads", "1,2", "--variant", "int8", "--busy", "1"]

    def prepare() -> None:
        # A test run in the background of a shell ignores SIGINT, and its children inherit that.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if sys.platform == "linux":  # killed tests leave nothing behind
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    process = subprocess.Popen(
        [sys.executable, "-m", "tfm.runtime", "bench", str(tmp_path / "model"), *options],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        start_new_session=True,
        preexec_fn=prepare,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 180
        while not list(tmp_path.glob("*/worker-1.log")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
    except BaseException:
        end(process)
        raise
    return process


def end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def assert_session_is_empty(session: int) -> None:
    deadline = time.monotonic() + 60
    with pytest.raises(ProcessLookupError):  # no worker is left in the session
        while time.monotonic() < deadline:  # one that is about to go, on a busy machine
            os.killpg(session, 0)
            time.sleep(0.05)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_ctrl_c_leaves_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    process = running_bench(tiny_folder, tmp_path)
    try:
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 130, errors
        assert b"Traceback" not in errors
        assert not list(tmp_path.glob("tfm-bench-*"))
        assert_session_is_empty(process.pid)
    finally:
        end(process)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_workers_end_with_a_parent_that_is_killed(tiny_folder: Path, tmp_path: Path) -> None:
    process = running_bench(tiny_folder, tmp_path)
    try:
        time.sleep(1.0)  # one works, the other one is suspended
        process.kill()
        process.wait(timeout=60)
        assert_session_is_empty(process.pid)
    finally:
        end(process)


@pytest.mark.parametrize("engine", ["tfm", "ctranslate2"])
def test_workers_without_torch(engine: str) -> None:
    code = (
        "import sys, tfm_bench.worker as worker\n"
        f"worker.import_engine({engine!r})\n"
        "print(sys.modules.get('torch'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr


@pytest.mark.parametrize("preset", [name for name in PRESETS if name.startswith("tiny")])
def test_random_weights_never_stop(preset: str) -> None:
    sizes = {"source_vocab_size": 300, "target_vocab_size": 300}
    model = subject.endless_model(TransformerConfig(**sizes, **PRESETS[preset]))
    sources = torch.randint(4, 300, (20, 9), generator=torch.Generator().manual_seed(0))
    outputs = model.greedy(sources, 12)
    assert {len(ids) for ids in outputs} == {12}
    assert len({tuple(ids) for ids in outputs}) > 10  # nor do they say the same of everything


def test_the_workload() -> None:
    workload = random_workload(500, 3, 30)
    lengths = [len(ids) - 1 for ids in workload.mixed]
    assert len(lengths) == MIXED_SENTENCES
    assert SHORTEST <= min(lengths) < 8
    assert 40 < max(lengths) <= LONGEST
    assert lengths != sorted(lengths)
    assert all(ids[-1] == 3 and min(ids[:-1]) > 3 for ids in workload.mixed)
    assert workload == random_workload(500, 3, 30)
    assert [len(workload.cell(batch, 1).sources) for batch in (1, 8, 32)] == [4, 8, 32]


def test_converting_leaves_the_weights_alone(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(source_vocab_size=50, target_vocab_size=60, d_model=32, d_ff=64)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    write_ctranslate2(model, tmp_path / "int8", quantization="int8")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.skipif(
    not importlib.util.find_spec("transformers") or not importlib.util.find_spec("optimum"),
    reason="transformers or optimum-onnx is not installed",
)
@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")  # of optimum's folder
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_transformers_and_optimum(
    tiny_checkpoint: Path, tiny_graphs: Graphs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "convert", lambda model: tiny_graphs)
    options = (*QUICK, "--variant", "fp32", "--against", "optimum,transformers")
    found = measured(tmp_path, tiny_checkpoint, *options, "--parts", "mixed")
    for system in ("optimum-onnx fp32", "transformers fp32"):
        assert found["exact_match"][f"{system}, 1 thread"]["greedy"] == 1.0


def results_at(*speeds: tuple[str, int, float]) -> Results:
    """Results of one cell, of systems with a number of threads and a speed."""
    rows = [Row(f"{name}, {threads}", name, threads, megabytes=1.0) for name, threads, _ in speeds]
    rounds = {row.label: {"b1": [speed]} for row, (_, _, speed) in zip(rows, speeds, strict=True)}
    return Results(rows=rows, cells=["b1"], tokens_per_s=rounds, tokens_per_cpu_s=rounds)


def test_ratios_are_to_the_best_mode_of_as_many_threads() -> None:
    results = results_at(
        *(("tfm int8", 1, 600.0), ("tfm int8", 2, 500.0)),
        *(("CTranslate2 int8", 1, 400.0), ("CTranslate2 int8", 2, 100.0)),
        *(("CTranslate2 float32", 1, 300.0), ("CTranslate2 float32", 2, 250.0)),
    )
    one, two = (relative_speeds(results, results.tokens_per_s, threads) for threads in (1, 2))
    assert {label: ratios["b1"] for label, ratios in one.items()} == {
        "tfm int8, 1": 1.5,
        "CTranslate2 int8, 1": 1.0,
        "CTranslate2 float32, 1": 0.75,
    }
    assert two["tfm int8, 2"]["b1"] == 1.25  # to the best mode with two threads, which is one
    assert "tfm int8, 1" not in two
    results.settings = {"model": "edge", "busy": "beside 1 busy neighbour"}
    text = as_markdown(results)
    assert text.startswith("## edge, beside 1 busy neighbour\n")
    assert text.count("| tfm int8 / CTranslate2's best | 1.50 |") == 2
    assert text.count("| tfm int8 / CTranslate2's best | 1.25 |") == 2
    assert text.count("| tfm int8 / its own 1 thread | 0.83 |") == 2
    assert text.count("| CTranslate2 int8, 1 | 400 |") == 2


def test_the_median_of_the_rounds_counts() -> None:
    results = results_at(("tfm int8", 1, 0.0), ("CTranslate2 int8", 1, 300.0))
    results.tokens_per_s["tfm int8, 1"]["b1"] = [600.0, 9.0, 700.0]
    assert relative_speeds(results, results.tokens_per_s, 1)["tfm int8, 1"] == {"b1": 2.0}


def test_figures_beside_other_load_are_marked() -> None:
    results = results_at(("tfm int8", 1, 600.0), ("CTranslate2 int8", 1, 300.0))
    results.other_load = {"tfm int8, 1": {"b1": 0.11}, "CTranslate2 int8, 1": {"b1": 0.09}}
    text = as_markdown(results)
    assert "| tfm int8 | 600* |" in text
    assert "| CTranslate2 int8 | 300 |" in text
    assert "other processes used more than 10% of the machine" in text
    results.other_load["tfm int8, 1"]["b1"] = 0.1
    assert "*" not in as_markdown(results)


@pytest.mark.parametrize(("count", "read"), [(4, 4), (500, 10)])
def test_count_is_how_many_sentences_are_read(count: int, read: int) -> None:
    sources = [[number, 3] for number in range(10, 20)]
    workload = real_workload(sources, 5, count)
    assert len(workload.mixed) == len({tuple(ids) for ids in workload.mixed}) == read
