"""What other tools have no part for."""

from tfm.export.errors import ExportError
from tfm.trainer.config import TransformerConfig


def refuse_recurrent(config: TransformerConfig, tool: str) -> None:
    """Raise ExportError where the decoder has SSRU, which a tool does not know."""
    if config.decoder_autoregression == "ssru":
        raise ExportError(
            f"{tool} has no SSRU decoders, and this model's decoder_autoregression is 'ssru': "
            "convert a model whose decoder has attention"
        )
