"""The variants of a model folder, run by the runtime."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from helpers.models import MakeModel

from tfm.export.graphs.trace import Graphs, convert
from tfm.export.model_folder import write_model_folder
from tfm.export.quantization.variants import open_to_check
from tfm.runtime.config import ModelConfig
from tfm.runtime.options import DecodingOptions
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer


def test_no_variant_writes_a_forbidden_token(
    make_model: MakeModel, tiny_vocabulary: Vocabulary, tmp_path: Path
) -> None:
    processor = tiny_vocabulary.source
    sizes = {
        "source_vocab_size": processor.vocab_size(),
        "target_vocab_size": processor.vocab_size(),
    }
    shape = {"d_model": 32, "d_ff": 64, "num_heads": 4, "encoder_layers": 1, "decoder_layers": 2}
    free = make_model(seed=2, eos_scale=3.0, eos_bonus=0.5, **sizes, **shape)
    sources = [[*range(i, i + 5), free.config.eos_id] for i in range(10, 200, 9)]
    written = Counter(i for row in free.greedy(torch.tensor(sources), 12) for i in row)
    (common, count), *_ = written.most_common(1)
    assert count > 10
    model = Transformer(dataclasses.replace(free.config, suppress_ids=(common,))).eval()
    model.load_state_dict(free.state_dict())
    expected = model.greedy(torch.tensor(sources), 12)
    assert expected != free.greedy(torch.tensor(sources), 12)
    vocabulary, variants = Vocabulary(processor, processor), ("fp32", "int8", "fp16")
    write_model_folder(model, vocabulary, convert(model), tmp_path, variants, "forbidding")
    for variant in variants:
        translator = open_to_check(tmp_path, variant)
        for beam_size in (1, 4):
            outputs = translator.translate_ids(sources, beam_size=beam_size, max_length=12)
            assert not any(common in hypotheses[0].ids for hypotheses in outputs), variant
            if (variant, beam_size) == ("fp32", 1):
                assert [list(hypotheses[0].ids) for hypotheses in outputs] == expected


def test_the_models_own_options_are_the_graphs_defaults(
    tiny_model: Transformer, tiny_vocabulary: Vocabulary, tiny_graphs: Graphs, tmp_path: Path
) -> None:
    options = DecodingOptions(beam_size=2, num_hypotheses=2, max_length=7, length_penalty=0.5)
    write_model_folder(
        tiny_model, tiny_vocabulary, tiny_graphs, tmp_path, ("fp32",), "own", options=options
    )
    assert ModelConfig.load(tmp_path).decoding == options
    session = onnxruntime.InferenceSession(
        tmp_path / "fp32" / "translate.onnx", providers=["CPUExecutionProvider"]
    )
    explicit = {
        "beam_size": np.array(2),
        "num_hypotheses": np.array(2),
        "max_length": np.array(7),
        "length_penalty": np.array(0.5, np.float32),
    }
    source = {"source_ids": np.array([[20, 21, 22, tiny_model.config.eos_id]])}
    expected = session.run(None, {**source, **explicit})
    for actual, array in zip(session.run(None, source), expected, strict=True):
        np.testing.assert_array_equal(actual, array)
    assert expected[0].shape[1] == 2
    wider = session.run(None, {**source, **explicit, "beam_size": np.array(4)})
    longer = session.run(None, {**source, **explicit, "max_length": np.array(30)})
    assert not np.array_equal(wider[2], expected[2]) or longer[1].max() > expected[1].max()
