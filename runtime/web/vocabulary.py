"""Whether a SentencePiece model is one that the page segments: web/assets/sentencepiece.js."""

from pathlib import Path

from tfm.runtime.errors import ModelError
from tfm.runtime.subwords import MARKER


def check_vocabulary(path: Path, model: Path) -> None:
    """Raise ModelError, which names the model, where it is none."""
    # Here, because it loads protobuf, which few need.
    from google.protobuf.message import DecodeError
    from sentencepiece.sentencepiece_model_pb2 import (  # type: ignore[attr-defined]
        ModelProto,
        TrainerSpec,
    )

    try:
        proto = ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise ModelError(f"{model}: {path.name} is not a SentencePiece model") from error
    trained = proto.trainer_spec
    if trained.model_type != TrainerSpec.UNIGRAM or trained.treat_whitespace_as_suffix:
        raise ModelError(
            f"{model}: {path.name} is not a unigram model with spaces before words, and only such"
            " are segmented in the browser"
        )
    if any(piece.piece == MARKER for piece in proto.pieces):
        raise ModelError(
            f"{model}: {path.name} has tokens of another program, which the browser cannot segment"
        )
