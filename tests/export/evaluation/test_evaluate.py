"""`tfm evaluate`: scores are sacrebleu's, and PyTorch and the runtime agree."""

import dataclasses
import json
import logging
import lzma
import math
import shutil
from pathlib import Path

import pytest
import sacrebleu
import torch
from click.testing import CliRunner
from helpers.models import tfm
from helpers.numerals import RECIPE, chinese, english

from tfm.export.errors import ExportError
from tfm.export.evaluation import translators as systems
from tfm.export.evaluation.translators import open_systems, translate_with_torch
from tfm.runtime import Translator
from tfm.runtime.commands.cli import cli
from tfm.trainer import checkpoint as files
from tfm.trainer.bleu import score, tokenizer_for
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer


def run_evaluate(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def table_of(stdout: str) -> list[list[str]]:
    """The cells of the first table."""
    lines = stdout.split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


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


@pytest.fixture(scope="module")
def columns(test_set: Path) -> list[list[str]]:
    """Sources, references and corpora of test_set."""
    rows = [line.split("\t") for line in test_set.read_text("utf-8").splitlines()]
    return [list(column) for column in zip(*rows, strict=True)]


@pytest.fixture(autouse=True)
def no_model_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TFM_MODEL", raising=False)


def write_aligned(folder: Path, columns: list[list[str]], suffix: str) -> tuple[Path, Path]:
    """Sources and references as two files."""
    paths = folder / f"test.zh{suffix}", folder / f"test.en{suffix}"
    for path, column in zip(paths, columns, strict=False):
        data = "".join(f"{line}\n" for line in column).encode()
        path.write_bytes(lzma.compress(data) if suffix else data)
    return paths


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


def test_all_variants_without_being_asked(test_set: Path, toy_model: Path) -> None:
    status, stdout, _ = run_evaluate(toy_model, test_set, "--beam-size", "1")
    assert status == 0
    assert {"int8 BLEU", "int8 chrF", "fp32 BLEU", "fp32 chrF"} < set(table_of(stdout)[0])
    assert "\nint8: BLEU = " in stdout and "\nfp32: BLEU = " in stdout


@pytest.mark.parametrize("options", [(), ("--beam-size", "1"), ("--threads", "1")])
def test_a_checkpoint_scores_as_its_export(
    options: tuple[str, ...], test_set: Path, toy_checkpoint: Path, toy_model: Path, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    outputs = tmp_path / "torch.en", tmp_path / "fp32.en"
    status, ours, _ = run_evaluate(toy_checkpoint, test_set, "-o", outputs[0], *options)
    assert status == 0
    exported = run_evaluate(toy_model, test_set, "--variant", "fp32", "-o", outputs[1], *options)[1]
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert ours == exported.replace("fp32", "torch")
    assert table_of(ours)[0] == ["corpus", "sentences", "torch BLEU", "torch chrF"]
    assert float(table_of(ours)[-1][2]) > 50
    assert torch.get_num_threads() == threads


def test_the_system_by_argument_option_and_environment(
    test_set: Path,
    toy_checkpoint: Path,
    toy_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ("--beam-size", "1")
    by_option = run_evaluate(test_set, "-m", toy_checkpoint, *options)
    assert by_option == run_evaluate(toy_checkpoint, test_set, *options)
    monkeypatch.setenv("TFM_MODEL", str(toy_checkpoint))
    assert run_evaluate(test_set, *options) == by_option
    found = run_evaluate(toy_model, test_set, *options)[1]
    assert "int8 BLEU" in found  # the argument, not the environment
    monkeypatch.delenv("TFM_MODEL")
    monkeypatch.setattr(systems, "bundled_model", lambda: toy_checkpoint)
    assert run_evaluate(test_set, *options) == by_option


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


def weights_folder(checkpoint: Path, folder: Path, name: str) -> Path:
    """A checkpoint that has those weights alone."""
    folder.mkdir()
    for path in (*checkpoint.glob("*.spm"), checkpoint / files.CONFIG):
        shutil.copy(path, folder)
    shutil.copy(checkpoint / name, folder / files.MODEL)
    return folder


def test_the_weights_of_a_checkpoint(test_set: Path, toy_checkpoint: Path, tmp_path: Path) -> None:
    options = ("--beam-size", "1")
    usual = run_evaluate(toy_checkpoint, test_set, *options)
    assert usual == run_evaluate(toy_checkpoint, test_set, *options, "--weights", "model")
    poor = weights_folder(toy_checkpoint, tmp_path / "poor", files.MODEL)
    trained = files.read_weights(toy_checkpoint / files.MODEL)
    nothing = {name: torch.zeros_like(tensor) for name, tensor in trained.items()}
    few = tmp_path / "few.tsv"
    few.write_text("".join(test_set.read_text("utf-8").splitlines(keepends=True)[:3]), "utf-8")
    for name in ("best", "average"):
        alone = weights_folder(toy_checkpoint, tmp_path / name, f"{name}.safetensors")
        expected = run_evaluate(alone, test_set, *options)[1]
        found = run_evaluate(toy_checkpoint, test_set, *options, "--weights", name)[1]
        assert found == expected.replace("torch", f"torch {name}")
        files.write_weights(poor / f"{name}.safetensors", nothing)
        found = run_evaluate(poor, few, *options, "--weights", name)[1]
        assert float(table_of(found)[-1][2]) == 0
    assert run_evaluate(poor, test_set, *options) == usual


def test_long_and_empty_sentences_are_the_runtimes(
    tiny_model: Transformer,
    tiny_vocabulary: Vocabulary,
    tiny_folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sentences = ["", chinese(3052), "九千" * 300, " ", chinese(7)]
    assert len(tiny_vocabulary.encode_source(sentences[2:3], tiny_model.config)[0]) > 513
    found = translate_with_torch(tiny_model, tiny_vocabulary, sentences, 2)
    assert "1 sentences cut to 512 tokens" in caplog.text
    translator = Translator(tiny_folder, variant="fp32")
    expected = [one.text for one in translator.translate_batch(sentences, beam_size=2)]
    assert found == expected
    assert found[0] == found[3] == "" and all(found[i] for i in (1, 2, 4))


def test_parts_of_bleu_by_hand() -> None:
    scores = score(["a b c d e"], ["a b c d f"])
    assert scores.bleu_parts is not None
    assert scores.bleu_parts.precisions == pytest.approx([80, 75, 200 / 3, 50])
    assert scores.bleu_parts.brevity_penalty == 1
    assert scores.bleu == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    scores = score(["a b c d"], ["a b c d e"])
    assert scores.bleu_parts is not None
    assert scores.bleu_parts.brevity_penalty == pytest.approx(math.exp(1 - 5 / 4))
    assert scores.bleu == pytest.approx(100 * math.exp(1 - 5 / 4))
    parts = scores.bleu_parts
    assert (parts.hypothesis_length, parts.reference_length) == (4, 5)


def test_tokens_are_scored_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    """With "none" BLEU is multi-bleu's: "gold." is not "gold .", and nothing warns of tokens."""
    hypotheses = ["this is @-@ all that gold. gl@@ itters ."] * 120
    references = ["this is @-@ all that gold . gl@@ itters ."] * 120
    expected = sacrebleu.corpus_bleu(hypotheses, [references], force=True, tokenize="none")
    with caplog.at_level(logging.WARNING, "sacrebleu"):
        found = score(hypotheses, references, "zh", "none")
        assert caplog.text == ""
        score(hypotheses, references)
        assert "tokenized period" in caplog.text  # so that what was silent could have spoken
    assert found.bleu == expected.score
    assert "|tok:none|" in found.bleu_signature
    # Of 9 tokens for 10, one is wrong, and so is every longer n-gram that it is in.
    precisions = 8 / 9 * 6 / 8 * 4 / 7 * 2 / 6
    assert found.bleu == pytest.approx(100 * precisions**0.25 * math.exp(1 - 10 / 9))


@pytest.mark.parametrize(
    ("language", "name"),
    [
        *(("zh", "zh"), ("zho_Hans", "zh"), ("zh-CN", "zh"), ("cmn_Hant", "zh")),
        *(("en", "13a"), ("target", "13a"), ("", "13a"), ("zha", "13a")),
        *(("ja", "ja-mecab"), ("jpn_Jpan", "ja-mecab"), ("ko", "ko-mecab"), ("kor", "ko-mecab")),
    ],
)
def test_tokenizer_of_a_language(language: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import tfm.trainer.bleu as module

    monkeypatch.setattr(module, "find_spec", lambda _: object())
    assert tokenizer_for(language) == name
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert tokenizer_for(language) == ("char" if "mecab" in name else name)


def test_chinese_is_scored_by_characters(
    tiny_model: Transformer, tiny_vocabulary: Vocabulary, tmp_path: Path
) -> None:
    found = score(["他每天六点起床。"], ["他每天早上六点起床。"], "zh")
    expected = sacrebleu.corpus_bleu(
        ["他每天六点起床。"], [["他每天早上六点起床。"]], tokenize="zh"
    )
    assert found.bleu == expected.score
    assert found.bleu > 40 > score(["他每天六点起床。"], ["他每天早上六点起床。"]).bleu

    checkpoint = tmp_path / "checkpoint"
    files.write_checkpoint(checkpoint, tiny_model, tiny_vocabulary)
    files.write_config(checkpoint, dataclasses.replace(tiny_model.config, target_language="zh"))
    test = tmp_path / "test.tsv"
    test.write_text("一\tone\n二\ttwo\n", "utf-8")
    assert "|tok:zh|" in run_evaluate(checkpoint, test, "--beam-size", "1")[1]
    stdout = run_evaluate(checkpoint, test, "--beam-size", "1", "--tokenize", "intl")[1]
    assert "|tok:intl|" in stdout


def test_training_into_chinese_validates_by_characters(tmp_path: Path) -> None:
    for name, numbers in (("train", range(1000, 2000)), ("valid", range(40))):
        lines = (f"{english(n)}\t{chinese(n)}\n" for n in numbers)
        (tmp_path / f"{name}.tsv").write_text("".join(lines), "utf-8")
    recipe = RECIPE.replace('target_language = "en"', 'target_language = "zh"')
    recipe = recipe.replace("max_steps = 800", "max_steps = 1")
    recipe = recipe.replace("cooldown_steps = 400", "cooldown_steps = 0")
    (tmp_path / "recipe.toml").write_text(recipe, "utf-8")
    tfm("train", str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "out"))
    lines = (tmp_path / "out" / files.METRICS).read_text("utf-8").splitlines()
    assert "|tok:zh|" in json.loads(lines[-1])["bleu_signature"]


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


def comparison_of(stdout: str) -> list[list[str]]:
    rows = [line.split("|") for line in stdout.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[1] in (" BLEU ", " chrF2 ")]


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
    assert "not UTF-8 text" in stderr


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.tsv"], "'nowhere.tsv' does not exist"),
        (["folder"], "Missing argument 'TEST'"),
        (["a.tsv", "folder"], "folder is a folder: a test set is one file or two"),
        (["folder", "folder", "a.tsv"], "folder is a folder: a test set is one file or two"),
        (["folder", "a.tsv", "-m", "folder"], "two systems, folder and -m folder"),
        (["a.txt", "b.txt", "a.txt"], "3 files: a test set is a .tsv, or TEST and REFERENCES"),
        (["a.txt", "a.tsv"], "a.tsv has both sides: give it alone"),
        (["a.txt", "b.txt", "--reverse"], "--reverse is for a .tsv: exchange the two files"),
        (["a.tsv", "--tokenize", "14a"], "'14a' is not one of none, zh, 13a, intl, char,"),
        (["folder", "a.tsv", "--weights", "last"], "'last' is not one of"),
    ],
)
def test_usage(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    for name in ("a.tsv", "a.txt", "b.txt"):
        Path(name).write_text("one\tone\n", "utf-8")
    status, stdout, stderr = run_evaluate(*arguments)
    assert (status, stdout) == (2, "")
    assert message in " ".join(stderr.split())


def test_one_line_of_error(
    test_set: Path,
    columns: list[list[str]],
    toy_model: Path,
    tiny_model: Transformer,
    tiny_vocabulary: Vocabulary,
    tmp_path: Path,
) -> None:
    empty, new, imported = tmp_path / "empty", tmp_path / "new", tmp_path / "imported"
    empty.mkdir()
    files.write_checkpoint(imported, tiny_model, tiny_vocabulary)
    shutil.copytree(imported, new)
    (new / files.MODEL).rename(new / files.LAST)
    table, none, missing = tmp_path / "one.tsv", tmp_path / "none.tsv", tmp_path / "no" / "out"
    table.write_text("no tab\n", "utf-8")
    none.touch()
    sources, references = write_aligned(tmp_path, columns, "")
    references.write_text("one\n", "utf-8")
    cases: list[tuple[list[str | Path], str]] = [
        ([toy_model, test_set, "--variant", "fp16"], "no variant 'fp16'"),
        ([toy_model, test_set, "--weights", "best"], "only a checkpoint has best weights"),
        ([imported, test_set, "--weights", "best"], "no best.safetensors: its weights are model"),
        ([imported, test_set, "--variant", "fp32"], "is a checkpoint and has no variants"),
        ([new, test_set], "training has not reached its first validation"),
        ([empty, test_set], "has no config.json: expected a model folder (`tfm export`) or a"),
        ([test_set, "-m", empty], "has no config.json"),
        ([toy_model, table], "no tab in"),
        ([toy_model, none], "none.tsv: no sentence to score"),
        ([toy_model, test_set, "-o", missing], f"{missing}: there is no folder {missing.parent}"),
        ([toy_model, test_set, "--json", missing], f"{missing}: there is no folder"),
        ([toy_model, sources, references], "test.en has 1: they must be aligned line by line"),
        ([imported, test_set, "--beam-size", "1", "--against", empty], "has no config.json"),
    ]
    if tokenizer_for("ja") == "char":
        needs = "BLEU's tokenizer ja-mecab cannot be used: pip install sacrebleu[ja]"
        cases.append(([imported, test_set, "--tokenize", "ja-mecab"], needs))
    for arguments, message in cases:
        status, stdout, stderr = run_evaluate(*arguments)
        assert (status, stdout) == (1, ""), message
        assert message in stderr
        assert stderr.startswith("Error: ") and stderr.count("\n") == 1


def test_a_missing_variant_is_said_before_another_translates(toy_model: Path) -> None:
    with pytest.raises(ExportError, match=r"^no variant 'fp16': .* has fp32, int8$"):
        next(open_systems(toy_model, ["int8", "fp16"]))


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
    assert run_evaluate(toy_model, *pair, *options, "--against", output)[0] == 0


def test_variants_are_opened_one_after_the_other(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a large model is in memory once."""
    opened: list[str | None] = []
    original = systems._open_variant

    def spy(folder: Path, variant: str | None, threads: int) -> systems.System:
        opened.append(variant)
        return original(folder, variant, threads)

    monkeypatch.setattr(systems, "_open_variant", spy)
    found = open_systems(toy_model)
    assert opened == []
    first = next(found)
    assert opened == [first.name]
