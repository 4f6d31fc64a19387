"""The wheel as a user has it: built, installed without torch, used."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
from helpers.numerals import chinese, english
from helpers.paths import ROOT

from tfm.runtime.bundled import BUNDLED_MODELS

SOURCES = (
    *("export", "models", "runtime", "trainer"),
    *("pyproject.toml", "README.md", "LICENSE"),
)
GRAPHS = ("translate", "greedy", "score", "encoder", "decoder", "compact")
# What needs an extra.
DRAWING = ("tfm.runtime.explain.fonts", "tfm.runtime.explain.picture")
SERVING = "tfm.runtime.serve."
TORCHLESS = ("torch", "onnx", "onnxscript", "onnxsim", "safetensors", "sacrebleu")


def call(
    *command: str | Path, cwd: Path | None = None, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "TFM_MODEL")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        input=stdin,
        env={**environment, "PYTHONUTF8": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )


def package_files(pattern: str) -> set[str]:
    """Files of the packages, relative to the folder of `tfm`."""
    return {
        path.relative_to(ROOT).as_posix().removeprefix("runtime/namespace/")
        for package in ("export", "models", "runtime", "trainer")
        for path in (ROOT / package).rglob(pattern)
    }


class Environment:
    """A fresh virtual environment that holds the wheel and what `tfm[cpu]` asks for."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.wheel, self.away = wheel, folder
        venv.create(folder / "venv", with_pip=True)
        scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self.python, self.program = scripts / "python", scripts / "tfm"
        pip = [self.python, "-m", "pip", "install", "--quiet", "--no-compile"]
        constraints = ROOT / "constraints.txt"
        pinned = ["-c", constraints] if constraints.exists() else []
        done = call(*pip, f"tfm[cpu] @ {wheel.as_uri()}", *pinned)
        assert done.returncode == 0, done.stderr

    def tfm(self, *arguments: str | Path, stdin: str | None = None) -> tuple[int, str, str]:
        done = call(self.program, *arguments, cwd=self.away, stdin=stdin)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, because the build writes beside its sources; and only what the wheel is made of.
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, folder / "source" / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder]
    done = call(*build, folder / "source")
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("tfm-*.whl")
    return Environment(folder, wheel)


def test_what_is_installed(environment: Environment) -> None:
    done = call(environment.python, "-m", "pip", "list", "--format", "json")
    names = {package["name"].lower() for package in json.loads(done.stdout)}
    assert {"tfm", "onnxruntime", "numpy", "sentencepiece", "click"} <= names
    assert not names & set(TORCHLESS)


def test_the_wheel_is_as_small_as_promised(environment: Environment) -> None:
    assert environment.wheel.stat().st_size < 25e6


def test_the_wheel_holds_only_what_users_need(environment: Environment) -> None:
    """No recipes, no model card beside the model, no benchmark, no tests."""
    names = ZipFile(environment.wheel).namelist()
    files = {name for name in names if not name.startswith("tfm-")}
    modules = {f"tfm/{path}" for path in package_files("*.py") | package_files("py.typed")}
    assert files >= modules
    assert files - modules == {f"tfm/{path}" for path in package_files("*/assets/*")} | {
        f"tfm/models/{model}/{name}"
        for model in BUNDLED_MODELS
        for name in (
            *("config.json", "checkpoint.json", "verify.json", "source.spm", "target.spm"),
            *(f"int8/{graph}.onnx" for graph in GRAPHS),
            "int8/weights.bin",
        )
    }


def test_every_runtime_module_imports(environment: Environment) -> None:
    """But for those that draw or serve, which need the extras `explain` and `serve`."""
    code = (
        "import importlib, pkgutil, tfm.runtime\n"
        "names = [m.name for m in pkgutil.walk_packages(tfm.runtime.__path__, 'tfm.runtime.')]\n"
        "for name in names:\n"
        "    if not (\n"
        f"        name.endswith('__main__') or name in {DRAWING} or name.startswith({SERVING!r})\n"
        "    ):\n"
        "        importlib.import_module(name)\n"
        "print(tfm.runtime.__file__, *names, sep='\\n')\n"
    )
    done = call(environment.python, "-c", code, cwd=environment.away)
    assert done.returncode == 0, done.stderr
    file, *names = done.stdout.splitlines()
    assert Path(file).is_relative_to(environment.away)
    assert set(names) == {
        ".".join(("tfm", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for path in (ROOT / "runtime").rglob("*.py")
        if path.parent.name not in {"namespace", "hooks"}
    } - {"tfm.runtime"}


def test_the_package_itself(environment: Environment) -> None:
    code = "import tfm; print(tfm.__version__)"
    version = call(environment.python, "-c", code, cwd=environment.away)
    (number,) = version.stdout.split()
    command = call(environment.python, "-m", "tfm", "--version", cwd=environment.away)
    assert (version.stderr, command.stdout, command.stderr) == ("", f"tfm {number}\n", "")
    # A folder of the same name, such as a checkout, does not hide it.
    (environment.away / "elsewhere" / "tfm").mkdir(parents=True)
    again = call(environment.python, "-c", code, cwd=environment.away / "elsewhere")
    assert again.stdout == version.stdout


def test_run(environment: Environment, toy_model: Path) -> None:
    numbers = [3052, 1234, 9000]
    stdin = "".join(f"{chinese(n)}\n" for n in numbers)
    found = environment.tfm("run", "-m", toy_model, "--beam-size", "1", stdin=stdin)
    assert found == (0, "".join(f"{english(n)}\n" for n in numbers), "")


def test_explain(environment: Environment, toy_model: Path) -> None:
    """A page needs nothing more than what runs; a picture says what it needs."""
    explain = "explain", chinese(3052), "-m", toy_model, "--beam-size", "1", "-o"
    status, stdout, stderr = environment.tfm(*explain, "page.html")
    assert (status, stdout, stderr) == (0, "", f"wrote page.html: {english(3052)}\n")
    assert (environment.away / "page.html").read_text("utf-8").startswith("<!doctype html>")
    status, stdout, stderr = environment.tfm(*explain, "page.png")
    assert (status, stdout) == (1, "")
    assert stderr.startswith("Error: tfm explain needs matplotlib: pip install 'tfm[explain]'")
    assert stderr.count("\n") == 1


def test_help_and_info(environment: Environment, toy_model: Path) -> None:
    status, stdout, stderr = environment.tfm("--help")
    assert (status, stderr) == (0, "")
    names = (
        "run",
        "info",
        "train",
        "import",
        "export",
        "evaluate",
        "convert",
        "experiments",
    )
    assert all(f"  {name} " in stdout for name in names)
    assert "  bench" not in stdout
    status, stdout, _ = environment.tfm("info", toy_model)
    assert status == 0
    assert "int8 on cpu" in stdout


@pytest.mark.parametrize(
    "command", ["train", "import", "export", "evaluate", "convert", "experiments", "serve"]
)
def test_what_to_install(environment: Environment, toy_model: Path, command: str) -> None:
    arguments = {
        "train": [toy_model / "config.json", "--out", environment.away / "checkpoint"],
        "export": [toy_model, environment.away / "model"],
        "evaluate": [toy_model / "config.json"],
        "experiments": [toy_model / "config.json", "--out", environment.away / "study"],
        "import": [toy_model, environment.away / "checkpoint"],
        "convert": [toy_model, environment.away / "model", "--to", "ctranslate2"],
        "serve": ["--port", "0"],
    }[command]
    status, stdout, stderr = environment.tfm(command, *arguments)
    assert (status, stdout) == (1, "")
    assert stderr.startswith(f"Error: tfm {command} needs ")
    assert "pip install 'tfm[" in stderr
    assert stderr.count("\n") == 1
    assert not (environment.away / "checkpoint").exists()
    assert not (environment.away / "model").exists()


@pytest.mark.skipif(
    not (ROOT / "models" / "zh-en" / "config.json").exists(), reason="no bundled model yet"
)
def test_the_bundled_model(environment: Environment) -> None:
    status, stdout, stderr = environment.tfm("run", "我爱你。")
    assert (status, stderr) == (0, "")
    assert "love you" in stdout
    assert stdout.count("\n") == 1
