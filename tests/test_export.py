"""`tfm export` and `tfm evaluate` as commands: exit codes, messages, scores."""

import json
import shutil
from pathlib import Path

import pytest
import sacrebleu
from click.testing import CliRunner
from numerals import chinese, english

from tfm.export.cli import _sentences
from tfm.runtime.cli import cli
from tfm.trainer import checkpoint as files


def run_export(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["export", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def run_evaluate(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "model"], "'nowhere' does not exist"),
        ([".", "model", "--variant", "int3"], "'int3' is not one of"),
        ([".", "model", "--limit", "0"], "0 is not in the range"),
        ([".", "model", "--sentences", "nowhere"], "'nowhere' does not exist"),
        (["."], "Missing argument 'MODEL_FOLDER'"),
    ],
)
def test_usage(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, stdout, stderr = run_export(*arguments)
    assert (status, stdout) == (2, "")
    assert message in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not found; name sentences to verify on with --sentences"),
        (b"", "holds no sentence to verify on"),
        (b"\n \n\n", "holds no sentence to verify on"),
        (b"\xff\xfe", "not UTF-8 text"),
        ("一\tone\n".encode(), "config.json: not found; is this a checkpoint"),
    ],
)
def test_one_line_of_error(content: bytes | None, message: str, tmp_path: Path) -> None:
    checkpoint, model = tmp_path / "checkpoint", tmp_path / "model"
    checkpoint.mkdir()
    if content is not None:
        (checkpoint / files.VALIDATION).write_bytes(content)
    status, stdout, stderr = run_export(checkpoint, model)
    assert (status, stdout) == (1, "")
    assert message in stderr
    assert stderr.startswith("Error: ")
    assert stderr.count("\n") == 1
    assert not model.exists()


def test_a_damaged_checkpoint(toy_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint, model = tmp_path / "checkpoint", tmp_path / "model"
    ignore = shutil.ignore_patterns("last*", "best*", "average*", "recent")
    shutil.copytree(toy_checkpoint, checkpoint, ignore=ignore)
    weights = checkpoint / files.MODEL
    weights.write_bytes(weights.read_bytes()[:1000])
    status, _, stderr = run_export(checkpoint, model)
    assert status == 1
    assert f"{weights}: damaged" in stderr
    weights.unlink()
    assert f"{weights}: not found" in run_export(checkpoint, model)[2]
    assert not model.exists()


def test_sentences_are_spread_over_the_file(tmp_path: Path) -> None:
    pairs, mixed = tmp_path / "pairs.tsv", tmp_path / "mixed.txt"
    pairs.write_text("".join(f"s{i}\tt{i}\tcorpus\n\n" for i in range(100)), "utf-8")
    sources, references = _sentences(pairs, 4)
    assert sources == ["s0", "s25", "s50", "s75"]
    assert references == ["t0", "t25", "t50", "t75"]
    assert len(_sentences(pairs, 1000)[0]) == 100
    mixed.write_text("one\ttwo\nthree\n", "utf-8")
    assert _sentences(mixed, 10) == (["one", "three"], None)


def test_the_toys_proof(toy_model: Path) -> None:
    variants = json.loads((toy_model / "verify.json").read_text("utf-8"))["variants"]
    assert set(variants) == {"fp32", "int8"}
    for name, report in variants.items():
        assert report["failures"] == []
        assert report["alone_equals_batched"] >= 0.98
        assert report["greedy"]["sentences"] == report["beam"]["sentences"] == 100
        assert report["scores"]["bleu"] > 50
        if name == "fp32":
            assert report["greedy"]["equal"] + report["greedy"]["ties"] == 100
            assert report["beam"]["equal"] + report["beam"]["ties"] == 100
            assert max(report["max_abs_diff"].values()) < 1e-4
    assert max(variants["int8"]["max_abs_diff"].values()) > 1e-4


@pytest.fixture(scope="module")
def test_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two corpora; in the second the references are wrong now and then."""
    path = tmp_path_factory.mktemp("evaluate") / "test.tsv"
    lines = []
    for i, number in enumerate(range(40, 9999, 251)):
        corpus = ("first", "second")[i % 2]
        reference = english(number + (i % 4 == 1))
        lines.append(f"{chinese(number)}\t{reference}\t{corpus}\n")
    path.write_text("".join(lines), "utf-8")
    return path


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_scores_are_sacrebleus(
    variant: str, test_set: Path, toy_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.en"
    status, stdout, _ = run_evaluate(
        test_set, "-m", toy_model, "--variant", variant, "--beam-size", "2", "-o", output
    )
    assert status == 0
    rows = [line.split("\t") for line in test_set.read_text("utf-8").splitlines()]
    hypotheses = output.read_text("utf-8").splitlines()
    assert len(hypotheses) == len(rows)
    expected = [
        f"| corpus | sentences | {variant} BLEU | {variant} chrF |",
        "|---|--:|--:|--:|",
    ]
    for name in ("first", "second", "all"):
        pairs = [
            (h, row[1]) for h, row in zip(hypotheses, rows, strict=True) if name in (row[2], "all")
        ]
        ours, references = [h for h, _ in pairs], [[r for _, r in pairs]]
        bleu = sacrebleu.corpus_bleu(ours, references).score
        chrf = sacrebleu.corpus_chrf(ours, references).score
        expected.append(f"| {name} | {len(pairs)} | {bleu:.1f} | {chrf:.1f} |")
    *table, blank, bleu_signature, chrf_signature = stdout.splitlines()
    assert table == expected
    assert table[2].split("|")[3] != table[3].split("|")[3]
    assert blank == ""
    assert bleu_signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert chrf_signature.startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


def test_all_variants_without_being_asked(test_set: Path, toy_model: Path) -> None:
    status, stdout, _ = run_evaluate(test_set, "-m", toy_model, "--beam-size", "1")
    assert status == 0
    header = {cell.strip() for cell in stdout.splitlines()[0].split("|")}
    assert {"int8 BLEU", "int8 chrF", "fp32 BLEU", "fp32 chrF"} < header


def test_evaluate_errors(test_set: Path, toy_model: Path, tmp_path: Path) -> None:
    status, _, stderr = run_evaluate(test_set, "-m", toy_model, "--variant", "fp16")
    assert (status, stderr.count("\n")) == (1, 1)
    assert "no variant 'fp16'" in stderr
    status, _, stderr = run_evaluate(test_set, "-m", tmp_path)
    assert (status, stderr.count("\n")) == (1, 1)
    assert "has no config.json" in stderr
    (tmp_path / "one.tsv").write_text("no tab\n", "utf-8")
    status, _, stderr = run_evaluate(tmp_path / "one.tsv", "-m", toy_model)
    assert (status, stderr.count("\n")) == (1, 1)
    assert "no tab in" in stderr
    assert run_evaluate(tmp_path / "nowhere.tsv", "-m", toy_model)[0] == 2


def test_a_comparison_tells_better_from_luck(
    test_set: Path, toy_model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.en"
    options = (test_set, "-m", toy_model, "--variant", "fp32")
    assert run_evaluate(*options, "-o", other)[0] == 0
    lines = other.read_text("utf-8").splitlines()

    def compared(texts: list[str]) -> list[list[str]]:
        other.write_text("".join(f"{text}\n" for text in texts), "utf-8")
        status, stdout, _ = run_evaluate(*options, "--against", other)
        assert status == 0
        rows = [line.split("|") for line in stdout.splitlines() if line.startswith("| ")]
        return [row for row in rows if row[1] in (" BLEU ", " chrF2 ")]

    worse = compared(["nonsense"] * len(lines))
    assert len(worse) == 2
    for row in worse:
        assert float(row[4]) > 10 and float(row[5]) < 0.01
    almost = ["nonsense", *lines[1:]]
    for row in compared(almost):
        assert float(row[4]) >= 0 and float(row[5]) > 0.01
    other.write_text("one\n", "utf-8")
    status, _, stderr = run_evaluate(*options, "--against", other)
    assert status == 1
    assert "1 translations to compare with a test set of 40 sentences" in stderr
