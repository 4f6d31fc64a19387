"""What all commands share: commands of other packages, and how errors end."""

from importlib.metadata import entry_points

import click
import pytest
from helpers.command import python, tfm

from tfm.runtime.commands.cli import cli


def test_version() -> None:
    from tfm.runtime import __version__

    assert tfm("--version") == (0, f"tfm {__version__}\n", "")


def test_a_missing_onnxruntime_names_the_extra() -> None:
    done = python(
        "import sys\n"
        "sys.modules['onnxruntime'] = None\n"
        "from tfm.runtime.device import load_onnxruntime\n"
        "load_onnxruntime()\n"
    )
    assert done.stderr.splitlines()[-1].endswith(
        "onnxruntime is not installed: pip install 'tfm[cpu]' (or 'tfm[gpu]'),"
        " in the checkout with -c constraints.txt"
    )


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("torch", "train"),
        ("torch.nn", "train"),
        ("onnxsim", "export"),
        ("markdown_it", "documents"),  # of the distribution markdown-it-py
        ("python_multipart", "serve"),
    ],
)
def test_a_missing_module_names_the_extra(
    module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def needy() -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setitem(cli.commands, "needy", needy)
    assert tfm("needy") == (
        1,
        "",
        f"Error: tfm needy needs {module}: pip install 'tfm[{extra}]'"
        " (in the checkout with -c constraints.txt)\n",
    )


def test_a_missing_module_prefers_the_extra_of_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_point: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    # Not always Python's own class: the package importlib_metadata exchanges it.
    kinds = {type(point) for point in entry_points(group="tfm.commands")}
    for kind in kinds:
        monkeypatch.setattr(kind, "load", fail)
    status, _, stderr = tfm("export", "--anything", "x")
    assert (status, stderr) == (
        1,
        "Error: tfm export needs torch: pip install 'tfm[export]'"
        " (in the checkout with -c constraints.txt)\n",
    )
    status, stdout, _ = tfm("--help")
    assert status == 0
    assert "not installed: needs torch" in stdout


def test_a_missing_module_of_ours_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def needy() -> None:
        raise ModuleNotFoundError("No module named 'nonsense'", name="nonsense")

    monkeypatch.setitem(cli.commands, "needy", needy)
    with pytest.raises(ModuleNotFoundError):
        tfm("needy")
