"""`tfm explain`: what the model does with one sentence, as a page or a picture."""

from .facts import Explanation, explain
from .output import write_explanation

__all__ = ["Explanation", "explain", "write_explanation"]
