"""Scores and comparisons are those of sacrebleu."""

import dataclasses
import json
import lzma
from pathlib import Path

import pytest
import sacrebleu
from helpers.evaluation import comparison_of, run_evaluate, table_of, write_aligned

from tfm.trainer import checkpoint as files
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_scores_are_sacrebleus(
    variant: str, test_set: Path, columns: list[list[str]], toy_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.en"
    status, stdout, _ = run_evaluate(
        test_set, "-m", toy_model, "--variant", variant, "--beam-size", "2", "-o", output
    )
    assert status == 0
    hypotheses = output.read_text("utf-8").splitlines()
    assert len(hypotheses) == len(columns[0])
    expected = [
        f"| corpus | sentences | {variant} BLEU | {variant} chrF |",
        "|---|--:|--:|--:|",
    ]
    for name in ("first", "second", "all"):
        pairs = [
            (hypothesis, reference)
            for hypothesis, reference, corpus in zip(hypotheses, *columns[1:], strict=True)
            if name in (corpus, "all")
        ]
        ours, references = [h for h, _ in pairs], [[r for _, r in pairs]]
        bleu = sacrebleu.corpus_bleu(ours, references)
        chrf = sacrebleu.corpus_chrf(ours, references).score
        expected.append(f"| {name} | {len(pairs)} | {bleu.score:.1f} | {chrf:.1f} |")
    *table, blank, details, bleu_signature, chrf_signature = stdout.splitlines()
    assert table == expected
    assert table[2].split("|")[3] != table[3].split("|")[3]
    assert blank == ""
    assert details == f"{variant}: {bleu.format(width=2)}"
    assert bleu_signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert chrf_signature.startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


@pytest.mark.parametrize("suffix", ["", ".xz"])
def test_aligned_files_score_as_a_table(
    suffix: str, test_set: Path, columns: list[list[str]], toy_checkpoint: Path, tmp_path: Path
) -> None:
    expected = table_of(run_evaluate(toy_checkpoint, test_set, "--beam-size", "1")[1])
    pair = write_aligned(tmp_path, columns, suffix)
    status, stdout, _ = run_evaluate(toy_checkpoint, *pair, "--beam-size", "1")
    assert status == 0
    header, _, corpus, whole = table_of(stdout)
    assert (header, whole) == (expected[0], expected[-1])
    assert corpus == [pair[0].name, *whole[1:]]
    packed = tmp_path / "test.tsv.xz"
    packed.write_bytes(lzma.compress(test_set.read_bytes()))
    assert table_of(run_evaluate(toy_checkpoint, packed, "--beam-size", "1")[1]) == expected
    reversed_set = tmp_path / "reversed.tsv"
    rows = zip(columns[1], columns[0], columns[2], strict=True)
    reversed_set.write_text("".join("\t".join(row) + "\n" for row in rows), "utf-8")
    arguments = (toy_checkpoint, reversed_set, "--reverse", "--beam-size", "1")
    assert table_of(run_evaluate(*arguments)[1]) == expected


def test_scores_for_programs(test_set: Path, toy_model: Path, tmp_path: Path) -> None:
    output, scores = tmp_path / "out.en", tmp_path / "scores.json"
    options = ("--beam-size", "1", "-o", output, "--json", scores)
    status, stdout, _ = run_evaluate(toy_model, test_set, *options, "--against", toy_model)
    assert status == 0
    tree = json.loads(scores.read_text("utf-8"))
    assert set(tree["systems"]) == {"int8", "fp32"}
    for system, corpora in tree["systems"].items():
        column = table_of(stdout)[0].index(f"{system} BLEU")
        for row in table_of(stdout)[2:]:
            found = corpora[row[0]]
            assert (str(found["sentences"]), f"{found['bleu']:.1f}") == (row[1], row[column])
            assert f"{found['chrf']:.1f}" == row[column + 1]
    references = [line.split("\t")[1] for line in test_set.read_text("utf-8").splitlines()]
    first = tree["systems"][next(iter(tree["systems"]))]["all"]
    bleu = sacrebleu.corpus_bleu(output.read_text("utf-8").splitlines(), [references])
    assert first["bleu"] == bleu.score
    assert first["bleu_parts"] == {
        "precisions": bleu.precisions,
        "brevity_penalty": bleu.bp,
        "hypothesis_length": bleu.sys_len,
        "reference_length": bleu.ref_len,
    }
    assert [one["metric"] for one in tree["against"]] == ["BLEU", "chrF2"]
    assert tree["against"][0]["ours"]["score"] == bleu.score


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
        return comparison_of(stdout)

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
    other.write_bytes(b"\xff\n" * 40)
    status, _, stderr = run_evaluate(*options, "--against", other)
    assert (status, stderr.count("\n")) == (1, 1)
    assert "line 1 is not UTF-8 (byte 0xff)" in stderr


def test_a_comparison_with_a_folder_is_one_with_its_translations(
    test_set: Path, toy_checkpoint: Path, toy_model: Path, tmp_path: Path
) -> None:
    ours = (toy_checkpoint, test_set, "--beam-size", "1")
    for folder, variant in ((toy_model, ["--variant", "int8"]), (toy_checkpoint, [])):
        other = tmp_path / "other.en"
        assert run_evaluate(folder, test_set, "--beam-size", "1", *variant, "-o", other)[0] == 0
        found = run_evaluate(*ours, "--against", folder)
        assert found[0] == 0
        assert found[1] == run_evaluate(*ours, "--against", other)[1]
    assert [float(row[4]) for row in comparison_of(found[1])] == [0, 0]  # with itself


def test_empty_sides_keep_their_lines(
    columns: list[list[str]], toy_model: Path, tmp_path: Path
) -> None:
    sources, references = [*columns[0][:3], "", ""], [columns[1][0], "", columns[1][2], "one", ""]
    pair = write_aligned(tmp_path, [sources, references], "")
    output = tmp_path / "output"
    options = ("--variant", "fp32", "-o", output)
    status, stdout, _ = run_evaluate(toy_model, *pair, *options)
    assert status == 0
    lines = output.read_text("utf-8").split("\n")
    assert [bool(line) for line in lines] == [True, True, True, False, False, False]
    row = table_of(stdout)[-1]
    assert row[:2] == ["all", "5"]
    assert row[2] == f"{sacrebleu.corpus_bleu(lines[:5], [references]).score:.1f}"
    assert run_evaluate(toy_model, *pair, *options[:2], "--against", output)[0] == 0


def test_the_tokenizer_is_that_of_the_target_language(
    tiny_model: Transformer, tiny_vocabulary: Vocabulary, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint"
    files.write_checkpoint(checkpoint, tiny_model, tiny_vocabulary)
    files.write_config(checkpoint, dataclasses.replace(tiny_model.config, target_language="zh"))
    test = tmp_path / "test.tsv"
    test.write_text("一\tone\n二\ttwo\n", "utf-8")
    assert "|tok:zh|" in run_evaluate(checkpoint, test, "--beam-size", "1")[1]
    stdout = run_evaluate(checkpoint, test, "--beam-size", "1", "--tokenize", "intl")[1]
    assert "|tok:intl|" in stdout


def test_the_difference_of_equal_translations_is_chance(
    test_set: Path, toy_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.en"
    arguments = (test_set, "-m", toy_model, "--variant", "int8", "--beam-size", "1")
    assert run_evaluate(*arguments, "-o", output)[0] == 0
    status, stdout, _ = run_evaluate(*arguments, "--against", output)
    assert status == 0
    assert stdout.count("| +0.0 | 1.000 |") == 2
