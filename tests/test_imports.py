"""Who may import whom, seen in fresh interpreters: the runtime stands alone."""

import os
import pkgutil
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from helpers.paths import ROOT

import tfm.runtime
import tfm.trainer


def modules_of(package: object) -> list[str]:
    path, name = package.__path__, package.__name__  # type: ignore[attr-defined]
    return [name, *(module.name for module in pkgutil.walk_packages(path, f"{name}."))]


def loaded_after(code: str) -> set[str]:
    """Names of all modules in a fresh interpreter that ran the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint('loaded', *sys.modules)"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.rsplit("loaded ", 1)[1].split())
    assert "sys" in loaded
    return loaded


def forbidden(loaded: set[str], *packages: str) -> set[str]:
    return {m for m in loaded if any(m == p or m.startswith(f"{p}.") for p in packages)}


def command(*arguments: str) -> str:
    return (
        "from tfm.runtime.commands.cli import cli\n"
        f"try: cli({list(arguments)!r})\n"
        "except SystemExit as end: assert not end.code, end.code"
    )


def test_the_runtime_loads_nothing_of_training() -> None:
    names = [name for name in modules_of(tfm.runtime) if not name.endswith("__main__")]
    assert {"tfm.runtime.translator", "tfm.runtime.sessions", "tfm.runtime.commands.cli"} < set(
        names
    )
    loaded = loaded_after(f"import {', '.join(names)}")
    assert set(names) <= loaded
    assert not forbidden(loaded, "torch", "onnx", "onnxscript", "onnxsim")
    assert not forbidden(loaded, "tfm.trainer", "tfm.export")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["info", "MODEL"], ["run", "-m", "MODEL", "好"]]
)
def test_commands_load_nothing_of_training(arguments: list[str], tiny_folder: Path) -> None:
    given = [str(tiny_folder) if a == "MODEL" else a for a in arguments]
    loaded = loaded_after(command(*given))
    assert not forbidden(loaded, "torch", "onnx", "onnxscript", "onnxsim")
    if arguments == ["--help"]:
        # Help imports the modules of every command, and nothing else of their packages.
        for package in ("tfm.trainer", "tfm.export"):
            commands = {package, *forbidden(loaded, f"{package}.commands")}
            assert forbidden(loaded, package) <= commands
    else:
        assert not forbidden(loaded, "tfm.trainer", "tfm.export")


def test_the_commands_start_without_numpy() -> None:
    """It takes longer to load than `tfm --help` does in all."""
    loaded = loaded_after("import tfm.runtime.commands.cli")
    assert not {"numpy", "onnxruntime"} & set(loaded)


def test_what_the_trainer_knows_of_the_runtime() -> None:
    names = modules_of(tfm.trainer)
    assert {"tfm.trainer.model", "tfm.trainer.train", "tfm.trainer.commands.train"} < set(names)
    loaded = loaded_after(f"import {', '.join(names)}")
    assert not forbidden(loaded, "tfm.export", "onnx", "onnxruntime")
    allowed = {f"tfm.runtime{name}" for name in ("", ".cpu", ".errors", ".subwords")}
    allowed |= forbidden(loaded, "tfm.runtime.files")
    assert forbidden(loaded, "tfm.runtime") <= allowed


def test_import_contracts() -> None:
    scripts = sysconfig.get_path("scripts")
    program = shutil.which("lint-imports", path=scripts)
    assert program is not None, f"no lint-imports in {scripts}: pip install -e '.[dev]'"
    done = subprocess.run(
        [program, "--no-cache"],
        cwd=ROOT,
        # There `tfm` is a namespace, as import-linter wants the parent of a root package to be.
        env={**os.environ, "PYTHONPATH": os.pathsep.join([".typing", ".typing/tests"])},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    assert f"{len(contracts)} kept, 0 broken" in done.stdout
    # Contracts about the library name its modules one by one: none may be left out.
    library = {
        f"tfm.runtime.{module.name}"
        for module in pkgutil.iter_modules(tfm.runtime.__path__)
        if module.name not in ("__main__", "commands", "namespace", "pyinstaller")
    }
    named = [set(c["source_modules"]) for c in contracts if "the runtime library" in c["name"]]
    assert named == [library, library]
