"""CTranslate2 computes and translates the same."""

from pathlib import Path

import ctranslate2
import pytest
from helpers import foreign
from helpers.conversion import SENTENCES, convert, save

from tfm.export.formats.ctranslate2 import write_ctranslate2
from tfm.runtime import Translator
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.importing.hugging_face import import_folder
from tfm.trainer.model import Transformer


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
