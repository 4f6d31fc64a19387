"""`tfm import` against transformers: the same ids, the same numbers, the same translations."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from helpers import foreign
from helpers.foreign import Foreign
from helpers.numerals import LARGEST
from helpers.paths import SHARED_DATA

from tfm.export.graphs.trace import convert
from tfm.export.model_folder import write_model_folder
from tfm.runtime import Translator
from tfm.runtime.commands.cli import cli
from tfm.trainer.checkpoint import ORIGIN, load_checkpoint, load_file, write_weights
from tfm.trainer.config import TransformerConfig
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.errors import TrainError
from tfm.trainer.importing import hugging_face
from tfm.trainer.importing.files import LFS_POINTER, TransformersFolder
from tfm.trainer.importing.tokenizers import build_vocabulary, read_m2m100, read_marian
from tfm.trainer.loss import batch_loss

pytest.importorskip("transformers")

ODD = [
    "",
    "   ",
    " 一  二 ",
    "一百😀二",
    "😀",
    "１２３，。！？",
    "\u3000百\u200b零",
    "hundred y ninety",
    "九九九 <pad> </s>x",
    "»«„“” ﬁ e\u0301",
    "a\tb",
]
SENTENCES = [foreign.chinese(n) for n in range(3, LARGEST, 177)]
STEPS = 12


class Imported:
    """A folder of transformers', the checkpoint and the model folder made of it."""

    def __init__(self, given: Foreign, folder: Path) -> None:
        self.given = given
        self.checkpoint = folder / "checkpoint"
        hugging_face.import_folder(given.folder, self.checkpoint, None, None)
        self.model, self.vocabulary = load_checkpoint(self.checkpoint)
        self.folder = folder / "model"
        self.folder.mkdir()
        sources = self.vocabulary.encode_source(SENTENCES, self.model.config)
        write_model_folder(
            self.model,
            self.vocabulary,
            convert(self.model),
            self.folder,
            ("fp32", "int8"),
            "imported",
            sources,
        )


@pytest.fixture(scope="module", params=["marian", "m2m100", "nllb"])
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    folder = tmp_path_factory.mktemp(request.param)
    return Imported(getattr(foreign, request.param)(folder / "theirs"), folder)


@torch.no_grad()
def test_encoder_and_decoder_give_transformers_numbers(imported: Imported) -> None:
    theirs, model = imported.given.model, imported.model
    batch = imported.given.tokenizer(SENTENCES, return_tensors="pt", padding=True)
    assert (batch.attention_mask == 0).any()
    memory, bias = model.encode(batch.input_ids)
    expected = theirs.get_encoder()(**batch).last_hidden_state
    real = batch.attention_mask.bool()
    torch.testing.assert_close(memory[real], expected[real], atol=1e-5, rtol=1e-4)

    torch.manual_seed(0)
    start = torch.tensor(model.config.target_prefix).expand(len(SENTENCES), -1)
    target = torch.randint(4, 50, (len(SENTENCES), 20))
    target_ids = torch.cat((start, target), dim=1)
    logits = model.projection(model.decode(target_ids, memory, bias))
    expected = theirs(**batch, decoder_input_ids=target_ids).logits
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_text_becomes_transformers_ids_and_text_again(imported: Imported) -> None:
    tokenizer, vocabulary, config = (
        imported.given.tokenizer,
        imported.vocabulary,
        imported.model.config,
    )
    # transformers takes what reads like a special token for one; text is only text here
    texts = [text for text in ODD if "<" not in text]
    sources = SENTENCES + texts
    ours = vocabulary.encode_source(sources, config)
    assert ours == tokenizer(sources).input_ids
    assert any(config.unk_id in ids for ids in ours)
    by_runtime = Translator(imported.folder, variant="fp32").tokenizer
    prefix = config.source_prefix
    empty = [[]] * len(sources)
    found = by_runtime.encode(sources, prefix)
    assert [a or b for a, b in zip(found, empty, strict=True)] == [
        ids if len(ids) > 1 + len(prefix) else [] for ids in ours
    ]

    targets = [foreign.english(n) for n in range(0, LARGEST, 177)] + texts
    ids = [row[len(config.target_prefix) :] for row in vocabulary.encode_target(targets, config)]
    tags = config.target_language_ids
    assert [[*tags, *row] for row in ids] == tokenizer(text_target=targets).input_ids
    expected = [tokenizer.decode(row, skip_special_tokens=True).strip() for row in ids]
    assert [vocabulary.decode_target(row[:-1]) for row in ids] == expected
    assert by_runtime.decode([row[:-1] for row in ids]) == expected


def test_text_never_becomes_a_special_token(imported: Imported) -> None:
    config = imported.model.config
    tags = set(config.language_ids.values())
    special = {config.eos_id, config.pad_id, config.bos_id} | tags
    texts = [*ODD, "<pad></s><s>", ">>en<<", "__en__ eng_Latn", "<nothing 70>"]
    for ids in imported.vocabulary.encode_source(texts, config):
        assert not special & set(ids[len(config.source_prefix) : -1])
        assert max(ids) < config.source_vocab_size


@pytest.mark.parametrize("beam_size", [1, 4])
def test_search_finds_what_transformers_finds(imported: Imported, beam_size: int) -> None:
    expected = foreign.generate(imported.given, SENTENCES, beam_size, STEPS)
    translator = Translator(imported.folder, variant="fp32")
    found = translator.translate_batch(SENTENCES, beam_size=beam_size, max_length=STEPS)
    assert [list(t.hypotheses[0].tokens) for t in found] == expected
    lengths = {len(ids) for ids in expected}
    assert len(lengths) > 2 and max(lengths) == STEPS  # some ended early and some at the limit


def test_trainer_decodes_the_same(imported: Imported) -> None:
    expected = foreign.generate(imported.given, SENTENCES, 1, STEPS)
    sources = imported.vocabulary.encode_source(SENTENCES, imported.model.config)
    for ids, theirs in zip(sources, expected, strict=True):
        assert imported.model.greedy(torch.tensor([ids]), STEPS) == [theirs]


def test_loss_is_transformers_loss(imported: Imported) -> None:
    """Fine-tuning begins where transformers would."""
    config, tokenizer = imported.model.config, imported.given.tokenizer
    targets = [foreign.english(n) for n in range(3, LARGEST, 177)]
    batch = tokenizer(SENTENCES, text_target=targets, return_tensors="pt", padding=True)
    labels = batch.labels
    with torch.no_grad():
        padded = labels.masked_fill(labels == config.pad_id, -100)
        expected = imported.given.model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=padded
        ).loss
    start = torch.full((len(SENTENCES), 1), config.bos_id)
    loss, tokens = batch_loss(
        imported.model, batch.input_ids, torch.cat((start, labels), dim=1), smoothing=0.0
    )
    torch.testing.assert_close(loss / tokens, expected, atol=1e-5, rtol=1e-5)


def test_the_language_to_write_can_be_chosen(imported: Imported) -> None:
    config = imported.model.config
    translator = Translator(imported.folder, variant="fp32")
    if config.language_token == "none":
        with pytest.raises(ValueError, match="target_language is 'fr': this model has en"):
            translator.translate("一", target_language="fr")
        return
    other = "fr" if "fr" in config.language_ids else "fra_Latn"
    forced = {"forced_bos_token_id": config.language_ids[other]}
    given = Foreign(**{**vars(imported.given), "forced": forced})
    expected = foreign.generate(given, SENTENCES, 4, STEPS)
    found = translator.translate_batch(
        SENTENCES, beam_size=4, max_length=STEPS, target_language=other
    )
    assert [list(t.hypotheses[0].tokens) for t in found] == expected
    assert expected != foreign.generate(imported.given, SENTENCES, 4, STEPS)
    with pytest.raises(ValueError, match="source_language is 'xx': this model has a"):
        translator.translate("一", source_language="xx")


def test_the_search_step_by_step_finds_the_same(imported: Imported) -> None:
    translator = Translator(imported.folder, variant="fp32")
    options: dict[str, Any] = {"beam_size": 3, "max_length": STEPS, "num_hypotheses": 2}
    whole = translator.translate_batch(SENTENCES, **options)
    translator = Translator(imported.folder, variant="fp32", by_steps=True)
    by_step = translator.translate_batch(SENTENCES, **options)
    for a, b in zip(whole, by_step, strict=True):
        assert [h.tokens for h in a.hypotheses] == [h.tokens for h in b.hypotheses]
        assert [h.score for h in a.hypotheses] == pytest.approx(
            [h.score for h in b.hypotheses], abs=1e-5
        )


def test_int8_never_writes_what_is_forbidden(imported: Imported) -> None:
    translator = Translator(imported.folder, variant="int8")
    found = translator.translate_batch(SENTENCES, beam_size=4, max_length=STEPS, num_hypotheses=4)
    written = {i for t in found for h in t.hypotheses for i in h.tokens}
    assert len(written) > 9
    assert not written & set(imported.model.config.suppress_ids)
    assert all(h.score > -100 for t in found for h in t.hypotheses)


def test_tied_weights_are_stored_once(imported: Imported) -> None:
    model = imported.model
    parameters = sum(p.numel() for p in model.parameters())
    size = (imported.folder / "fp32" / "weights.bin").stat().st_size
    assert size < 4.3 * parameters


def test_fine_tuning_keeps_the_language(imported: Imported, tmp_path: Path) -> None:
    lines = "".join(f"{foreign.chinese(n)}\t{foreign.english(n)}\n" for n in range(300))
    (tmp_path / "train.tsv").write_text(lines, "utf-8")
    languages = imported.given.languages
    (tmp_path / "recipe.toml").write_text(
        f"""
[model]
dropout = 0.0
[data]
source_language = "{languages["source"]}"
target_language = "{languages["target"]}"
[[data.train]]
path = "train.tsv"
[data.validation]
path = "train.tsv"
[training]
max_steps = 30
max_tokens = 600
learning_rate = 1e-2
warmup_steps = 5
validate_steps = 15
validation_max_sentences = 5
validation_max_length = 5
average_checkpoints = 1
""",
        "utf-8",
    )
    out = tmp_path / "tuned"
    arguments = ["--out", str(out), "--init", str(imported.checkpoint), "--threads", "1"]
    result = CliRunner().invoke(cli, ["train", str(tmp_path / "recipe.toml"), *arguments])
    assert result.exit_code == 0, result.output
    validated = [
        line["validation_loss"]
        for line in map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
        if "validation_loss" in line
    ]
    assert validated[-1] < validated[0]
    tuned, vocabulary = load_checkpoint(out)
    assert tuned.config.target_prefix == imported.model.config.target_prefix
    assert (out / ORIGIN / "config.json").exists()
    ids = vocabulary.encode_source(SENTENCES[:3], tuned.config)
    assert ids == imported.vocabulary.encode_source(SENTENCES[:3], imported.model.config)


@pytest.fixture
def folder(marian_folder: Path) -> Path:
    return marian_folder


def edit(path: Path, **changes: Any) -> None:
    tree = json.loads(path.read_text("utf-8"))
    for key, value in changes.items():
        if value is ...:
            del tree[key]
        else:
            tree[key] = value
    path.write_text(json.dumps(tree), "utf-8")


def weights_but(path: Path, **changes: Any) -> None:
    """Rewrite model.safetensors; underscores stand for dots."""
    tensors = load_file(path / "model.safetensors")
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is ...:
            del tensors[name]
        else:
            tensors[name] = value
    write_weights(path / "model.safetensors", tensors)


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("touched"),))


def pickled(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)


def harmful(folder: Path) -> None:
    pickled(folder, pickle.dumps({"a": Harmful()}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: edit(f / "config.json", model_type="bart"), "model_type is 'bart': tfm imports"),
        (lambda f: (f / "config.json").unlink(), "config.json: not found"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: cannot be read as JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json: not a JSON object"),
        (lambda f: edit(f / "config.json", d_model=...), "d_model is None: a whole number"),
        (lambda f: edit(f / "config.json", d_model="32"), "d_model is '32': a whole number"),
        (lambda f: edit(f / "config.json", decoder_ffn_dim=8), "encoder_ffn_dim 64 and decoder_ff"),
        (lambda f: edit(f / "config.json", activation_function="tanh"), "activation_function is"),
        (lambda f: edit(f / "config.json", encoder_attention_heads=5), "decoder_attention_heads 4"),
        (lambda f: edit(f / "config.json", encoder_layers=3), "15 weights (model.encoder.layers.2"),
        (lambda f: edit(f / "config.json", encoder_layers=1), "weights (model.encoder.layers.1"),
        (lambda f: edit(f / "config.json", vocab_size=99), "vocab_size 99 and decoder_vocab_size"),
        (lambda f: edit(f / "config.json", vocab_size=999, decoder_vocab_size=999), "[999, 32]"),
        (lambda f: edit(f / "config.json", vocab_size=9, decoder_vocab_size=9), "none of 9 tokens"),
        (
            lambda f: edit(f / "config.json", encoder_attention_heads=0),
            "heads is 0: a whole number",
        ),
        (
            lambda f: edit(f / "config.json", eos_token_id=3),
            "eos_token_id is 3, and generation_config",
        ),
        (
            lambda f: edit(f / "config.json", pad_token_id=3),
            "pad_token_id is 3, and generation_config",
        ),
        (
            lambda f: edit(f / "generation_config.json", bad_words_ids=[[5000]]),
            "bad_words_ids has 5000, which is none of",
        ),
        (lambda f: edit(f / "generation_config.json", bad_words_ids=[5]), "a list of lists"),
        (
            lambda f: edit(f / "vocab.json", more=5000),
            "a token 5000 ('more'), the model only",
        ),
        (lambda f: edit(f / "vocab.json", more="5"), "'more' has the number '5'"),
        (
            lambda f: edit(f / "generation_config.json", bad_words_ids=[[1, 2]]),
            "words of several tokens",
        ),
        (lambda f: (f / "vocab.json").unlink(), "vocab.json: not found"),
        (lambda f: edit(f / "vocab.json", **{"<unk>": ...}), "there is no <unk>"),
        (lambda f: (f / "source.spm").unlink(), "source.spm: not found"),
        (lambda f: (f / "source.spm").write_bytes(b"\xff"), "not a SentencePiece model"),
        (lambda f: (f / "target.spm").write_bytes(b""), "not a SentencePiece model"),
        (lambda f: (f / "model.safetensors").unlink(), "no weights: neither model.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x"), "model.safetensors: damaged"),
        (lambda f: weights_but(f, final_logits_bias=...), "final_logits_bias is missing"),
        (lambda f: weights_but(f, extra=torch.ones(1)), "extra is not of this architecture"),
        (lambda f: weights_but(f, lm_head__weight=torch.ones(1)), "differ, but config.json ties"),
        (
            lambda f: weights_but(f, model__encoder__embed_positions__weight=torch.rand(64, 32)),
            "embed_positions.weight is no table of marian's sinusoidal positions",
        ),
        (harmful, "more than tensors, and then it is not read"),
        (lambda f: pickled(f, b""), "pytorch_model.bin: damaged"),
        (lambda f: pickled(f, b"PK\x03\x04cut"), "pytorch_model.bin: damaged"),
        (lambda f: pickled(f, LFS_POINTER + b"/spec/v1\n"), "a pointer of Git LFS"),
    ],
)
def test_what_does_not_fit_is_one_line(
    damage: Any, message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    damage(folder)
    out = tmp_path / "out"
    result = CliRunner().invoke(cli, ["import", str(folder), str(out)])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {folder}") and message in line
    assert not out.exists()
    assert not (tmp_path / "touched").exists()


def test_a_name_is_not_a_folder(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["import", "Helsinki-NLP/opus-mt-zh-en", str(tmp_path)])
    assert result.exit_code == 2
    assert "is not there: download the model first" in result.stderr


def test_a_checkpoint_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert CliRunner().invoke(cli, ["import", str(folder), out]).exit_code == 0
    result = CliRunner().invoke(cli, ["import", str(folder), out])
    assert result.exit_code == 1
    assert f"{out} already holds a checkpoint" in result.stderr


def same(a: Path, b: Path) -> bool:
    ours, theirs = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_weights_may_be_a_pickle_of_tensors_and_in_parts(folder: Path, tmp_path: Path) -> None:
    hugging_face.import_folder(folder, tmp_path / "whole", None, None)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.bin": names[::2], "b.bin": names[1::2]}
    index = {"weight_map": {name: part for part, inside in parts.items() for name in inside}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), "utf-8")
    for part in parts:
        torch.save({name: tensors[name] for name in parts[part]}, folder / part)
    hugging_face.import_folder(folder, tmp_path / "parts", None, None)
    torch.save(tensors, folder / "pytorch_model.bin")
    hugging_face.import_folder(folder, tmp_path / "pickle", None, None)
    assert same(tmp_path / "whole", tmp_path / "parts")
    assert same(tmp_path / "whole", tmp_path / "pickle")
    (folder / "pytorch_model.bin").unlink()
    (folder / "b.bin").unlink()
    with pytest.raises(TrainError, match=r"b\.bin: not found, though the index names it"):
        hugging_face.import_folder(folder, tmp_path / "less", None, None)


def test_tags_of_languages_in_the_source(folder: Path, tmp_path: Path) -> None:
    """OPUS-MT into many languages: >>fra<< before the source, which the option puts there."""
    numbers = json.loads((folder / "vocab.json").read_text("utf-8"))
    texts = sorted(numbers, key=numbers.__getitem__)
    replaced = [*texts[:-3], ">>fra<<", ">>ita<<", texts[-1]]  # in place of two pieces
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(replaced)}), "utf-8")
    result = CliRunner().invoke(cli, ["import", str(folder), str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "target_language 'en' is none of its languages" in result.stderr
    assert "--target-language: fra, ita" in result.stderr
    model = hugging_face.import_folder(folder, tmp_path / "out", None, "ita")
    vocabulary = Vocabulary.load(tmp_path / "out")
    from transformers import MarianTokenizer

    tokenizer = foreign._quietly(MarianTokenizer.from_pretrained, folder)
    expected = tokenizer(">>ita<<" + SENTENCES[9]).input_ids
    assert vocabulary.encode_source([SENTENCES[9]], model.config) == [expected]
    exported = tmp_path / "model"
    exported.mkdir()
    write_model_folder(model, vocabulary, convert(model), exported, ("fp32",), "language_token")
    translator = Translator(exported)
    encode = translator.tokenizer.encode
    prefix, first = translator.config.languages.prefixes(target="fra")
    assert first == []
    in_french = tokenizer(">>fra<<" + SENTENCES[9]).input_ids
    assert encode([SENTENCES[9]], prefix) == [in_french]
    assert encode([">>fra<< " + SENTENCES[9], SENTENCES[9]], [7]) == [
        in_french,
        [7, *in_french[1:]],
    ]
    with pytest.raises(ValueError, match="begins with >>por<<, none of this model's languages"):
        translator.translate(">>por<< " + SENTENCES[9])
    assert (
        translator.translate(SENTENCES[9], target_language="fra").hypotheses[0].tokens
        != translator.translate(SENTENCES[9]).hypotheses[0].tokens
    )


@pytest.fixture(scope="module")
def their_nllb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return foreign.nllb(tmp_path_factory.mktemp("nllb") / "theirs").folder


def test_languages_come_from_whichever_file_lists_them(their_nllb: Path, tmp_path: Path) -> None:
    given = read_m2m100(TransformersFolder(their_nllb)).language_ids
    folder = Path(shutil.copytree(their_nllb, tmp_path / "nllb"))
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    codes = settings["additional_special_tokens"]
    assert len(codes) > 200 and set(codes) == set(given)
    # transformers' own way of saying it, and others'
    plain = {"src_lang": "zho_Hans", "tgt_lang": "eng_Latn"}
    (folder / "tokenizer_config.json").write_text(json.dumps(plain), "utf-8")
    assert read_m2m100(TransformersFolder(folder)).language_ids == given  # from added_tokens.json
    (folder / "added_tokens.json").unlink()
    added = [{"id": number, "content": code} for code, number in given.items()]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": added}), "utf-8")
    assert read_m2m100(TransformersFolder(folder)).language_ids == given
    (folder / "tokenizer.json").unlink()
    first = min(given.values()) - 1  # where the published models have them: before <mask>
    listed = {code: first + place for place, code in enumerate(codes)}
    assert read_m2m100(TransformersFolder(folder)).language_ids == listed
    (folder / "added_tokens.json").write_text('{"tyv_Cyrl": 999, "<mask>": 998}', "utf-8")
    assert read_m2m100(TransformersFolder(folder)).language_ids == {**listed, "tyv_Cyrl": 999}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("language_codes", "wmt21", "language_codes is 'wmt21': tfm knows m2m100"),
        ("legacy_behaviour", True, "legacy_behaviour is True: tfm knows False"),
        ("tokenizer_class", "SMALL100Tokenizer", "tokenizer_class is 'SMALL100Tokenizer'"),
    ],
)
def test_other_tokenizers_are_refused(
    key: str, value: Any, message: str, their_nllb: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(their_nllb, tmp_path / "nllb"))
    edit(folder / "tokenizer_config.json", **{key: value})
    with pytest.raises(TrainError, match=message):
        hugging_face.import_folder(folder, tmp_path / "out", None, None)


def test_what_config_says_nothing_of_is_transformers_default(
    their_nllb: Path, marian_original: Path, tmp_path: Path
) -> None:
    for name, given, expected in (
        ("nllb", their_nllb, ("relu", True)),
        ("marian", marian_original, ("gelu", False)),
    ):
        folder = Path(shutil.copytree(given, tmp_path / name))
        edit(folder / "config.json", activation_function=..., scale_embedding=...)
        config = hugging_face.import_folder(folder, tmp_path / f"{name}-out", None, None).config
        assert (config.activation, config.scale_embeddings) == expected


def test_the_recipe_chooses_among_the_languages(their_nllb: Path, tmp_path: Path) -> None:
    hugging_face.import_folder(their_nllb, tmp_path / "imported", None, None)
    (tmp_path / "train.tsv").write_text("一\tone\n二\ttwo\n", "utf-8")
    recipe = """
[data]
{languages}
[[data.train]]
path = "train.tsv"
[data.validation]
path = "train.tsv"
[training]
max_steps = 1
"""
    for out, languages, target in (
        ("unsaid", "", "eng_Latn"),
        ("said", 'target_language = "fra_Latn"', "fra_Latn"),
        ("wrong", 'target_language = "french"', None),
    ):
        (tmp_path / f"{out}.toml").write_text(recipe.format(languages=languages), "utf-8")
        arguments = ["--out", str(tmp_path / out), "--init", str(tmp_path / "imported")]
        result = CliRunner().invoke(cli, ["train", str(tmp_path / f"{out}.toml"), *arguments])
        if target is None:
            assert result.exit_code == 1
            assert "data.target_language is 'french', none of the model's" in result.stderr
        else:
            assert result.exit_code == 0, result.output
            assert load_checkpoint(tmp_path / out)[0].config.target_language == target


OPUS = SHARED_DATA


@pytest.mark.skipif(not OPUS.exists(), reason=f"{OPUS} is not here")
def test_opus_mt_zh_en_tokenizes_as_marian_tokenizer() -> None:
    from transformers import MarianTokenizer

    given = OPUS / "opus-mt-zh-en"
    tokens = read_marian(TransformersFolder(given))
    tokenizer = foreign._quietly(MarianTokenizer.from_pretrained, given)
    size, pad = len(tokenizer.encoder), tokenizer.pad_token_id
    vocabulary, _ = build_vocabulary(tokens, (size, size), {0, pad})
    config = TransformerConfig(
        source_vocab_size=size, target_vocab_size=size, bos_id=pad, eos_id=0, unk_id=1, pad_id=pad
    )
    pairs = [
        line.rstrip("\n").split("\t")
        for name in ("dev.tsv", "test.tsv")
        for line in (OPUS / "zh-en" / name).read_text("utf-8").split("\n")
        if line
    ]
    odd = [text for text in ODD if "<" not in text]
    odd += ["😀", "𠮷野家", "〇〡〢㐀", "＋１＝", "报告妇女禁止", "operationalizing Economics"]
    sources, targets = [pair[0] for pair in pairs] + odd, [pair[1] for pair in pairs] + odd
    assert len(sources) > 3300
    assert vocabulary.encode_source(sources, config) == tokenizer(sources).input_ids
    expected = tokenizer(text_target=targets).input_ids
    found = [ids[1:] for ids in vocabulary.encode_target(targets, config)]
    assert found == expected
    texts = [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in expected]
    assert [vocabulary.decode_target(ids[:-1]) for ids in found] == texts
