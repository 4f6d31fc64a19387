"""Marian's Transformer in numpy, and small models of it with random weights.

Written after the formulas of Marian's src/models/transformer.h and of the papers it follows. It
reads the .npz itself and shares no code with tfm: the oracle of `tfm import model.npz`.
"""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from helpers.numerals import LARGEST, chinese, english

Array = NDArray[np.float32]

EPSILON = 1e-6  # of layer normalization
NUMBERS = range(1, LARGEST, 7)
SOURCES, TARGETS = [chinese(n) for n in NUMBERS], [english(n) for n in NUMBERS]
PRE_NORM = {
    "transformer-preprocess": "n",
    "transformer-postprocess": "da",
    "transformer-postprocess-top": "n",
}
SSRU = {"transformer-decoder-autoreg": "rnn", "dec-cell": "ssru"}
SETTINGS: dict[str, Any] = {
    "dec-cell": "gru",
    "dec-depth": 2,
    "dim-emb": 16,
    "enc-depth": 2,
    "input-types": [],
    "layer-normalization": False,
    "lemma-dim-emb": 0,
    "output-omit-bias": False,
    "right-left": False,
    "tied-embeddings": False,
    "tied-embeddings-all": False,
    "tied-embeddings-src": False,
    "transformer-decoder-autoreg": "self-attention",
    "transformer-decoder-dim-ffn": 0,
    "transformer-dim-ffn": 24,
    "transformer-ffn-activation": "swish",
    "transformer-ffn-depth": 2,
    "transformer-guided-alignment-layer": "last",
    "transformer-heads": 2,
    "transformer-no-projection": False,
    "transformer-postprocess": "dan",
    "transformer-postprocess-emb": "d",
    "transformer-postprocess-top": "",
    "transformer-preprocess": "",
    "transformer-tied-layers": [],
    "transformer-train-position-embeddings": False,
    "type": "transformer",
    "ulr": False,
    "version": "v1.12.0 1234567 2023-01-01 00:00:00 +0000",
}


def train_spm(text: list[str], size: int) -> bytes:
    """A SentencePiece model with the special pieces that Marian gives its own."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=model,
        vocab_size=size,
        hard_vocab_limit=False,
        bos_id=-1,
        eos_id=0,
        unk_id=1,
        pad_id=-1,
        minloglevel=2,
    )
    return model.getvalue()


def yaml_of(settings: dict[str, Any]) -> str:
    """As yaml-cpp writes them."""
    lines = []
    for key, value in sorted(settings.items()):
        if isinstance(value, list):
            lines += [f"{key}:", *(f"  - {v}" for v in value)] if value else [f"{key}:\n  []"]
        elif isinstance(value, bool):
            lines.append(f"{key}: {str(value).lower()}")
        else:
            lines.append(f'{key}: ""' if value == "" else f"{key}: {value}")
    return "\n".join(lines)


def random_weights(
    settings: dict[str, Any], sizes: tuple[int, int], seed: int = 0
) -> dict[str, Array]:
    """Every weight that Marian would have, each random, by its name."""
    random = np.random.default_rng(seed)
    d = settings["dim-emb"]
    weights: dict[str, Array] = {}

    def add(name: str, *shape: int, mean: float = 0.0, scale: float = 0.4) -> None:
        weights[name] = random.normal(mean, scale, shape).astype(np.float32)

    def norm(name: str) -> None:
        pre = settings["transformer-preprocess"] == "n" and not name.endswith("_top")
        for kind, mean in (("scale", 1.0), ("bias", 0.0)):
            add(f"{name}_ln_{kind}{'_pre' if pre else ''}", 1, d, mean=mean, scale=0.2)

    def attention(name: str) -> None:
        for letter in "qkvo":
            add(f"{name}_W{letter}", d, d)
            add(f"{name}_b{letter}", 1, d)
        norm(f"{name}_Wo")

    def feed_forward(name: str, width: int) -> None:
        for number, rows, columns in ((1, d, width), (2, width, d)):
            add(f"{name}_W{number}", rows, columns)
            add(f"{name}_b{number}", 1, columns)
        norm(f"{name}_ffn")

    if settings["tied-embeddings-all"] or settings["tied-embeddings-src"]:
        add("Wemb", sizes[0], d)
    else:
        add("encoder_Wemb", sizes[0], d)
        add("decoder_Wemb", sizes[1], d)
    if not (settings["tied-embeddings"] or settings["tied-embeddings-all"]):
        add("decoder_ff_logit_out_Wt", sizes[1], d)
    if not settings["output-omit-bias"]:
        add("decoder_ff_logit_out_b", 1, sizes[1])
    for layer in range(1, settings["enc-depth"] + 1):
        attention(f"encoder_l{layer}_self")
        feed_forward(f"encoder_l{layer}_ffn", settings["transformer-dim-ffn"])
    own = settings["transformer-decoder-dim-ffn"] or settings["transformer-dim-ffn"]
    for layer in set(decoder_layers(settings)):
        name = f"decoder_l{layer}"
        if settings["transformer-decoder-autoreg"] == "rnn":
            add(f"{name}_rnn_W", d, d)
            add(f"{name}_rnn_Wf", d, d)
            add(f"{name}_rnn_bf", 1, d)
            norm(f"{name}_rnn" if settings["transformer-preprocess"] else f"{name}_rnn_ffn")
        else:
            attention(f"{name}_self")
        attention(f"{name}_context")
        feed_forward(f"{name}_ffn", own)
    if settings["transformer-postprocess-top"]:
        norm("encoder_top")
        norm("decoder_top")
    return weights


def decoder_layers(settings: dict[str, Any]) -> list[int]:
    """The number in the names of every layer's weights."""
    tied: list[int] = settings["transformer-tied-layers"]
    return tied or list(range(1, settings["dec-depth"] + 1))


def write_model(
    path: Path, settings: dict[str, Any], weights: dict[str, Array], compress: bool = False
) -> None:
    """An .npz as Marian writes it."""
    text = np.frombuffer(yaml_of(settings).encode() + b"\0", dtype=np.int8)
    write = np.savez_compressed if compress else np.savez
    write(path, **{"special:model.yml": text}, **weights)


def write_marian(
    folder: Path, seed: int = 0, joint: bool = False, changed: dict[str, Any] | None = None
) -> Path:
    """A folder with model.npz, the vocabularies and a decoder.yml; returns the model's path.

    Args:
        changed: settings
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = SETTINGS | (changed or {})
    texts = [SOURCES + TARGETS] if joint else [SOURCES, TARGETS]
    names = ["joint.spm"] if joint else ["source.spm", "target.spm"]
    models = [train_spm(text, 80 if joint else 60) for text in texts]
    for name, model in zip(names, models, strict=True):
        (folder / name).write_bytes(model)
    processors = [sentencepiece.SentencePieceProcessor(model_proto=model) for model in models]
    sizes = (processors[0].vocab_size(), processors[-1].vocab_size())
    path = folder / "model.npz"
    write_model(path, settings, random_weights(settings, sizes, seed))
    (folder / "decoder.yml").write_text(
        "relative-paths: true\nmodels:\n  - model.npz\nvocabs:\n"
        f"  - {names[0]}\n  - {names[-1]}\nbeam-size: 6\nnormalize: 1\nword-penalty: 0\n"
    )
    return path


class MarianModel:
    """A model of an .npz, computed as Marian computes it for scoring."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        with np.load(path) as file:
            self.weights = {name: file[name] for name in file.files if name[:8] != "special:"}
        self.settings = settings
        self.pre_norm = settings["transformer-preprocess"] == "n"

    def log_probs(self, source: list[int], target: list[int]) -> Array:
        """Log-probabilities [T, V] of every token of target, EOS among them, and its rivals."""
        memory = self._encode(source)
        shifted = np.zeros((len(target), memory.shape[1]), np.float32)
        shifted[1:] = self._table("decoder")[target[:-1]]
        x = self._embed(shifted)
        causal = np.tril(np.ones((len(target), len(target)), bool))
        everything = np.ones((len(target), len(memory)), bool)
        for number in decoder_layers(self.settings):
            name = f"decoder_l{number}"
            if self.settings["transformer-decoder-autoreg"] == "rnn":
                x = self._sublayer(x, name + "_rnn", name + "_rnn_ffn", self._ssru(name + "_rnn"))
            else:
                x = self._attend(x, None, name + "_self", causal)
            x = self._attend(x, memory, name + "_context", everything)
            x = self._feed_forward(x, name + "_ffn")
        if self.settings["transformer-postprocess-top"]:
            x = self._norm(x, "decoder_top", "")
        table = self.weights.get("decoder_ff_logit_out_Wt")
        logits = x @ (self._table("decoder") if table is None else table).T
        if not self.settings["output-omit-bias"]:
            logits = logits + self.weights["decoder_ff_logit_out_b"]
        logits = logits - logits.max(axis=1, keepdims=True)
        return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))

    def _encode(self, source: list[int]) -> Array:
        x = self._embed(self._table("encoder")[source])
        everything = np.ones((len(source), len(source)), bool)
        for number in range(1, self.settings["enc-depth"] + 1):
            x = self._attend(x, None, f"encoder_l{number}_self", everything)
            x = self._feed_forward(x, f"encoder_l{number}_ffn")
        if self.settings["transformer-postprocess-top"]:
            x = self._norm(x, "encoder_top", "")
        return x

    def _table(self, side: str) -> Array:
        return self.weights["Wemb" if "Wemb" in self.weights else f"{side}_Wemb"]

    def _embed(self, embedded: Array) -> Array:
        length, d = embedded.shape
        half = d // 2
        rates = np.exp(np.arange(half) * -(np.log(10000.0) / (half - 1)))
        angles = np.arange(length)[:, None] * rates
        positions = np.concatenate((np.sin(angles), np.cos(angles)), axis=1)
        return np.asarray(np.sqrt(d) * embedded + positions, dtype=np.float32)

    def _sublayer(self, x: Array, before: str, after: str, function: Any) -> Array:
        if self.pre_norm:
            return np.asarray(x + function(self._norm(x, before, "_pre")))
        return self._norm(x + function(x), after, "")

    def _attend(self, x: Array, memory: Array | None, name: str, mask: NDArray[np.bool_]) -> Array:
        heads = self.settings["transformer-heads"]

        def split(letter: str, y: Array) -> Array:
            projected = y @ self.weights[f"{name}_W{letter}"] + self.weights[f"{name}_b{letter}"]
            return np.asarray(projected.reshape(len(y), heads, -1).transpose(1, 0, 2))

        def attention(y: Array) -> Array:
            keys = y if memory is None else memory
            q, k, v = split("q", y), split("k", keys), split("v", keys)
            scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[2])
            scores = np.where(mask, scores, -99999999.0)
            weights = np.exp(scores - scores.max(axis=2, keepdims=True))
            weights /= weights.sum(axis=2, keepdims=True)
            joined = (weights @ v).transpose(1, 0, 2).reshape(len(y), -1)
            return np.asarray(joined @ self.weights[f"{name}_Wo"] + self.weights[f"{name}_bo"])

        return self._sublayer(x, f"{name}_Wo", f"{name}_Wo", attention)

    def _feed_forward(self, x: Array, name: str) -> Array:
        def inner(y: Array) -> Array:
            hidden = self._activation(y @ self.weights[f"{name}_W1"] + self.weights[f"{name}_b1"])
            return np.asarray(hidden @ self.weights[f"{name}_W2"] + self.weights[f"{name}_b2"])

        return self._sublayer(x, f"{name}_ffn", f"{name}_ffn", inner)

    def _activation(self, x: Array) -> Array:
        kind = self.settings["transformer-ffn-activation"]
        if kind == "relu":
            return np.maximum(x, 0)
        if kind == "swish":
            return np.asarray(x / (1 + np.exp(-x)))
        return np.asarray(x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2)

    def _ssru(self, name: str) -> Any:
        def cell(y: Array) -> Array:
            inputs = y @ self.weights[f"{name}_W"]
            forget = 1 / (
                1 + np.exp(-(y @ self.weights[f"{name}_Wf"] + self.weights[f"{name}_bf"]))
            )
            state, states = np.zeros_like(inputs[0]), []
            for f, x in zip(forget, inputs, strict=True):
                state = f * state + (1 - f) * x
                states.append(state)
            return np.maximum(np.stack(states), 0)

        return cell

    def _norm(self, x: Array, name: str, end: str) -> Array:
        mean = x.mean(axis=1, keepdims=True)
        deviation = np.sqrt(((x - mean) ** 2).mean(axis=1, keepdims=True) + EPSILON)
        scale, bias = (self.weights[f"{name}_ln_{kind}{end}"] for kind in ("scale", "bias"))
        return np.asarray(scale * (x - mean) / deviation + bias)
