"""A model folder back to the trainer's model, to train it further.

The graphs hold the weights rearranged (graphs/modules.py): projections packed into one layer,
queries divided by sqrt(C), and in int8 every row as bytes and a scale. linears.py knows which of
the trainer's layers each linear layer combines.

Most weights keep their names. But the exporter leaves out biases that are zero, and of equal
tensors it keeps one, under the name of the first. So the layers are read from the nodes that
compute them, which are in the order of computation.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from tfm.export.errors import ExportError
from tfm.export.quantization.linears import linear_layers
from tfm.runtime import Translator
from tfm.runtime.config import ModelConfig as FolderConfig
from tfm.trainer.checkpoint import Weights, build_model, load_checkpoint, outline_of, weights_of
from tfm.trainer.config import load_model_config
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.errors import TrainError
from tfm.trainer.model import Transformer

from .graph_weights import Array, GraphWeights, norms_of, read_graph
from .same_model import check_description, check_encoder, check_suppressed

CHECKPOINT_FILE = "checkpoint.json"  # in the model folder: the trainer's configuration
VARIANTS = ("fp32", "int8")  # that this can read, the better one first
STEP = "layers/"  # how step.py names what comes from the decoder's graph


def load_model(folder: Path) -> tuple[Transformer, Vocabulary]:
    """The model of a checkpoint or of a model folder, and its vocabulary.

    Raises:
        TrainError: the checkpoint cannot be read
        ModelError, ExportError: the model folder cannot be; see `unpack`
    """
    if (folder / CHECKPOINT_FILE).exists():
        return unpack(folder)
    if any((folder / name).is_dir() for name in VARIANTS):
        raise ExportError(f"{folder} has no {CHECKPOINT_FILE}: an older tfm exported it")
    return load_exportable(folder)


def load_exportable(checkpoint: Path) -> tuple[Transformer, Vocabulary]:
    """The model of a checkpoint, in evaluation mode, and its vocabulary: for every export.

    Raises:
        TrainError: the checkpoint cannot be read
        ExportError: its model is an experiment, which no graph and no other tool has the parts for
    """
    model, vocabulary = load_checkpoint(checkpoint)
    if model.config.ablations:
        raise ExportError(
            f"{checkpoint} was trained with ablations {', '.join(model.config.ablations)}: "
            "experiments cannot be exported"
        )
    return model, vocabulary


def unpack(folder: Path) -> tuple[Transformer, Vocabulary]:
    """The model of a folder that `tfm export` wrote, in evaluation mode, and its vocabulary.

    From fp32 where it is there, and then exact up to the rounding of sqrt(C); else from int8, whose
    rows are read as bytes times their scale.

    Raises:
        ModelError: the folder is damaged
        ExportError: it has neither variant, or its files are of different models
    """
    described = FolderConfig.load(folder)
    there = described.variants
    variant = next((name for name in VARIANTS if name in there), None)
    if variant is None:
        raise ExportError(f"{folder} has {', '.join(there)}: {' or '.join(VARIANTS)} is needed")
    there[variant].weights.verify(folder)
    config = load_model_config(folder / CHECKPOINT_FILE)
    check_description(config, described, folder)
    files = described.tokenizer
    one = files.source == files.target
    source = files.source.verify(folder)
    vocabulary = Vocabulary.read(source, source if one else files.target.verify(folder))
    vocabulary.check(config)
    try:
        graphs = {
            part: GraphWeights(read_graph(folder, there[variant], part), prefix)
            for part, prefix in (("encoder", ""), ("decoder", STEP))
        }
        outline = outline_of(config, sum(len(graph.rows) for graph in graphs.values()))
        model = build_model(config, _weights(outline, graphs)).eval()
    except (TrainError, ExportError) as error:
        raise ExportError(f"{folder / variant}: {error}; export the model again") from error
    check_encoder(model, Translator(folder, device="cpu", variant=variant), folder)
    return model, vocabulary


def _weights(model: Transformer, graphs: Mapping[str, GraphWeights]) -> Weights:
    """By the names of the trainer's state; of the model only its structure counts."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    weights: dict[str, Array] = {}
    scale = (model.config.d_model // model.config.num_heads) ** 0.5
    layers = linear_layers(model)
    for side, graph in graphs.items():
        own = [layer for layer in layers if layer.graph == side]
        for layer, (rows, bias) in zip(own, graph.linears([o.weight for o in own]), strict=True):
            if rows.shape[0] != sum(linear.out_features for linear in layer.linears):
                raise ExportError(f"{layer.name} has {rows.shape[0]} rows, by checkpoint.json more")
            sizes = np.cumsum([linear.out_features for linear in layer.linears])[:-1]
            parts, biases = np.split(rows, sizes), np.split(bias, sizes)
            is_query = "query" in layer.weight  # the first part, or the only one
            for index, (linear, part) in enumerate(zip(layer.linears, parts, strict=True)):
                factor = np.float32(scale if is_query and index == 0 else 1)
                weights[names[id(linear.weight)]] = part * factor
                if linear.bias is not None:
                    finite = np.isfinite(biases[index])  # not where a token is never written
                    weights[names[id(linear.bias)]] = np.where(finite, biases[index] * factor, 0)
        named = norms_of(model, side)
        for norm, (weight, bias) in zip(named, graph.norms(list(named)), strict=True):
            weights[f"{named[norm]}.weight"], weights[f"{named[norm]}.bias"] = weight, bias
    check_suppressed(model.config.suppress_ids, graphs["decoder"])
    weights["source_embeddings.tokens.weight"] = graphs["encoder"].table
    weights["target_embeddings.tokens.weight"] = graphs["decoder"].table
    expected = weights_of(model)
    return {
        name: torch.from_numpy(np.array(weights[name], dtype=np.float32, order="C"))
        for name in expected
    }
