"""transformers computes and translates the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import foreign
from helpers.conversion import SENTENCES, convert, save
from helpers.foreign import Foreign
from helpers.models import MakeModel

from tfm.export.errors import ExportError
from tfm.export.formats.transformers import FILLED, write_transformers
from tfm.runtime import Translator
from tfm.trainer import checkpoint as files
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.importing.hugging_face import import_folder
from tfm.trainer.model import Transformer


def logits(theirs: Any, source_ids: torch.Tensor, target_ids: torch.Tensor, pad_id: int) -> Any:
    with torch.no_grad():
        return theirs(
            input_ids=source_ids,
            attention_mask=(source_ids != pad_id).long(),
            decoder_input_ids=target_ids,
        ).logits


@pytest.mark.parametrize("activation", ["relu", "swish", "gelu"])
@pytest.mark.parametrize("tied", ["none", "target", "all"])
@pytest.mark.parametrize("sizes", [(50, 70), (70, 50)])
def test_marian_is_the_same_function(
    make_model: MakeModel, tied: str, activation: str, sizes: tuple[int, int], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    source, target = (70, 70) if tied == "all" else sizes
    model = make_model(
        source_vocab_size=source, target_vocab_size=target, d_model=32, d_ff=64,
        num_heads=4, encoder_layers=2, decoder_layers=3, tied_embeddings=tied,
        activation=activation,
    )  # fmt: skip
    write_transformers(model, tmp_path / "marian", None)
    marian = transformers.MarianMTModel.from_pretrained(tmp_path / "marian").eval()
    source_ids = torch.tensor([[5, 9, 40, 3], [8, 3, 0, 0]])
    target_ids = torch.tensor([[2, 7, 12, 30, 6], [2, 20, 21, 22, 23]])
    with torch.no_grad():
        expected = model(source_ids, target_ids)
    found = logits(marian, source_ids, target_ids, pad_id=0)
    torch.testing.assert_close(found[:, :, :target], expected, atol=1e-4, rtol=1e-4)
    assert (found[:, :, target:] < FILLED / 2).all()


def test_marian_reads_and_writes_the_same_text(
    tiny_model: Transformer, tiny_vocabulary: Vocabulary, tiny_folder: Path, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    checkpoint = save(tiny_model, tiny_vocabulary, tmp_path / "checkpoint")
    out = tmp_path / "marian"
    result = convert(checkpoint, out, "--to", "transformers")
    assert result.exit_code == 0, result.output
    tokenizer = foreign._quietly(transformers.MarianTokenizer.from_pretrained, out)
    marian = foreign._quietly(transformers.MarianMTModel.from_pretrained, out).eval()
    expected = foreign.generate(Foreign(out, marian, tokenizer, {}, {}), SENTENCES, 4, 20)
    found = Translator(tiny_folder, variant="fp32").translate_batch(
        SENTENCES, beam_size=4, max_length=20
    )
    assert [list(t.hypotheses[0].tokens) for t in found] == expected
    texts = [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in expected]
    assert [t.text for t in found] == texts
    assert len({len(ids) for ids in expected}) > 2


@pytest.mark.parametrize("kind", ["marian", "m2m100", "nllb"])
def test_what_was_imported_goes_back_as_it_was(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    given = getattr(foreign, kind)(tmp_path / "theirs")
    model = import_folder(given.folder, tmp_path / "checkpoint", None, None)
    with torch.no_grad():  # as fine-tuning changes it
        model.decoder_layers[0].feed_forward.inner.weight.add_(0.1)
        theirs = given.model.model.decoder.layers[0].fc1.weight.add_(0.1)
    weights = files.weights_of(model)
    files.write_weights(tmp_path / "checkpoint" / files.MODEL, weights)
    out = tmp_path / "back"
    assert convert(tmp_path / "checkpoint", out, "--to", "transformers").exit_code == 0
    for path in given.folder.iterdir():
        if path.name != files.MODEL:
            assert (out / path.name).read_bytes() == path.read_bytes()
    back = foreign._quietly(type(given.model).from_pretrained, out).eval()
    assert torch.equal(back.model.decoder.layers[0].fc1.weight, theirs)
    batch = given.tokenizer(SENTENCES, return_tensors="pt", padding=True)
    target_ids = torch.tensor([[*model.config.target_prefix, 5, 6, 7]] * len(SENTENCES))
    pad_id = model.config.pad_id
    found = logits(back, batch.input_ids, target_ids, pad_id)
    expected = logits(given.model, batch.input_ids, target_ids, pad_id)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    again = import_folder(out, tmp_path / "again", None, None)
    assert all(torch.equal(a, files.weights_of(again)[n]) for n, a in weights.items())


def test_what_transformers_cannot_compute(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(source_vocab_size=50, target_vocab_size=60, d_model=32, norm="pre")
    with pytest.raises(ExportError, match="Marian's is post-norm, this one is pre-norm"):
        write_transformers(model, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()
