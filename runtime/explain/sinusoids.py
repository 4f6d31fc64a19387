"""Places in a sentence as sines and cosines, as the model adds them to its embeddings.

Vaswani et al. 2017, attention is all you need, section 3.5.
"""

import numpy as np
from numpy.typing import NDArray

LONGEST_WAVE = 10000.0  # times 2 pi, in tokens


def sinusoids(
    count: int, d_model: int, kind: str = "paper", first_position: int = 0
) -> NDArray[np.float32]:
    """The position encodings of the first `count` tokens, [count, d_model].

    Args:
        kind: "paper": a sine and a cosine in turn; "marian": all sines before all cosines;
            "fairseq": so too, and the last wave is the longest one
        first_position: what the first token stands at
    """
    half = d_model // 2
    last = half - 1 if kind == "fairseq" else half
    frequencies = LONGEST_WAVE ** (-np.arange(half) / last)
    angles = (np.arange(count) + first_position)[:, None] * frequencies  # [count, half]
    pair = np.sin(angles), np.cos(angles)
    if kind == "paper":
        return np.stack(pair, axis=2).reshape(count, -1).astype(np.float32)
    return np.concatenate(pair, axis=1).astype(np.float32)
