"""`tfm run` over a corpus: pairs, compressed input, runs that are killed and go on."""

import gzip
import io
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers.numerals import chinese, english

from tfm.runtime import Translation, Translator
from tfm.runtime.commands import progress
from tfm.runtime.commands.cli import cli
from tfm.runtime.commands.progress import Progress
from tfm.runtime.files import text as lines
from tfm.trainer.data.corpora import read_corpora
from tfm.trainer.data.recipe import CorpusRecipe

CHUNK = 100  # bytes: a few lines
NUMBERS = range(17, 8000, 211)
PLAIN = "".join(chinese(n) + "\n" for n in NUMBERS[:20]) + "\n \n"
PLAIN += "".join(chinese(n) + "\n" for n in NUMBERS[20:])
PAIRS = "".join(f"{chinese(n)}\t{english(n)}\tcorpus {n % 3}\n" for n in NUMBERS)
PAIRS = PAIRS.replace("\n", "\n\tnothing\tempty\n", 1)

# Dies by SIGKILL in place of the given call of os.replace, os.fsync or os.unlink.
DOOMED = f"""
import os, signal, sys
from tfm.runtime.commands.cli import cli
from tfm.runtime.files import text as lines
lines.CHUNK_BYTES = {CHUNK}
name, left = sys.argv[1], int(sys.argv[2])
call = getattr(os, name)
def deadly(*args, **options):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return call(*args, **options)
setattr(os, name, deadly)
cli(["run", *sys.argv[3:]])
"""

Run = Callable[..., tuple[int, str, str]]

needs_signals = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "CHUNK_BYTES", CHUNK)


@pytest.fixture
def translated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every line that the model was given from now on."""
    given: list[str] = []
    translate_batch = Translator.translate_batch

    def spy(
        self: Translator, sentences: Sequence[str], *args: Any, **options: Any
    ) -> list[Translation]:
        given.extend(sentences)
        return translate_batch(self, sentences, *args, **options)

    monkeypatch.setattr(Translator, "translate_batch", spy)
    return given


@pytest.fixture
def run(toy_model: Path) -> Run:
    def run(*arguments: str | Path, stdin: bytes | None = None) -> tuple[int, str, str]:
        command = ["run", "-m", str(toy_model), *map(str, arguments)]
        result = CliRunner().invoke(cli, command, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return run


@pytest.fixture
def three(run: Run) -> str:
    """What the model makes of 三."""
    return run("三")[1].removesuffix("\n")


@pytest.fixture
def four(run: Run) -> str:
    return run("四")[1].removesuffix("\n")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@needs_signals
@pytest.mark.parametrize(
    ("options", "text", "call", "count", "left"),
    [
        ([], PLAIN, "fsync", 1, "all"),  # the part is empty, and there is no journal yet
        ([], PLAIN, "fsync", 6, "some"),  # a chunk is in the part and not in the journal
        (["--n-best", "3"], PLAIN, "fsync", 8, "some"),
        (["--pairs", "--n-best", "2"], PAIRS, "replace", 5, "some"),  # its next journal is not
        (["--pairs"], PAIRS, "unlink", 1, "none"),  # complete, but for removing the journal
    ],
)
def test_killed_and_resumed_is_unbroken(
    run: Run,
    toy_model: Path,
    tmp_path: Path,
    translated: list[str],
    options: list[str],
    text: str,
    call: str,
    count: int,
    left: str,
) -> None:
    source, output, part = tmp_path / "in", tmp_path / "out", tmp_path / "out.part"
    source.write_text(text, "utf-8")
    assert run("-i", source, "-o", tmp_path / "unbroken", *options) == (0, "", "")
    expected = (tmp_path / "unbroken").read_bytes()
    every = list(translated)
    translated.clear()

    arguments = ["-m", str(toy_model), "-i", str(source), "-o", str(output), *options]
    doomed = [sys.executable, "-c", DOOMED, call, str(count), *arguments]
    assert subprocess.run(doomed, timeout=60).returncode == -signal.SIGKILL
    if part.exists() and part.stat().st_size:
        assert part.stat().st_size < len(expected)
        with part.open("ab") as stream:
            stream.write(b"torn" * len(expected))
    status, stdout, stderr = run("-i", source, "-o", output, "--resume", *options)
    assert (status, stdout, "is complete" in stderr) == (0, "", left == "none")
    assert output.read_bytes() == expected
    assert names(tmp_path) == ["in", "out", "unbroken"]
    assert translated == every[len(every) - len(translated) :]
    share = len(translated) / len(every)
    assert (share == 1, share == 0) == (left == "all", left == "none")


@needs_signals
def test_sigterm_keeps_the_part(
    run: Run, toy_model: Path, tmp_path: Path, three: str, four: str
) -> None:
    output, journal = tmp_path / "out", tmp_path / "out.part.json"
    command = [sys.executable, "-m", "tfm.runtime", "run", "-m", str(toy_model), "-o", str(output)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None and process.stderr is not None
    with process.stdin, process.stderr:
        process.stdin.write("三\n".encode())
        process.stdin.flush()
        end = time.monotonic() + 60
        while not (journal.exists() and json.loads(journal.read_text("utf-8"))["lines"]):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.02)
        process.terminate()
        assert process.wait(60) == 143
        assert process.stderr.read().decode().splitlines() == [
            f"What was translated so far is in {output}.part; --resume continues it"
        ]
    assert run("-o", output, "--resume", stdin="三\n四\n".encode()) == (0, "", "")
    assert output.read_text("utf-8") == f"{three}\n{four}\n"
    assert names(tmp_path) == ["out"]


def test_resume_without_a_part_starts(run: Run, tmp_path: Path, three: str) -> None:
    output = tmp_path / "out"
    assert run("-o", output, "--resume", stdin="三\n".encode()) == (0, "", "")
    assert output.read_text("utf-8") == three + "\n"


def test_a_complete_output_is_not_made_again(
    run: Run, tmp_path: Path, translated: list[str]
) -> None:
    output = tmp_path / "out"
    output.write_text("mine\n", "utf-8")
    status, _, stderr = run("-o", output, "--resume", stdin="三\n".encode())
    assert (status, stderr.count("\n")) == (0, 1)
    assert "is complete" in stderr
    assert (output.read_text("utf-8"), translated) == ("mine\n", [])


def test_a_part_goes_before_an_older_output(
    run: Run, tmp_path: Path, three: str, four: str
) -> None:
    output = tmp_path / "out"
    output.write_text("old\n", "utf-8")
    assert run("-o", output, stdin="三\n".encode() + b"\xff\n")[0] == 1
    assert output.read_text("utf-8") == "old\n"
    assert run("-o", output, "--resume", stdin="三\n四\n".encode())[0] == 0
    assert output.read_text("utf-8") == f"{three}\n{four}\n"


@pytest.fixture
def broken_off(run: Run, tmp_path: Path) -> Path:
    """The output of a run over `in` that ended at its fourth line."""
    source = tmp_path / "in"
    source.write_bytes("一\t1\n二\t2\n三\t3\n".encode() + b"\xff\n")
    status, _, stderr = run("-i", source, "-o", tmp_path / "out", "--beam-size", "3")
    assert (status, stderr.count("\n")) == (1, 2)
    source.write_bytes("一\t1\n二\t2\n三\t3\n四\t4\n".encode())
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n-best", "2"], "made with no --n-best, this run has --n-best 2: give the same"),
        (["--pairs"], "made with no --pairs, this run has --pairs: give the same"),
        (["--doubts"], "made with no --doubts, this run has --doubts: give the same"),
        (["--beam-size", "2"], "made with --beam-size 3, this run has --beam-size 2"),
        (["--length-penalty", "0.25"], "this run has --length-penalty 0.25"),
        (["--max-length", "7"], "this run has --max-length 7"),
        (["--variant", "fp32"], "made with --variant int8, this run has --variant fp32"),
    ],
)
def test_other_settings_are_refused(
    run: Run, broken_off: Path, options: list[str], message: str
) -> None:
    part = broken_off.with_name("out.part")
    before = part.read_bytes()
    source = broken_off.with_name("in")
    status, _, stderr = run(
        "-i", source, "-o", broken_off, "--resume", "--beam-size", "3", *options
    )
    assert (status, stderr.count("\n")) == (1, 1)
    assert stderr.startswith(f"Error: {part} was")
    assert message in stderr
    assert part.read_bytes() == before


def test_another_model_is_refused_and_a_copy_is_not(
    run: Run, broken_off: Path, toy_model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(toy_model, copy)
    config = json.loads((copy / "config.json").read_text("utf-8"))
    changed = {**config, "max_source_length": 9}
    arguments = ["-i", broken_off.with_name("in"), "-o", broken_off, "--resume", "-m", copy]
    (copy / "config.json").write_text(json.dumps(changed), "utf-8")
    status, _, stderr = run(*arguments, "--beam-size", "3")
    assert (status, stderr.count("\n")) == (1, 1)
    assert "was made with model " in stderr
    (copy / "config.json").write_text(json.dumps(config), "utf-8")
    assert run(*arguments, "--beam-size", "3") == (0, "", "")
    assert broken_off.read_text("utf-8").count("\n") == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("一\t1\n二\t2\n五\t3\n四\t4\n", "of 3 lines, but {} begins with others: give the same"),
        ("一\t1\n二\t2\n", "of 3 lines, but {} has only 2 lines: give the same"),
    ],
)
def test_other_input_is_refused(run: Run, broken_off: Path, text: str, message: str) -> None:
    source = broken_off.with_name("in")
    source.write_text(text, "utf-8")
    status, _, stderr = run("-i", source, "-o", broken_off, "--resume", "--beam-size", "3")
    assert status == 1
    assert message.format(source) in stderr
    assert broken_off.with_name("out.part").read_text("utf-8").count("\n") == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("out.part.json", None, "out.part.json is missing"),
        ("out.part.json", b"{", "out.part.json is damaged"),
        ("out.part.json", b"[1]", "out.part.json is damaged"),
        ("out.part", b"on", "out.part is damaged: 2 bytes"),
    ],
)
def test_a_damaged_part_is_refused(
    run: Run, broken_off: Path, name: str, content: bytes | None, message: str
) -> None:
    path = broken_off.with_name(name)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    arguments = ["-i", broken_off.with_name("in"), "-o", broken_off, "--beam-size", "3"]
    status, _, stderr = run(*arguments, "--resume")
    assert (status, stderr.count("\n")) == (1, 1)
    assert message in stderr and "leave out --resume" in stderr
    assert run(*arguments) == (0, "", "")
    assert names(broken_off.parent) == ["in", "out"]


def test_resume_needs_a_file(run: Run, tmp_path: Path) -> None:
    assert run("--resume", "三")[0] == run("--resume", "-o", "-", "三")[0] == 2
    assert run("-o", tmp_path / "out.tsv.xz", "三")[0] == 2
    assert names(tmp_path) == []


def test_n_best_counts_lines_across_chunks(run: Run) -> None:
    _, stdout, _ = run("--n-best", "2", stdin=PLAIN.encode())
    numbers = [int(line.split(" ||| ")[0]) for line in stdout.splitlines()]
    assert sorted(set(numbers)) == list(range(PLAIN.count("\n")))
    assert numbers == sorted(numbers) and numbers.count(20) == 1 and numbers.count(19) == 2


def test_pairs_are_a_corpus_to_train_on(run: Run, tmp_path: Path, three: str, four: str) -> None:
    source, output = tmp_path / "train.tsv", tmp_path / "distilled.tsv"
    source.write_bytes("三\tthree?\tnews\tmore\u2028\r\n \tnothing\n四\t\n".encode())
    assert run("--pairs", "-i", source, "-o", output) == (0, "", "")
    written = f"三\t{three}\tnews\tmore\u2028\n \t\n四\t{four}\n"
    assert output.read_bytes() == written.encode()
    text = read_corpora([CorpusRecipe(path=str(output))])
    assert (text.sources, text.targets) == (["三", "四"], [three, four])
    assert text.corpora == ["news", output.name]


def test_pairs_n_best_are_n_lines_each(run: Run) -> None:
    status, stdout, _ = run("--pairs", "--n-best", "3", stdin="三\t3\tx\n\t\ty\n".encode())
    rows = [line.split("\t") for line in stdout.removesuffix("\n").split("\n")]
    assert status == 0
    assert [row[0] + row[2] for row in rows] == ["三x"] * 3 + ["y"] * 3
    best = [line.split(" ||| ")[1] for line in run("--n-best", "3", "三")[1].splitlines()]
    assert [row[1] for row in rows] == [*best, "", "", ""]
    assert len(set(best)) > 1


def test_breaks_in_a_translation_become_spaces(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfm.runtime.tokenizer.Tokenizer.decode", lambda _, ids: ["a\tb\nc"])
    assert run("--pairs", stdin="三\t3\n".encode()) == (0, "三\ta b c\n", "")


def test_a_line_without_a_tab_is_one_error(run: Run, tmp_path: Path, three: str) -> None:
    source, output = tmp_path / "train.tsv", tmp_path / "out"
    text = "".join(f"{chinese(n)}\tx\n" for n in range(30)) + "三 three\n"
    source.write_text(text, "utf-8")
    status, _, stderr = run("--pairs", "-i", source, "-o", output)
    message = f"Error: {source}, line 31: no tab in '三 three'; --pairs expects source<TAB>target\n"
    assert status == 1
    assert stderr.endswith(message)
    assert (tmp_path / "out.part").read_text("utf-8").count("\n") == 30
    source.write_text(text.replace(" ", "\t"), "utf-8")
    assert run("--pairs", "-i", source, "-o", output, "--resume") == (0, "", "")
    assert output.read_text("utf-8").splitlines()[-1] == f"三\t{three}"


@pytest.mark.parametrize(("suffix", "compress"), [(".xz", lzma.compress), (".gz", gzip.compress)])
def test_compressed_input(
    run: Run, tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    plain, packed = tmp_path / "in", tmp_path / f"in{suffix}"
    plain.write_text(PLAIN, "utf-8")
    packed.write_bytes(compress(PLAIN.encode()))
    assert run("-i", packed) == run("-i", plain)

    for damaged in (packed.read_bytes()[:-20], b"not compressed at all"):
        packed.write_bytes(damaged)
        status, _, stderr = run("-i", packed, "-o", tmp_path / "out")
        assert status == 1
        assert stderr.splitlines()[-1].startswith(f"Error: {packed} is damaged: ")


@pytest.mark.parametrize(("suffix", "compress"), [(".xz", lzma.compress), (".gz", gzip.compress)])
def test_compressed_input_comes_in_full_chunks(
    monkeypatch: pytest.MonkeyPatch, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(lines, "CHUNK_BYTES", 1 << 16)
    text = b"".join(b"%d\n" % (n * n) for n in range(40_000))
    packed = lines.unpacked(io.BytesIO(compress(text)), "a" + suffix)
    chunks = list(lines.read_chunks(packed, "a" + suffix))
    assert chunks == list(lines.read_chunks(io.BytesIO(text), "a"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_says_share_and_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: clock)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    (tmp_path / "in").write_bytes(b"x" * 1000)
    with (tmp_path / "in").open("rb") as source:
        source.seek(200)
        shown = Progress(output_is_stdout=False, source=source, done=20)
        source.seek(400)
        clock = 1.0
        shown.add(20)
        assert terminal.getvalue() == ""
        clock = 10.0
        shown.add(20)
        assert terminal.getvalue() == "\r60 lines, 4.0 lines/s, 40%, 0:00:30 left"


def test_progress_in_a_log_is_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: clock)
    for is_stdout in (False, True):
        monkeypatch.setattr(sys, "stderr", log := io.StringIO())
        clock = 0.0
        shown = Progress(output_is_stdout=is_stdout)
        for _ in range(10):
            clock += progress._LOG_SECONDS / 4
            shown.add(15)
        expected = "" if is_stdout else "60 lines, 1.0 lines/s\n120 lines, 1.0 lines/s\n"
        assert log.getvalue() == expected
