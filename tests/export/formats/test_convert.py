"""`tfm convert`: other engines compute and translate the same."""

import shutil
from pathlib import Path
from typing import Any

import ctranslate2
import pytest
import torch
from click.testing import CliRunner, Result
from helpers import foreign
from helpers.foreign import Foreign
from helpers.models import MakeModel
from helpers.numerals import LARGEST, chinese

from tfm.export.errors import ExportError
from tfm.export.formats.ctranslate2 import write_ctranslate2
from tfm.export.formats.transformers import FILLED, write_transformers
from tfm.runtime import Translator
from tfm.runtime.commands.cli import cli
from tfm.trainer import checkpoint as files
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.importing.hugging_face import import_folder
from tfm.trainer.model import Transformer

SENTENCES = [chinese(n) for n in range(1, LARGEST, 333)]


def convert(checkpoint: Path, folder: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["convert", str(checkpoint), str(folder), *options])


def save(model: Transformer, vocabulary: Vocabulary, folder: Path) -> Path:
    folder.mkdir()
    vocabulary.save(folder)
    files.write_config(folder, model.config)
    files.write_weights(folder / files.MODEL, files.weights_of(model))
    return folder


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


def test_ctranslate2_reads_and_writes_the_same_text(
    tiny_model: Transformer, tiny_vocabulary: Vocabulary, tiny_folder: Path, tmp_path: Path
) -> None:
    checkpoint = save(tiny_model, tiny_vocabulary, tmp_path / "checkpoint")
    out = tmp_path / "ct2"
    assert convert(checkpoint, out, "--to", "ctranslate2").exit_code == 0
    engine = ctranslate2.Translator(str(out), compute_type="float32", intra_threads=1)
    pieces = tiny_vocabulary.source.encode(SENTENCES, out_type=str)
    results = engine.translate_batch(
        pieces, beam_size=4, max_decoding_length=20, min_decoding_length=0
    )
    found = Translator(tiny_folder, variant="fp32").translate_batch(
        SENTENCES, beam_size=4, max_length=20
    )
    target = tiny_vocabulary.target
    ids = [target.piece_to_id(result.hypotheses[0]) for result in results]
    assert [list(t.hypotheses[0].tokens) for t in found] == ids
    texts = [tiny_vocabulary.decode_target(row) for row in ids]
    assert [t.text for t in found] == texts
    assert len({len(r.hypotheses[0]) for r in results}) > 2
    half = tmp_path / "half"
    assert convert(checkpoint, half, "--to", "ctranslate2", "--quantization", "int8").exit_code == 0
    assert (half / "model.bin").stat().st_size < (out / "model.bin").stat().st_size


# Not M2M100: CTranslate2's converter misses the languages in what transformers 4.57 saves of it.
@pytest.mark.parametrize("kind", ["marian", "nllb"])
def test_ctranslate2_and_its_own_converter_agree(kind: str, tmp_path: Path) -> None:
    """Two ways from transformers' folder to CTranslate2: its converter, and by way of ours."""
    pytest.importorskip("transformers")
    given = getattr(foreign, kind)(tmp_path / "theirs")
    model = import_folder(given.folder, tmp_path / "checkpoint", None, None)
    vocabulary = Vocabulary.load(tmp_path / "checkpoint")
    write_ctranslate2(model, tmp_path / "ours", vocabulary)
    converter = ctranslate2.converters.TransformersConverter(str(given.folder))
    foreign._quietly(converter.convert, str(tmp_path / "direct"))
    ids = given.tokenizer(SENTENCES).input_ids
    tokens = [given.tokenizer.convert_ids_to_tokens(row) for row in ids]
    tags = given.tokenizer.convert_ids_to_tokens(model.config.target_language_ids)
    found = []
    for name in ("ours", "direct"):
        engine = ctranslate2.Translator(
            str(tmp_path / name), compute_type="float32", intra_threads=1
        )
        given_eos = [row[:-1] for row in tokens] if name == "ours" else tokens
        results = engine.translate_batch(
            given_eos,
            target_prefix=[tags] * len(tokens) if tags else None,
            beam_size=4,
            max_decoding_length=12,
            return_scores=True,
        )
        found.append([(r.hypotheses[0], pytest.approx(r.scores[0], abs=1e-5)) for r in results])
    assert found[0] == found[1]


def test_what_transformers_cannot_compute(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(source_vocab_size=50, target_vocab_size=60, d_model=32, norm="pre")
    with pytest.raises(ExportError, match="Marian's is post-norm, this one is pre-norm"):
        write_transformers(model, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_wrong_calls_are_one_line(
    tiny_model: Transformer, tiny_vocabulary: Vocabulary, tmp_path: Path
) -> None:
    checkpoint = save(tiny_model, tiny_vocabulary, tmp_path / "checkpoint")
    result = convert(checkpoint, tmp_path, "--to", "transformers")
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {tmp_path} exists: choose a new folder\n",
    )
    result = convert(checkpoint, tmp_path / "x", "--to", "transformers", "--quantization", "int8")
    assert result.exit_code == 2 and "--quantization is for --to ctranslate2" in result.stderr
    (checkpoint / files.MODEL).write_bytes(b"x")
    result = convert(checkpoint, tmp_path / "x", "--to", "ctranslate2")
    assert result.exit_code == 1 and "damaged" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}
    shutil.rmtree(checkpoint)
