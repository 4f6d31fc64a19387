"""What a training step has to compute, and what a device could: model FLOPs utilization
(MFU, Chowdhery et al. 2022, appendix B)."""

import re

import numpy as np
import torch
from numpy.typing import NDArray

from .config import TransformerConfig

# Dense matrix products in bf16 with float sums, 10^12 FLOP/s, as NVIDIA's datasheets state them.
# The first that the device's name has as whole words counts.
BF16_PEAKS = {
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "H200": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
}


def training_flops(
    config: TransformerConfig, source_lengths: NDArray[np.int64], target_lengths: NDArray[np.int64]
) -> int:
    """FLOPs of the matrix products of a training step, a multiplication and an addition being two.

    Padding is not counted, for it is no use; nor is what a mask hides left out. Forward once, and
    backward twice as much: the gradients by the inputs and by the weights.

    Args:
        source_lengths: [N] tokens that the encoder reads
        target_lengths: [N] tokens that the decoder reads, and predicts
    """
    d, vocab_size = config.d_model, config.target_vocab_size
    source, target = source_lengths.astype(np.int64), target_lengths.astype(np.int64)
    sources, targets = int(source.sum()), int(target.sum())
    feed_forward = 2 * d * config.d_ff  # multiplications per token
    encoder = sources * (4 * d * d + feed_forward) + 2 * d * int((source * source).sum())
    # The decoder's queries and outputs are of the target, its cross-attention's keys and values
    # of the source. What knows of earlier tokens are four matrices and attention, or two.
    recurrent = config.decoder_autoregression == "ssru"
    decoder = targets * ((4 if recurrent else 6) * d * d + feed_forward) + sources * 2 * d * d
    decoder += 2 * d * int((target * source).sum())
    if not recurrent:
        decoder += 2 * d * int((target * target).sum())
    products = config.encoder_layers * encoder + config.decoder_layers * decoder
    return 3 * 2 * (products + targets * d * vocab_size)


def peak_tflops(device: torch.device, precision: str) -> float | None:
    """What the device could do in this precision, 10^12 FLOP/s; None if it is not known here."""
    if device.type != "cuda" or precision != "bf16":
        return None
    name = torch.cuda.get_device_name(device)
    return next(
        (peak for part, peak in BF16_PEAKS.items() if re.search(rf"\b{part}\b", name)), None
    )
