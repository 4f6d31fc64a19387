"""The variants of a model folder, run by the runtime."""

import dataclasses
from collections import Counter
from pathlib import Path

import torch
from helpers.models import MakeModel

from tfm.export.graphs.trace import convert
from tfm.export.model_folder import write_model_folder
from tfm.export.quantization.variants import open_to_check
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
