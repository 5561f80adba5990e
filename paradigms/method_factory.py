"""Build a method: seeded, with its pretrained backbone in place, frozen and cached."""

import functools
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from arch.base import ModelBase
from arch.runtime import ImageReader
from configuration import registration
from configuration.config import RunConfig, method_values
from configuration.errors import UserError
from configuration.program import interrupts_wait
from data_io.data_holder import storage_of
from data_io.feature_cache import FeatureCache
from data_io.images import folder_images
from data_io.records import derive_seed
from data_io.table import Table
from data_io.tensor_store import TensorStore
from models.backbones.backbone import Backbone
from models.backbones.row import POOLED, MissingLayerError
from tools.progress import progress
from tools.weights import find_weights

CHECKPOINTS_VARIABLE = "IMIAD_CHECKPOINTS"


@dataclass(frozen=True)
class Built:
    """A new, untrained method, and what the runner lends it.

    Args:
        method: the method.
        weights: what the `weights` column says of its backbone.
        features: reads its frozen features through the cache; None without a frozen backbone.
        folder_images: reads its image folder at a side in pixels.
        notes: lines for the user.
    """

    method: ModelBase
    weights: str
    features: FeatureCache | None
    folder_images: Callable[[int], ImageReader]
    notes: tuple[str, ...] = ()


def build_method(config: RunConfig, store: TensorStore | None) -> Built:
    """Build the method of a run.

    The random start depends on the run's seed only: every task's model starts from the same weights.

    Raises:
        UserError: the pretrained weights cannot be had or do not fit.
    """
    _refuse_pooled_maps(config)
    make_deterministic(derive_seed(config.run.seed, "model"))
    try:
        with interrupts_wait():
            method: ModelBase = registration.load(registration.MODELS[config.run.model])(
                config, config.params
            )
    except ValueError as error:  # a layer that the backbone lacks, a width that does not fit
        mend = _layers_mend(error, config)
        raise UserError(f"--model {config.run.model} with --net {config.run.net}: {error}{mend}") from error
    method.net.to(method.device)  # a method that has forgotten one of them is told so here
    if config.train.compile:
        compile_net(method)
    reader = _folder_reader(method, config, store)
    if method.image_folder is not None:
        reader(config.data.data_crop_size)  # a folder that cannot be read is named before anything is trained
    weights, notes = prepare_backbone(method, config)
    features = None
    if method.backbone is not None and method.has_frozen_backbone:
        memory_mb = config.data.feature_memory_mb
        features = FeatureCache(method.backbone, store, memory_mb, method.device, config.run.amp)
    return Built(method, weights, features, reader, notes)


def _layers_mend(error: ValueError, config: RunConfig) -> str:
    """Return which layers to set where a net has others than the method's defaults."""
    keys = [key for key in ("_layers", "_layer") if key in method_values(config)]
    if not isinstance(error, MissingLayerError) or not keys:
        return ""
    value = f"[{', '.join(error.maps)}]" if keys == ["_layers"] else error.maps[-1]
    return f"; --set {keys[0]}={value}, or some of them"


def _refuse_pooled_maps(config: RunConfig) -> None:
    for key in ("_layer", "_layers"):
        if POOLED in method_values(config).get(key, ()):
            raise UserError(f"{config.origin[key]}: {key} names {POOLED}, which is no map; leave it out")


def _folder_reader(
    method: ModelBase, config: RunConfig, store: TensorStore | None
) -> Callable[[int], ImageReader]:
    """Return what reads the method's image folder, each size once."""
    storage = storage_of(config, store, progress)

    @functools.cache
    def read(side: int) -> Table:
        if method.image_folder is None:
            raise LookupError(f"{config.run.model} names no image folder")
        return folder_images(method.image_folder, side, storage)

    return read


def prepare_backbone(method: ModelBase, config: RunConfig) -> tuple[str, tuple[str, ...]]:
    """Give the backbone its weights and freeze it where it is a frozen one.

    Returns:
        What the row says of the weights, and lines for the user.

    Raises:
        UserError: the weights cannot be had or do not fit, or the images have another size than it takes.
    """
    backbone = method.backbone
    if backbone is None:
        return "", ()
    wanted, side = backbone.input_size, config.data.data_crop_size
    if wanted is not None and wanted != (side, side):
        raise UserError(
            f"data_crop_size {side}: {config.run.backbone} takes {wanted[0]}; --set data_crop_size"
        )
    weights, notes = load_pretrained(backbone, config)
    backbone.to(method.device)
    method.freeze_backbone()
    return weights, notes


def compile_net(method: ModelBase) -> None:
    """Compile net and trunk wherever they are called as a whole; copies of them are as they would be without.

    Raises:
        UserError: on a CPU, where torch has no compiler to compile with.
    """
    compiler = os.environ.get("CXX", "g++")
    if method.device.type == "cpu" and shutil.which(compiler) is None:
        raise UserError(
            f"compile: true needs a C++ compiler, and there is no {compiler}; install it, or set CXX"
        )
    method.net.compile()
    for part in method.net.modules():
        if isinstance(part, Backbone):  # some methods train it on its own
            part.compile()


def load_pretrained(backbone: Backbone, config: RunConfig) -> tuple[str, tuple[str, ...]]:
    """Put the weights that `-w` asks for into a backbone; see `prepare_backbone`."""
    name = config.run.backbone
    extra = os.environ.get(CHECKPOINTS_VARIABLE, "").split(os.pathsep)
    folders = [registration.ROOT / "checkpoints", *(Path(folder) for folder in extra if folder)]
    state, described = find_weights(name, backbone.source, config.run.weights, folders)
    if state is None:
        return described, ("the backbone starts from random weights (-w none)",)
    prefix = backbone.prefix_of(state)
    own = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    notes = (f"-w {config.run.weights}: the names of its entries begin with {prefix!r}",) if prefix else ()
    try:
        is_partial = backbone.load_weights(own, config.run.partial_weights)
    except ValueError as error:
        raise UserError(f"-w {config.run.weights}: {error}") from error
    return (f"{described}+partial" if is_partial else described), notes


def make_deterministic(seed: int) -> None:
    """Seed what libraries draw from by themselves, and choose repeatable algorithms."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS does not repeat itself
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling new tensors with NaN would show reads of unset memory, and costs a tenth of a training step.
    # mypy does not know the module's property, which torch adds by changing the module's class.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
