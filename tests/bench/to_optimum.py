"""Converts a model of transformers to optimum's ONNX graphs, float32 and int8."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_optimum(marian: Path, folder: Path) -> None:
    """Convert a saved Marian model to optimum's three ONNX graphs, float32."""
    from optimum.onnxruntime import ORTModelForSeq2SeqLM

    with _quiet():
        converted = ORTModelForSeq2SeqLM.from_pretrained(marian, export=True, use_merged=False)
        converted.save_pretrained(folder)


def quantize_optimum(folder: Path, quantized: Path) -> None:
    """Quantize optimum's graphs as its guide says: int8, dynamic, per channel, for AVX512-VNNI."""
    from optimum.onnxruntime import AutoQuantizationConfig, ORTQuantizer

    recipe = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
    with _quiet():
        for graph in sorted(folder.glob("*.onnx")):
            quantizer = ORTQuantizer.from_pretrained(folder, file_name=graph.name)
            quantizer.quantize(save_dir=quantized, quantization_config=recipe)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporters' warnings and log messages."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
