"""Which heads of cross-attention align words: part of config.json, so without numpy, which would
slow down every command."""

from dataclasses import dataclass, field

from .errors import ModelError
from .files.schema import limited, limits


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentHeads:
    """The heads of cross-attention whose mean aligns words best, all of one decoder layer.

    `from_next_step`: a token's alignment is what the step looks at that reads it, not the one that
    writes it (Chen et al. 2020, accurate word alignment induction).
    """

    layer: int = limited(low=0)
    heads: tuple[int, ...] = field(metadata=limits(low=0))
    from_next_step: bool = False

    def check(self, decoder_layers: int, num_heads: int) -> None:
        """Raise ModelError where a decoder does not have these heads."""
        if self.layer >= decoder_layers:
            raise ModelError(
                f"alignment.layer is {self.layer}: the decoder has layers 0 to {decoder_layers - 1}"
            )
        if not self.heads or max(self.heads) >= num_heads:
            raise ModelError(
                f"alignment.heads is {list(self.heads)}: at least one of 0 to {num_heads - 1} is"
                " needed"
            )


def default_heads(decoder_layers: int, num_heads: int) -> AlignmentHeads:
    """For models whose export did not choose: all heads of the last layer but one, or, of a decoder
    with few layers, of the last."""
    layer = decoder_layers - 1 if decoder_layers < 4 else decoder_layers - 2
    return AlignmentHeads(layer=layer, heads=tuple(range(num_heads)))
