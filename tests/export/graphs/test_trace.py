"""The converted graphs have the inputs and outputs that the other graphs are built on."""

from helpers.signatures import FLOAT, INT64, caches, encoder_outputs, signature

from tfm.export.graphs.trace import Graphs
from tfm.trainer.model import Transformer

LAYERS = 2


def test_signatures(converted: tuple[Transformer, Graphs]) -> None:
    model, graphs = converted
    heads, d_model = model.config.num_heads, model.config.d_model
    sizes = (LAYERS, heads, d_model // heads)
    encoder, decoder = graphs.encoder.graph, graphs.decoder.graph
    memory = encoder_outputs(*sizes)
    assert signature(encoder.input) == [("source_ids", INT64, ["B", "S"])]
    assert signature(encoder.output) == memory
    assert signature(decoder.input) == [
        ("target_ids", INT64, ["B", "K"]),
        ("position_encoding", FLOAT, [1, d_model]),
        ("ancestry", FLOAT, ["B", 1, "K", "E + K"]),
        *caches("past", *sizes),
        *memory[:-1],
        ("source_bias", FLOAT, ["B", 1, "K", "S"]),
    ]
    assert signature(decoder.output) == [
        ("logits", FLOAT, ["N", model.config.target_vocab_size]),
        *caches("present", *sizes),
    ]
