"""How fast one thread of this machine reads memory and multiplies."""

from dataclasses import dataclass

import numpy as np

from .clock import cpu_seconds
from .products import Product, seconds_alone

ROWS, INNER, COLUMNS = 512, 1024, 1024  # of a product that memory does not slow down


@dataclass(frozen=True, slots=True)
class Speeds:
    """Of one thread.

    Attributes:
        bytes_per_s: reading as many bytes as `working_set` again and again
        working_set: bytes
        integer, real: multiply-adds per second in a large product, int8 and float32
    """

    bytes_per_s: float
    working_set: int
    integer: float
    real: float


def measure_speeds(working_set: int) -> Speeds:
    """Measure them, which takes about a second.

    Args:
        working_set: bytes; their number decides which cache holds them, or that none does
    """
    return Speeds(
        bytes_per_s=_read_speed(working_set),
        working_set=working_set,
        integer=_product_speed("MatMulIntegerToFloat"),
        real=_product_speed("MatMul"),
    )


def _read_speed(size: int) -> float:
    """Bytes per second: numpy finds the largest of many integers as fast as it reads them."""
    numbers = np.ones(max(1, size // 8), np.int64)
    return numbers.nbytes / cpu_seconds(numbers.max)


def _product_speed(operator: str) -> float:
    product = Product("", operator, ROWS, INNER, COLUMNS, count=1)
    return product.multiply_adds / seconds_alone([product])
