"""The command `tfm`: lines in, lines out, exit codes, and what it must not import."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tfm.runtime import Hypothesis, TfmError, Translation
from tfm.runtime.commands import cli
from tfm.runtime.commands.input_lines import read_chunks
from tfm.runtime.config import Languages


class ShoutingTranslator:
    """Translates into capitals, and again with marks for the next best."""

    config = SimpleNamespace(
        decoding=SimpleNamespace(beam_size=4, length_penalty=1.0, max_length=256),
        languages=Languages(source="zh", target="en", tagged="source", tags={"en": 7, "fr": 8}),
    )
    choice = SimpleNamespace(variant="fp32")
    fingerprint = "shouting"

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}

    def translate_batch(
        self, sentences: Sequence[str], *, num_hypotheses: int, **options: Any
    ) -> list[Translation]:
        self.options = {"num_hypotheses": num_hypotheses, **options}
        if "fail" in sentences:
            raise TfmError("asked to fail")
        if "interrupt" in sentences:
            raise KeyboardInterrupt
        return [
            Translation(
                text,
                tuple(
                    Hypothesis(text.upper() + "!" * i, -0.5 * (i + 1), ())
                    for i in range(num_hypotheses)
                ),
            )
            for text in sentences
        ]


@pytest.fixture
def translator(monkeypatch: pytest.MonkeyPatch) -> ShoutingTranslator:
    """`tfm run` without a model."""
    translator = ShoutingTranslator()
    monkeypatch.setattr(cli, "_open_translator", lambda *_args: translator)
    return translator


def tfm(*arguments: str, stdin: str | bytes | None = None) -> tuple[int, str, str]:
    """Run the command here; returns exit status, stdout and stderr."""
    result = CliRunner().invoke(cli.cli, arguments, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )


pytestmark = pytest.mark.usefixtures("translator")


def test_arguments_are_lines() -> None:
    assert tfm("run", "one", "", "two\nthree") == (0, "ONE\n\nTWO\nTHREE\n", "")


@pytest.mark.parametrize(
    ("stdin", "stdout"),
    [
        ("a\n\nb\n", "A\n\nB\n"),
        ("a\r\nb", "A\nB\n"),
        ("", ""),
        ("\n", "\n"),
        ("中\u2028文\n", "中 文\n"),
    ],
)
def test_stdin_lines(stdin: str, stdout: str) -> None:
    assert tfm("run", stdin=stdin) == (0, stdout, "")


def test_files(tmp_path: Path) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_bytes("ä\nb\n".encode())
    target.write_bytes(b"old")
    assert tfm("run", "-i", str(source), "-o", str(target)) == (0, "", "")
    assert target.read_bytes() == "Ä\nB\n".encode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.txt"]


def test_a_failure_leaves_the_old_output(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_bytes(b"old")
    status, _, stderr = tfm("run", "fail", "-o", str(target))
    assert (status, stderr) == (1, "Error: asked to fail\n")
    assert target.read_bytes() == b"old"
    assert not (tmp_path / "out.txt.part").exists()


def test_a_failure_keeps_what_is_done(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    status, _, stderr = tfm("run", "-o", str(target), stdin=b"good\nbad \xff\nmore\n")
    assert status == 1
    assert "line 2 is not UTF-8 (byte 0xff)" in stderr
    assert f"so far is in {target}.part" in stderr
    assert not target.exists()
    assert (tmp_path / "out.txt.part").read_text(encoding="utf-8") == "GOOD\n"


def test_output_into_a_missing_folder(tmp_path: Path) -> None:
    status, _, stderr = tfm("run", "a", "-o", str(tmp_path / "none" / "out.txt"))
    assert status == 1
    assert stderr.startswith("Error: ")
    assert stderr.count("\n") == 1
    assert "No such file or directory" in stderr


def test_n_best_is_line_translation_score() -> None:
    assert tfm("run", "--n-best", "2", "a", "b")[:2] == (
        0,
        "0 ||| A ||| -0.500000\n0 ||| A! ||| -1.000000\n"
        "1 ||| B ||| -0.500000\n1 ||| B! ||| -1.000000\n",
    )


def test_n_best_widens_the_beam(translator: ShoutingTranslator) -> None:
    tfm("run", "--n-best", "6", "a")
    assert translator.options["beam_size"] == translator.options["num_hypotheses"] == 6
    tfm("run", "--n-best", "2", "a")
    assert translator.options["beam_size"] == 4


def test_search_options_arrive(translator: ShoutingTranslator) -> None:
    languages = ("--source-language", "zh", "--target-language", "fr")
    tfm("run", "--beam-size", "2", "--length-penalty", "0.5", "--max-length", "7", *languages, "a")
    assert translator.options == {
        "source_language": "zh",
        "target_language": "fr",
        "beam_size": 2,
        "num_hypotheses": 1,
        "length_penalty": 0.5,
        "max_length": 7,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--beam-size", "0"], "0 is not in the range x>=1"),
        (["run", "--beam-size", "2", "--n-best", "3", "a"], "--n-best 3 is more than"),
        (["run", "--device", "tpu"], "'tpu' is not one of"),
        (["run", "--source-language", "de", "a"], "source_language is 'de': this model has zh"),
        (["run", "--target-language", "de", "a"], "target_language is 'de': this model has en, fr"),
        (["run", "--length-penalty", "-1"], "-1.0 is not in the range"),
        (["run", "-m", "nowhere"], "'nowhere' does not exist"),
        (["run", "-i", "nowhere"], "No such file or directory"),
        (["run", "-i", __file__, "text"], "give TEXT or -i, not both"),
        (["info", "nowhere"], "'nowhere' does not exist"),
        (["nothing"], "No such command 'nothing'"),
    ],
)
def test_usage_errors(arguments: list[str], message: str) -> None:
    status, stdout, stderr = tfm(*arguments)
    assert (status, stdout) == (2, "")
    assert message in stderr


def test_ctrl_c_is_quiet() -> None:
    assert tfm("run", "interrupt") == (130, "", "")


def test_an_argument_that_is_not_utf8() -> None:
    status, _, stderr = tfm("run", "fine", "\udcff")
    assert (status, stderr) == (1, "Error: TEXT 2 is not UTF-8: '\\udcff'\n")


def test_info_of_a_folder_that_is_no_model(tmp_path: Path) -> None:
    status, stdout, stderr = tfm("info", str(tmp_path))
    assert (status, stdout) == (1, "")
    assert stderr == (
        f"Error: {tmp_path} has no config.json: expected a folder written by `tfm export`\n"
    )


def test_run_with_a_folder_that_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    status, stdout, stderr = tfm("run", "-m", str(tmp_path), "a")
    assert (status, stdout, stderr.count("\n")) == (1, "", 1)
    assert "has no config.json" in stderr


def test_the_model_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFM_MODEL", str(tmp_path))
    assert f"{tmp_path} has no config.json" in tfm("info")[2]


def test_version() -> None:
    from tfm.runtime import __version__

    assert tfm("--version") == (0, f"tfm {__version__}\n", "")


def test_help_loads_nothing_heavy() -> None:
    done = python(
        "import sys\n"
        "from tfm.runtime.commands.cli import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "heavy = {'numpy', 'onnxruntime', 'sentencepiece', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    assert done.returncode == 0, done.stderr
    assert all(f"  {name} " in done.stdout for name in ("run", "info", "train", "export"))


def test_the_runtime_loads_neither_torch_nor_onnx() -> None:
    done = python(
        "import sys\n"
        "import tfm.runtime.translator\n"
        "heavy = {'torch', 'onnx', 'tfm.trainer', 'tfm.export'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    assert done.returncode == 0, done.stderr


def test_a_missing_onnxruntime_names_the_extra() -> None:
    done = python(
        "import sys\n"
        "sys.modules['onnxruntime'] = None\n"
        "from tfm.runtime.device import load_onnxruntime\n"
        "load_onnxruntime()\n"
    )
    assert done.stderr.splitlines()[-1].endswith(
        "onnxruntime is not installed: pip install 'tfm[cpu]' (or 'tfm[gpu]')"
    )


@pytest.mark.parametrize(
    ("module", "extra"), [("torch", "train"), ("torch.nn", "train"), ("onnxsim", "export")]
)
def test_a_missing_module_names_the_extra(
    module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def needy() -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setitem(cli.cli.commands, "needy", needy)
    assert tfm("needy") == (
        1,
        "",
        f"Error: tfm needy needs {module}: pip install 'tfm[{extra}]'\n",
    )


def test_a_missing_module_prefers_the_extra_of_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_point: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("importlib.metadata.EntryPoint.load", fail)
    status, _, stderr = tfm("export", "--anything", "x")
    assert (status, stderr) == (
        1,
        "Error: tfm export needs torch: pip install 'tfm[export]'\n",
    )
    status, stdout, _ = tfm("--help")
    assert status == 0
    assert "not installed: needs torch" in stdout


def test_a_missing_module_of_ours_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def needy() -> None:
        raise ModuleNotFoundError("No module named 'nonsense'", name="nonsense")

    monkeypatch.setitem(cli.cli.commands, "needy", needy)
    with pytest.raises(ModuleNotFoundError):
        tfm("needy")


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX pipe")
def test_a_broken_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = (
        "from tfm.runtime import Hypothesis, Translation\n"
        "from tfm.runtime.commands import cli\n"
        "from types import SimpleNamespace\n"
        "class Echo:\n"
        "    languages = SimpleNamespace(prefixes=lambda *_: None, source='zh', target='en')\n"
        "    decoding = SimpleNamespace(beam_size=1, length_penalty=0, max_length=9)\n"
        "    config = SimpleNamespace(languages=languages, decoding=decoding)\n"
        "    choice = SimpleNamespace(variant='fp32')\n"
        "    fingerprint = 'echo'\n"
        "    def translate_batch(self, sentences, **options):\n"
        "        return [Translation(s, (Hypothesis(s, 0.0, ()),)) for s in sentences]\n"
        "cli._open_translator = lambda *args: Echo()\n"
        "cli.cli(['run', 'a', 'b'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, timeout=60
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_info_of_a_model(tmp_path: Path) -> None:
    entry = {"path": "x", "size": 500_000, "sha256": "0"}
    graphs = ("encoder", "decoder", "compact", "translate")
    variant = {**dict.fromkeys(graphs, entry), "weights": {**entry, "size": 600_000}}
    config = {
        "format_version": 3,
        "name": "little",
        "architecture": {
            "d_model": 64,
            "d_ff": 128,
            "num_heads": 2,
            "encoder_layers": 3,
            "decoder_layers": 1,
            "source_vocab_size": 100,
            "target_vocab_size": 200,
            "norm": "pre",
            "parameters": 1_250_000,
        },
        "languages": {"source": "zh", "target": "en", "tagged": "none", "tags": {}},
        "special_ids": {"bos_id": 1, "eos_id": 2, "pad_id": 3, "unk_id": 0},
        "decoding": {
            "beam_size": 4,
            "length_penalty": 1.0,
            "max_length": 256,
            "max_source_length": 512,
        },
        "tokenizer": {"source": entry, "target": entry},
        "variants": {"int8": variant, "fp32": variant},
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")

    status, stdout, _ = tfm("info", str(tmp_path))
    assert status == 0
    for part in (
        "little",
        "zh -> en",
        "3+1 layers",
        "pre-norm",
        "1.2 M",
        "2.6 MB",
        "int8 on c",
    ):
        assert part in stdout

    status, stdout, _ = tfm("info", "--json", str(tmp_path))
    facts = json.loads(stdout)
    assert facts["runs_here"]["variant"] in {"int8", "fp32"}
    assert {key: facts[key] for key in config} == config


class Dribble(io.BytesIO):
    """Gives a few bytes per read, as a slow pipe does."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self.size = size

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(self.size)


@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\n\r", codec="utf-8"))),
    size=st.integers(1, 9),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_lines_survive_any_split(lines: list[str], size: int, end: str) -> None:
    data = "".join(line + end for line in lines).encode()
    chunks = list(read_chunks(Dribble(data, size), "test"))
    assert [line for chunk in chunks for line in chunk] == lines


def test_a_line_is_there_before_the_next_is_written() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as stream, open(writer, "wb", buffering=0) as sink:
        chunks = read_chunks(stream, "test")
        sink.write(b"first\nsec")
        assert next(chunks) == ["first"]
        sink.write(b"ond\nthird")
        assert next(chunks) == ["second"]
        sink.close()
        assert list(chunks) == [["third"]]
