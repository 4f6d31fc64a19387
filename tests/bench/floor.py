"""The least time that decoding can take on this machine: its products, and nothing else.

A product with a weight takes as long as reading the weight or as multiplying, whichever is longer,
at the speeds that one thread of this machine reaches (speeds.py); the floor is the sum over all
products that ran.
"""

from collections.abc import Iterable, Sequence

from .products import Product
from .speeds import Speeds


def floor_seconds(products: Iterable[Product], speeds: Speeds) -> float:
    """CPU seconds of all products, at the machine's speeds."""
    return sum(product.count * _seconds(product, speeds) for product in products)


def _seconds(product: Product, speeds: Speeds) -> float:
    multiplying = product.multiply_adds / (speeds.integer if product.is_integer else speeds.real)
    return max(product.weight_bytes / speeds.bytes_per_s, multiplying)


def working_set(products: Sequence[Product]) -> int:
    """Bytes of all weights that a step of decoding reads; without a loop, of all weights."""
    looped = [product for product in products if product.in_loop]
    return sum({p.node: p.weight_bytes for p in looped or products}.values())
