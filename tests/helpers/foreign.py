"""Small models of other projects' architectures, made by transformers with random weights and
saved as transformers saves: what `tfm import` reads."""

import json
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import sentencepiece
import torch

from helpers.numerals import LARGEST, chinese, english

# Random weights of which some sentences end early and some late, with different things to say.
SEEDS = {"marian": 9, "m2m100": 5, "nllb": 6}
EOS_BONUS = {"marian": 4.0, "m2m100": -1.0, "nllb": 0.0}
SHAPE = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
}
NUMBERS = range(0, LARGEST, 3)
SOURCES, TARGETS = [chinese(n) for n in NUMBERS], [english(n) for n in NUMBERS]


@dataclass(frozen=True)
class Foreign:
    """A folder, and the same model and tokenizer in transformers' hands.

    `forced` are the arguments of generate() that choose the language to write.
    """

    folder: Path
    model: Any
    tokenizer: Any
    languages: dict[str, str]
    forced: dict[str, int]


def marian(folder: Path) -> Foreign:
    """OPUS-MT: two SentencePiece models over one numbering, which lacks some of their pieces."""
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder.mkdir()
    pieces: list[str] = []
    for name, text in (("source", SOURCES), ("target", TARGETS)):
        spm = _sentencepiece(text, "unigram", 60)
        (folder / f"{name}.spm").write_bytes(spm.serialized_model_proto())
        pieces += [spm.id_to_piece(i) for i in range(3, spm.vocab_size())]
    known = [piece for piece in dict.fromkeys(pieces) if piece not in ("百", "y", "▁hundred")]
    numbers = {text: i for i, text in enumerate(["</s>", "<unk>", *known, "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(numbers), "utf-8")
    (folder / "tokenizer_config.json").write_text('{"source_lang": "zh", "target_lang": "en"}')
    pad = numbers["<pad>"]
    config = MarianConfig(
        vocab_size=len(numbers),
        **SHAPE,
        activation_function="swish",
        scale_embedding=True,
        init_std=0.3,
        pad_token_id=pad,
        eos_token_id=0,
        decoder_start_token_id=pad,
        forced_eos_token_id=None,
    )
    torch.manual_seed(SEEDS["marian"])
    model = _shaken(MarianMTModel(config), eos_bonus=EOS_BONUS["marian"])
    model.final_logits_bias.normal_(0, 0.5)
    model.generation_config.bad_words_ids = [[pad]]
    _save(model, folder)
    tokenizer = _quietly(MarianTokenizer.from_pretrained, folder)
    return Foreign(folder, model, tokenizer, {"source": "zh", "target": "en"}, {})


def m2m100(folder: Path) -> Foreign:
    """One SentencePiece model, numbered by vocab.json; gelu instead of relu."""
    from transformers import M2M100Tokenizer

    folder.mkdir()
    spm = _sentencepiece(SOURCES + TARGETS, "bpe", 120)
    (folder / "sentencepiece.bpe.model").write_bytes(spm.serialized_model_proto())
    pieces = [spm.id_to_piece(i) for i in range(3, spm.vocab_size() - 4)]  # some have no number
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    numbers = {text: i for i, text in enumerate([*special, *pieces])}
    (folder / "vocab.json").write_text(json.dumps(numbers), "utf-8")
    tokenizer = _quietly(M2M100Tokenizer.from_pretrained, folder, src_lang="zh", tgt_lang="en")
    _quietly(tokenizer.save_pretrained, folder)
    model = _m2m100_model("m2m100", len(numbers) + 108, activation_function="gelu")
    _save(model, folder)
    forced = {"forced_bos_token_id": tokenizer.get_lang_id("en")}
    return Foreign(folder, model, tokenizer, {"source": "zh", "target": "en"}, forced)


def nllb(folder: Path) -> Foreign:
    """One SentencePiece model, numbered by itself and shifted by one."""
    from transformers import NllbTokenizer

    folder.mkdir()
    spm = _sentencepiece(SOURCES + TARGETS, "bpe", 120)
    (folder / "sentencepiece.bpe.model").write_bytes(spm.serialized_model_proto())
    languages = {"source": "zho_Hans", "target": "eng_Latn"}
    tokenizer = _quietly(
        NllbTokenizer,
        str(folder / "sentencepiece.bpe.model"),
        src_lang=languages["source"],
        tgt_lang=languages["target"],
    )
    _quietly(tokenizer.save_pretrained, folder)
    model = _m2m100_model("nllb", len(tokenizer) + 2, activation_function="relu")
    _save(model, folder)
    forced = {"forced_bos_token_id": tokenizer.convert_tokens_to_ids(languages["target"])}
    return Foreign(folder, model, tokenizer, languages, forced)


def generate(foreign: Foreign, sentences: list[str], beam_size: int, steps: int) -> list[list[int]]:
    """What transformers decodes, by rules that should be those of runtime/search.py: token ids
    without prefix and EOS."""
    options = {"early_stopping": True} if beam_size > 1 else {}
    batch = foreign.tokenizer(sentences, return_tensors="pt", padding=True)
    rows = _quietly(
        foreign.model.generate,
        **batch,
        **foreign.forced,
        **options,
        num_beams=beam_size,
        do_sample=False,
        length_penalty=1.0,
        max_new_tokens=steps + len(foreign.forced),
    ).tolist()
    config, found = foreign.model.config, []
    for row in rows:
        ids = row[1 + len(foreign.forced) :]
        ids = ids[: ids.index(config.eos_token_id)] if config.eos_token_id in ids else ids
        while ids and ids[-1] == config.pad_token_id:
            ids.pop()
        found.append(ids)
    return found


def _m2m100_model(kind: str, size: int, activation_function: str) -> Any:
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    config = M2M100Config(
        vocab_size=size,
        **SHAPE,
        activation_function=activation_function,
        scale_embedding=True,
        init_std=0.2,
    )
    torch.manual_seed(SEEDS[kind])
    return _shaken(M2M100ForConditionalGeneration(config), eos_bonus=EOS_BONUS[kind])


def _shaken(model: Any, eos_bonus: float) -> Any:
    """Biases and norms random too: at their usual 0 and 1 they hide mistakes.

    EOS has a long row in the projection, so that some sentences end early and some late.
    """
    decoder = model.model.decoder
    last = getattr(decoder, "layer_norm", None) or decoder.layers[-1].final_layer_norm
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
        for layer in decoder.layers:  # louder than what they are added to: the token before, which
            for loud in (layer.fc2, layer.encoder_attn.out_proj):  # tied weights would repeat
                loud.weight.mul_(4.0)
        eos = model.model.shared.weight[model.config.eos_token_id]
        eos.mul_(3.0)
        last.bias.add_(eos * (eos_bonus / eos.dot(eos)))
    return model.eval()


def _sentencepiece(text: list[str], kind: str, size: int) -> sentencepiece.SentencePieceProcessor:
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=model,
        model_type=kind,
        vocab_size=size,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def _save(model: Any, folder: Path) -> None:
    _quietly(model.save_pretrained, folder)


def _quietly(function: Any, *arguments: Any, **named: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **named)
