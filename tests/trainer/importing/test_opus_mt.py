"""opus-mt-zh-en's own configuration and vocabulary, with random weights, on real sentences."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import foreign
from helpers.foreign import Foreign
from helpers.paths import SHARED_DATA

from tfm.export.graphs.trace import convert
from tfm.export.model_folder import write_model_folder
from tfm.runtime import Translator
from tfm.trainer.checkpoint import load_checkpoint
from tfm.trainer.importing.hugging_face import import_folder

pytest.importorskip("transformers")

DATA = SHARED_DATA
STEPS = 24

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is not here"),
]


@pytest.fixture(scope="module")
def opus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Foreign, Path]]:
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    base = tmp_path_factory.mktemp("opus")
    given = DATA / "opus-mt-zh-en"
    config = MarianConfig.from_pretrained(given)
    config.init_std = 0.1
    torch.manual_seed(0)
    model = foreign._shaken(MarianMTModel(config), eos_bonus=14.0)
    with torch.no_grad():  # attention that looks at something, or all sentences say the same
        for layer in (*model.model.encoder.layers, *model.model.decoder.layers):
            layer.self_attn.q_proj.weight.mul_(5.0)
    model.final_logits_bias.normal_(0, 0.5)
    model.generation_config.forced_eos_token_id = None  # else it writes EOS at the limit
    foreign._quietly(model.save_pretrained, base / "theirs")
    for name in ("source.spm", "target.spm", "vocab.json", "tokenizer_config.json"):
        shutil.copy(given / name, base / "theirs" / name)
    tokenizer = foreign._quietly(MarianTokenizer.from_pretrained, base / "theirs")
    import_folder(base / "theirs", base / "checkpoint", None, None)
    imported, vocabulary = load_checkpoint(base / "checkpoint")
    (base / "model").mkdir()
    graphs = convert(imported)
    write_model_folder(imported, vocabulary, graphs, base / "model", ("fp32",), "opus")
    yield Foreign(base / "theirs", model, tokenizer, {}, {}), base / "model"
    shutil.rmtree(base)  # more than a gigabyte


@pytest.mark.parametrize("beam_size", [1, 4])
def test_two_hundred_real_sentences(opus: tuple[Foreign, Path], beam_size: int) -> None:
    given, folder = opus
    lines = (DATA / "zh-en" / "test.tsv").read_text("utf-8").splitlines()[::8][:200]
    sentences = [line.split("\t")[0] for line in lines]
    assert len(sentences) == 200
    by_length = sorted(range(200), key=lambda i: len(sentences[i]))
    expected: list[list[int]] = [[]] * 200
    for start in range(0, 200, 20):
        chosen = by_length[start : start + 20]
        found = foreign.generate(given, [sentences[i] for i in chosen], beam_size, STEPS)
        for i, ids in zip(chosen, found, strict=True):
            expected[i] = ids
    translations = Translator(folder).translate_batch(
        sentences, beam_size=beam_size, max_length=STEPS
    )
    assert [list(t.hypotheses[0].tokens) for t in translations] == expected
    assert 0 < sum(len(ids) < STEPS for ids in expected) < 200
    assert len({i for ids in expected for i in ids}) > 9
