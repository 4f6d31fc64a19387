"""`tfm import` of CTranslate2 folders, held to CTranslate2's own scores and to what `tfm convert`
wrote."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import ctranslate2
import pytest
import torch
from helpers import marian
from helpers.command import tfm
from helpers.models import random_model
from helpers.paths import SHARED_DATA

from tfm.export.formats.ctranslate2 import write_ctranslate2
from tfm.trainer.checkpoint import load_checkpoint
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.errors import TrainError
from tfm.trainer.importing.ctranslate2.importer import import_ctranslate2
from tfm.trainer.model import Transformer

REAL = SHARED_DATA / "ct2-aren-transliteration"
NETWORKS: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "pre-norm": {"norm": "pre", "activation": "swish", "tied_embeddings": "none"},
    "fairseq": {"positions": "fairseq", "first_position": 2, "activation": "gelu"},
    "marian": {"positions": "marian", "output_bias": True, "scale_embeddings": False},
    "joint": {"tied_embeddings": "all", "norm_epsilon": 1e-3, "source_eos": False},
    "suppressed": {"suppress_ids": (0, 7)},
}


def make(vocabulary: Vocabulary, **config: Any) -> Transformer:
    return random_model(
        seed=3,
        source_vocab_size=vocabulary.source.vocab_size(),
        target_vocab_size=vocabulary.target.vocab_size(),
        d_model=32,
        d_ff=48,
        num_heads=4,
        encoder_layers=1,
        decoder_layers=2,
        **config,
    )


def scores(model: Transformer, pairs: list[tuple[list[int], list[int]]]) -> list[list[float]]:
    """Log-probabilities of every token of the targets, which end in EOS."""
    found = []
    for source, target in pairs:
        prefixed = torch.tensor([[*model.config.target_prefix, *target[:-1]]])
        with torch.no_grad():
            memory, bias = model.encode(torch.tensor([source]))
            log_probs = model.next_log_probs(model.decode(prefixed, memory, bias))[0]
        found.append([log_probs[i, token].item() for i, token in enumerate(target)])
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_what_was_converted_comes_back(
    name: str, tiny_vocabulary: Vocabulary, tmp_path: Path
) -> None:
    model = make(tiny_vocabulary, **NETWORKS[name])
    write_ctranslate2(model, tmp_path / "given", tiny_vocabulary)
    found = import_ctranslate2(tmp_path / "given", tmp_path / "out")
    ours, theirs = model.state_dict(), found.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    for key in ("positions", "first_position", "norm", "suppress_ids", "tied_embeddings"):
        assert getattr(found.config, key) == getattr(model.config, key), key
    for key in ("norm_epsilon", "source_eos", "scale_embeddings", "bos_id", "pad_id", "unk_id"):
        assert getattr(found.config, key) == getattr(model.config, key), key
    vocabulary = Vocabulary.load(tmp_path / "out")
    for text in ("一百二十三", "", "三十😀"):
        expected = tiny_vocabulary.encode_source([text], model.config)
        assert vocabulary.encode_source([text], found.config) == expected


@pytest.mark.parametrize("quantization", ["int8", "int16", "float16", "bfloat16", "int8_bfloat16"])
def test_quantized_weights(quantization: str, tiny_vocabulary: Vocabulary, tmp_path: Path) -> None:
    """A row of 8 bits is off by half a step at most; CTranslate2's 16 bits count thousandths."""
    model = make(tiny_vocabulary)
    write_ctranslate2(model, tmp_path / "given", tiny_vocabulary, quantization)
    found = import_ctranslate2(tmp_path / "given", tmp_path / "out")
    ours, theirs = model.state_dict(), found.state_dict()
    assert not all(torch.equal(ours[key], theirs[key]) for key in ours)
    for key, tensor in ours.items():
        largest = tensor.abs().amax(dim=-1, keepdim=True)
        bound = largest / 250 if tensor.dim() == 2 else largest / 120
        assert ((tensor - theirs[key]).abs() <= bound).all(), key


def test_a_model_of_ctranslate2s_own_converter(tmp_path: Path) -> None:
    """From Marian: numbered subwords, no padding, a decoder that begins with a zero vector."""
    given = tmp_path / "marian"
    marian.write_marian(given, changed={"dim-emb": 32, "tied-embeddings": True})
    listed = []
    for side in ("source", "target"):
        spm = Vocabulary.read(given / f"{side}.spm", given / f"{side}.spm").source
        listed.append([spm.id_to_piece(i) for i in range(spm.vocab_size())])
        lines = [f'"{piece}": {i}' for i, piece in enumerate(listed[-1])]
        (given / f"{side}.yml").write_text("\n".join(lines) + "\n", "utf-8")
    vocabularies = [str(given / f"{side}.yml") for side in ("source", "target")]
    converter = ctranslate2.converters.MarianConverter(str(given / "model.npz"), vocabularies)
    folder = tmp_path / "given"
    converter.convert(str(folder))
    arguments = [f"--vocab={given / side}.spm" for side in ("source", "target")]
    status, _, stderr = tfm("import", str(folder), str(tmp_path / "out"), *arguments)
    assert status == 0, stderr
    model, vocabulary = load_checkpoint(tmp_path / "out")
    assert not model.target_embeddings.tokens.weight[model.config.bos_id].any()
    engine = ctranslate2.Translator(str(folder), compute_type="float32", intra_threads=1)
    sources, targets = marian.SOURCES[::100], marian.TARGETS[::100]
    source_ids = vocabulary.encode_source(sources, model.config)
    target_ids = [ids[1:] for ids in vocabulary.encode_target(targets, model.config)]
    expected = engine.score_batch(
        [[listed[0][i] for i in ids[:-1]] for ids in source_ids],
        [[listed[1][i] for i in ids[:-1]] for ids in target_ids],
    )
    found = scores(model, list(zip(source_ids, target_ids, strict=True)))
    assert found == [pytest.approx(result.log_probs, abs=2e-4) for result in expected]


def test_a_model_of_transformers_leaves_eos_to_its_caller(
    tiny_vocabulary: Vocabulary, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """config.json says the same of OpenNMT's models, which have none."""
    folder = tmp_path / "given"
    write_ctranslate2(make(tiny_vocabulary, source_eos=False), folder, tiny_vocabulary)
    assert not import_ctranslate2(folder, tmp_path / "opennmt").config.source_eos
    assert caplog.text == ""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"decoder_start_token": "</s>"}))
    found = import_ctranslate2(folder, tmp_path / "transformers").config
    assert found.source_eos
    assert found.bos_id == found.eos_id
    assert "as its decoder begins with </s>, every source gets one" in caplog.text


def test_an_archive_with_one_sentencepiece_model(
    tiny_vocabulary: Vocabulary, tmp_path: Path
) -> None:
    joint = Vocabulary(tiny_vocabulary.source, tiny_vocabulary.source)
    model = make(joint, tied_embeddings="all", source_eos=False)
    folder = tmp_path / "given"
    write_ctranslate2(model, folder, joint)
    archive = tmp_path / "translate-zh_en-1_0.argosmodel"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("model.bin", "config.json", "shared_vocabulary.json"):
            file.write(folder / name, f"translate-zh_en-1_0/model/{name}")
        file.write(folder / "source.spm", "translate-zh_en-1_0/sentencepiece.model")
        metadata = {"from_code": "zh", "to_code": "en", "package_version": "1.0"}
        file.writestr("translate-zh_en-1_0/metadata.json", json.dumps(metadata))
        file.writestr("translate-zh_en-1_0/stanza/model.bin/x", "no model")
    status, _, stderr = tfm("import", str(archive), str(tmp_path / "out"))
    assert status == 0, stderr
    found, vocabulary = load_checkpoint(tmp_path / "out")
    assert (found.config.source_language, found.config.target_language) == ("zh", "en")
    assert vocabulary.source is vocabulary.target
    ours = model.state_dict()
    assert all(torch.equal(ours[key], tensor) for key, tensor in found.state_dict().items())
    (ids,) = vocabulary.encode_source(["九百"], found.config)
    assert ids == joint.source.encode("九百")
    assert vocabulary.encode_source([""], found.config) == [[found.config.eos_id]]


def test_a_language_token_is_chosen(tiny_vocabulary: Vocabulary, tmp_path: Path) -> None:
    model = make(tiny_vocabulary)
    folder = tmp_path / "given"
    write_ctranslate2(model, folder, tiny_vocabulary)
    for side in ("source", "target"):
        path = folder / f"{side}_vocabulary.json"
        tokens = json.loads(path.read_text("utf-8"))
        tokens[20:22] = ["zho_Hans", "eng_Latn"]
        path.write_text(json.dumps(tokens), "utf-8")
    status, _, stderr = tfm("import", str(folder), str(tmp_path / "out"))
    assert status == 1
    assert "target_language is None; choose one with --target-language: eng_Latn, zho_H" in stderr
    languages = ("--source-language=zho_Hans", "--target-language=eng_Latn")
    assert tfm("import", str(folder), str(tmp_path / "out"), *languages)[0] == 0
    config = load_checkpoint(tmp_path / "out")[0].config
    assert (config.source_prefix, config.target_prefix) == ([20], [config.bos_id, 21])


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not here")
def test_trained_weights_of_others_give_ctranslate2s_scores(tmp_path: Path) -> None:
    """Characters without a SentencePiece model, unknown tokens that differ, and no EOS."""
    folder = REAL / "aren-transliteration"
    engine = ctranslate2.Translator(str(folder), compute_type="float32", intra_threads=1)
    import_ctranslate2(folder, tmp_path / "out")
    model, vocabulary = load_checkpoint(tmp_path / "out")
    assert (model.config.norm, model.config.source_eos) == ("pre", False)
    expected = {"آتزمون": ("atzmon", -0.1517), "محمد": ("mahmad", -0.3016)}
    for text, (translation, score) in expected.items():
        source = vocabulary.encode_source([text], model.config)
        (ids,) = model.greedy(torch.tensor(source), 20)
        assert vocabulary.decode_target(ids) == translation
        target = [*ids, model.config.eos_id]
        (found,) = scores(model, [(source[0], target)])
        (theirs,) = engine.score_batch([list(text)], [list(translation)])
        assert found == pytest.approx(theirs.log_probs, abs=1e-5)
        assert sum(found) / len(found) == pytest.approx(score, abs=1e-4)
    for kind, worst in (("i8", 1 / 120), ("i16", 1 / 250)):
        other = import_ctranslate2(REAL / f"aren-transliteration-{kind}", tmp_path / kind)
        for name, tensor in model.state_dict().items():
            difference = (tensor - other.state_dict()[name]).abs().max()
            assert difference <= worst * tensor.abs().max(), name


def test_a_folder_without_a_sentencepiece_model(
    tiny_vocabulary: Vocabulary, tmp_path: Path
) -> None:
    folder = tmp_path / "given"
    write_ctranslate2(make(tiny_vocabulary), folder, tiny_vocabulary)
    for side in ("source", "target"):
        shutil.move(folder / f"{side}.spm", tmp_path)
    with pytest.raises(TrainError, match="has no SentencePiece model, which segments text: give"):
        import_ctranslate2(folder, tmp_path / "out")
    given = [tmp_path / f"{side}.spm" for side in ("source", "target")]
    import_ctranslate2(folder, tmp_path / "out", given)
    assert load_checkpoint(tmp_path / "out")
