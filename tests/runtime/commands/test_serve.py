"""`tfm serve` before it serves; tests/runtime/serve has the rest."""

import sys

import pytest
from helpers.command import tfm


@pytest.mark.parametrize(
    "module", ["starlette", "uvicorn", "prometheus_client", "python_multipart"]
)
def test_what_to_install(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    status, stdout, stderr = tfm("serve", "--port", "0")
    assert (status, stdout, stderr.count("\n")) == (1, "", 1)
    assert stderr.startswith(f"Error: tfm serve needs {module}: pip install 'tfm[serve]'")


def test_help_names_the_apis() -> None:
    status, stdout, _ = tfm("serve", "--help")
    assert status == 0
    for name in (
        "LibreTranslate",
        "DeepL",
        "--char-limit",
        "--api-keys",
        "--beam-size",
        "TFM_MODEL",
    ):
        assert name in stdout
    assert "--num-hypotheses" not in stdout
