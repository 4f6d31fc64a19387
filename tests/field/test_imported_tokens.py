"""Tokens that text could not become after `tfm import`: transformers' ids, or a refusal by name."""

import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import foreign

from tfm.trainer.config import TransformerConfig
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.errors import TrainError
from tfm.trainer.importing.files import TransformersFolder
from tfm.trainer.importing.tokenizers import Tokens, build_vocabulary, read_m2m100, read_marian

pytest.importorskip("transformers")

ADDED = ["@URL@", "<num>", "@URL@@", "x y", "百分"]
TEXTS = [
    "一百@URL@二十",
    "@URL@",
    " @URL@ @URL@@ 一",
    "<num>一 <num> 二<num>",
    "＠URL＠ 一",
    "一 x y二x  y",
    "hundred 百分 一hundred",
    "xyz 一",
    "",
    "  ",
]


def write_marian(
    folder: Path,
    *,
    source: str = "unigram",
    target: str = "unigram",
    more: list[str] | None = None,
    **settings: Any,
) -> Path:
    """A tokenizer's files; more are entries of vocab.json that no SentencePiece model has."""
    folder.mkdir(parents=True)
    pieces: list[str] = []
    for name, text, kind in (
        ("source", foreign.SOURCES, source),
        ("target", foreign.TARGETS, target),
    ):
        spm = foreign._sentencepiece(text, kind, 60 if kind != "word" else 90)
        (folder / f"{name}.spm").write_bytes(spm.serialized_model_proto())
        pieces += [spm.id_to_piece(i) for i in range(3, spm.vocab_size())]
    texts = ["</s>", "<unk>", *dict.fromkeys(pieces), *(more or []), "<pad>"]
    numbers = {text: i for i, text in enumerate(texts)}
    (folder / "vocab.json").write_text(json.dumps(numbers), "utf-8")
    tokenizer_config = {"source_lang": "zh", "target_lang": "en", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config), "utf-8")
    return folder


def imported(tokens: Tokens, extra: int = 4) -> tuple[Vocabulary, TransformerConfig]:
    size = max(max(tokens.source.tokens), max(tokens.target.tokens)) + 1 + extra
    control = {tokens.eos_id, tokens.pad_id, *tokens.language_ids.values()}
    vocabulary, more = build_vocabulary(tokens, (size, size), control)
    config = TransformerConfig(
        source_vocab_size=size,
        target_vocab_size=size,
        pad_id=tokens.pad_id,
        bos_id=tokens.pad_id,
        eos_id=tokens.eos_id,
        unk_id=tokens.unk_id,
        num_extra_pieces=more,
    )
    return vocabulary, config


def marian(folder: Path) -> tuple[Vocabulary, TransformerConfig, Any]:
    """Ours and theirs of the same files."""
    from transformers import MarianTokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = MarianTokenizer.from_pretrained(folder)
    return *imported(read_marian(TransformersFolder(folder))), theirs


def assert_same(
    vocabulary: Vocabulary, config: TransformerConfig, theirs: Any, texts: list[str]
) -> None:
    for text in texts:
        assert vocabulary.encode_source([text], config) == theirs([text]).input_ids, text
        target = vocabulary.encode_target([text], config)[0][1:]
        assert [target] == theirs(text_target=[text]).input_ids, text
    generator = random.Random(1)
    known = sorted(i for i in theirs.get_vocab().values() if i < config.target_vocab_size)
    for _ in range(60):  # what a model might write
        ids = generator.choices(known, k=8)
        expected = theirs.decode(ids, skip_special_tokens=True).strip()
        assert vocabulary.decode_target(ids) == expected, ids
        texts_of_tokens = vocabulary.target_texts(config)
        joined = b"".join(texts_of_tokens[token_id] for token_id in ids).decode()
        assert joined.split() == expected.split(), ids


def texts_of_both_languages() -> list[str]:
    generator = random.Random(2)
    letters = "一二三百千x y hundredzé😀１ "
    mixed = ["".join(generator.choices(letters, k=12)) for _ in range(60)]
    return [*TEXTS, *mixed, foreign.SOURCES[700], foreign.TARGETS[700]]


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char", "word"])
def test_a_token_that_only_the_other_side_has(kind: str, tmp_path: Path) -> None:
    folder = write_marian(tmp_path / "a", source=kind, target=kind, more=["z", "xyz", "▁é"])
    assert_same(*marian(folder), texts_of_both_languages())


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("special", [False, True])
def test_added_tokens(kind: str, special: bool, tmp_path: Path) -> None:
    folder = write_marian(tmp_path / "a", source=kind, target=kind)
    size = len(json.loads((folder / "vocab.json").read_text("utf-8")))
    numbers = {text: size + i for i, text in enumerate(ADDED)}
    (folder / "added_tokens.json").write_text(json.dumps(numbers), "utf-8")
    if special:
        tree = {"additional_special_tokens": ["<num>", "@URL@"]}
        (folder / "special_tokens_map.json").write_text(json.dumps(tree), "utf-8")
    vocabulary, config, theirs = marian(folder)
    assert len(theirs) == size + len(ADDED)
    assert_same(vocabulary, config, theirs, texts_of_both_languages())
    assert set(numbers.values()) <= {
        i for row in vocabulary.encode_source(TEXTS, config) for i in row
    }
    # As transformers itself saves it: in tokenizer_config.json too.
    theirs.save_pretrained(folder)
    assert_same(*marian(folder), texts_of_both_languages())


def test_a_special_token_that_the_vocabulary_has(tmp_path: Path) -> None:
    folder = write_marian(
        tmp_path / "a", more=["<num>"], additional_special_tokens=[{"content": "<num>"}]
    )
    tree = {"additional_special_tokens": [{"content": "<num>"}]}
    (folder / "special_tokens_map.json").write_text(json.dumps(tree), "utf-8")
    settings = {"source_lang": "zh", "target_lang": "en"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    assert_same(*marian(folder), texts_of_both_languages())


def test_languages_that_were_added(tmp_path: Path) -> None:
    from transformers import M2M100Tokenizer

    folder = write_marian(tmp_path / "marian", more=[">>fra<<"])
    size = len(json.loads((folder / "vocab.json").read_text("utf-8")))
    (folder / "added_tokens.json").write_text(json.dumps({">>xho<<": size}), "utf-8")
    assert read_marian(TransformersFolder(folder)).language_ids == {"fra": size - 2, "xho": size}

    folder = tmp_path / "m2m100"
    folder.mkdir()
    spm = foreign._sentencepiece(foreign.SOURCES + foreign.TARGETS, "bpe", 120)
    (folder / "sentencepiece.bpe.model").write_bytes(spm.serialized_model_proto())
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [spm.id_to_piece(i) for i in range(3, 90)]
    numbers = {text: i for i, text in enumerate([*special, *pieces])}
    (folder / "vocab.json").write_text(json.dumps(numbers), "utf-8")
    new = len(numbers) + 100  # after the languages
    added = json.dumps({"__tyv__": new, "@URL@": new + 1})
    (folder / "added_tokens.json").write_text(added, "utf-8")
    theirs = M2M100Tokenizer.from_pretrained(folder, src_lang="zh", tgt_lang="en")
    tokens = read_m2m100(TransformersFolder(folder))
    assert tokens.language_ids["tyv"] == new
    assert tokens.added.ids == {"__tyv__": new, "@URL@": new + 1}
    vocabulary, config = imported(tokens)
    for text in ("一 __tyv__ 二@URL@", "@URL@ 一百"):
        expected = theirs([text]).input_ids[0][1:]  # without the language
        assert vocabulary.encode_source([text], config) == [expected]
        assert new + 1 in expected


def test_a_language_at_the_beginning_of_a_line(tmp_path: Path) -> None:
    import dataclasses

    folder = write_marian(tmp_path / "a", more=[">>fra<<", ">>zho_Hant<<"])
    vocabulary, config, theirs = marian(folder)
    languages = read_marian(TransformersFolder(folder)).language_ids
    config = dataclasses.replace(
        config, language_token="source", language_ids=languages, target_language="fra"
    )
    for code in languages:
        for text in (f">>{code}<< 一百", f">>{code}<<二 百", f">>{code}<<"):
            assert vocabulary.encode_source([text], config) == theirs([text]).input_ids
    assert (
        vocabulary.encode_source(["  >>zho_Hant<< 一", "一"], config)
        == theirs([">>zho_Hant<< 一", ">>fra<<一"]).input_ids
    )
    with pytest.raises(ValueError, match=r"begins with >>por<<, none of .*: fra, zho_Hant"):
        vocabulary.encode_source([">>por<< 一"], config)
    for text in ("一 >>por<<", ">> a <<", ">>>一<<", ">><<"):  # only text
        (ids,) = vocabulary.encode_source([text], config)
        assert ids[0] == languages["fra"] and languages["zho_Hant"] not in ids


def edit(path: Path, **changes: Any) -> None:
    tree = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps(tree | changes), "utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: edit(f / "tokenizer_config.json", additional_special_tokens=["<new>"]),
            "no file says which id the additional special token '<new>' has",
        ),
        (
            lambda f: edit(
                f / "tokenizer_config.json",
                added_tokens_decoder={"90": {"content": "w", "single_word": True}},
            ),
            "the added token 'w' is to be found as a word only",
        ),
        (
            lambda f: (
                edit(f / "added_tokens.json", a1=300),
                edit(f / "tokenizer_config.json", added_tokens_decoder={"301": {"content": "a1"}}),
            ),
            "added token 'a1' has the ids 30",
        ),
        (lambda f: edit(f / "added_tokens.json", a1="7"), "added token 'a1' has the id '7'"),
        (lambda f: edit(f / "added_tokens.json", a1=5), "'a1' has the id 5, and so has"),
        (lambda f: edit(f / "added_tokens.json", **{"</s>x": True}), "has the id True"),
        (
            lambda f: edit(f / "tokenizer_config.json", added_tokens_decoder=[5]),
            "tokenizer_config.json: [5] is no table",
        ),
        (
            lambda f: edit(f / "tokenizer_config.json", sp_model_kwargs={"enable_sampling": True}),
            "sp_model_kwargs is",
        ),
        (
            lambda f: edit(f / "tokenizer_config.json", eos_token={"content": "<end>"}),
            "eos_token is {'content': '<end>'}: tfm knows </s>",
        ),
        (
            lambda f: edit(f / "tokenizer_config.json", tokenizer_class="BartTokenizer"),
            "tokenizer_class is 'BartTokenizer': tfm knows MarianTokenizer",
        ),
    ],
)
def test_refused_by_name(damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    folder = write_marian(tmp_path / "a")
    damage(folder)
    with pytest.raises(TrainError) as refused:
        read_marian(TransformersFolder(folder))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
