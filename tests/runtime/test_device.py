"""Which variant runs where."""

import logging
from types import SimpleNamespace

import pytest

from tfm.runtime import device
from tfm.runtime.batching import batches
from tfm.runtime.device import choose
from tfm.runtime.errors import ModelError

CPU = ["CPUExecutionProvider"]
CUDA = ["CUDAExecutionProvider", "CPUExecutionProvider"]
ALL = ["fp16", "fp32", "int8"]


@pytest.mark.parametrize(
    ("variants", "providers", "device", "variant", "expected"),
    [
        (ALL, CPU, "auto", None, ("cpu", "int8")),
        (ALL, CUDA, "auto", None, ("cuda", "fp16")),
        (ALL, CUDA, "cpu", None, ("cpu", "int8")),
        (["fp16", "fp32"], CPU, "auto", None, ("cpu", "fp32")),
        (["int4", "fp32"], CPU, "auto", None, ("cpu", "int4")),
        (ALL, CUDA, "auto", "fp16", ("cuda", "fp16")),
        (["fp32", "int8"], CUDA, "cuda", None, ("cuda", "fp32")),
        (["int8"], CUDA, "auto", None, ("cpu", "int8")),
        (ALL, CUDA, "auto", "int8", ("cpu", "int8")),
        (ALL, CUDA, "auto", "fp32", ("cuda", "fp32")),
        (ALL, CPU, "cpu", "fp32", ("cpu", "fp32")),
    ],
)
def test_choice(
    variants: list[str],
    providers: list[str],
    device: str,
    variant: str | None,
    expected: tuple[str, str],
) -> None:
    choice = choose(variants, providers, device=device, variant=variant)
    assert (choice.device, choice.variant) == expected
    assert choice.reason


def test_no_cuda_in_onnxruntime() -> None:
    with pytest.raises(ModelError, match=r"needs onnxruntime-gpu.*pip install 'tfm\[gpu\]'"):
        choose(ALL, CPU, device="cuda")


def test_int8_alone_is_not_for_cuda() -> None:
    with pytest.raises(ModelError, match="this model has int8, `tfm export --variant fp32`"):
        choose(["int8"], CUDA, device="cuda")


def test_fp16_alone_is_not_for_a_cpu() -> None:
    with pytest.raises(ModelError, match="device 'cpu': this model has fp16, `tfm export"):
        choose(["fp16"], CPU)


@pytest.mark.parametrize(
    ("providers", "device", "variant", "better"),
    [
        (CUDA, "cuda", "int8", "int8 does not run well on cuda: .*; choose one of fp16, fp32$"),
        (CUDA, "cpu", "fp16", "fp16 does not run well on cpu: .*; choose one of int8, int4, fp32$"),
        (CPU, "auto", "fp16", "fp16 does not run well on cpu: .*; choose one of int8, int4, fp32$"),
    ],
)
def test_a_variant_that_does_not_suit_the_device_is_refused(
    providers: list[str], device: str, variant: str, better: str
) -> None:
    with pytest.raises(ModelError, match=better):
        choose(ALL, providers, device=device, variant=variant)


def test_an_unknown_variant_names_the_known() -> None:
    with pytest.raises(ModelError, match="no variant 'int4': this model has fp16, fp32, int8"):
        choose(ALL, CPU, variant="int4")


def test_an_unknown_device() -> None:
    with pytest.raises(ValueError, match="device is 'tpu': expected one of auto, cpu, cuda"):
        choose(ALL, CPU, device="tpu")


def test_batches_keep_to_the_budget_longest_first() -> None:
    lengths = [3, 50, 1, 3, 9, 2]
    assert list(batches(lengths, 10)) == [[1], [4], [0, 3, 5], [2]]
    assert list(batches([], 10)) == []
    assert list(batches([5, 5], 0)) == [[0], [1]]


def test_libraries_that_pip_installed_are_loaded_once_and_in_silence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = []

    def preload_dlls() -> None:
        calls.append(1)
        print("Failed to load libcudnn.so.9")

    monkeypatch.setattr(
        device, "load_onnxruntime", lambda: SimpleNamespace(preload_dlls=preload_dlls)
    )
    device._preload_cuda.cache_clear()
    with caplog.at_level(logging.DEBUG):
        device.preload_cuda()
        device.preload_cuda()
    assert (calls, capsys.readouterr().out) == ([1], "")
    assert "Failed to load libcudnn.so.9" in caplog.text
    device._preload_cuda.cache_clear()
    monkeypatch.setattr(device, "load_onnxruntime", SimpleNamespace)  # before 1.21
    device.preload_cuda()
    device._preload_cuda.cache_clear()
