"""Build a method: seeded, with its pretrained backbone in place, frozen and cached."""

import os
import shutil
from pathlib import Path

import torch

from arch.base import ModelBase
from configuration import registration
from configuration.config import RunConfig
from configuration.errors import UserError
from data_io.feature_cache import FeatureCache
from data_io.image_folder import folder_images
from data_io.records import derive_seed
from data_io.tensor_store import TensorStore
from models.common.backbone import Backbone
from models.common.trunk import POOLED
from tools.progress import progress, progress_bar
from tools.weights import find_weights

CHECKPOINTS_VARIABLE = "IMIAD_CHECKPOINTS"


def build_method(config: RunConfig, store: TensorStore | None) -> tuple[ModelBase, str]:
    """Return a new, untrained method and what the `weights` column says of its backbone.

    The random start depends on the run's seed only: every task's model starts from the same weights.

    Raises:
        UserError: the pretrained weights cannot be had or do not fit.
    """
    for key in ("layer", "layers"):
        if POOLED in getattr(config.params, key, ()):
            raise UserError(
                f"{config.origin[f'_{key}']}: _{key} names {POOLED}, which is no map; leave it out"
            )
    make_deterministic(derive_seed(config.run.seed, "model"))
    try:
        method: ModelBase = registration.load(registration.MODELS[config.run.model])(config, config.params)
    except ValueError as error:  # a layer that the backbone lacks, a width that does not fit
        raise UserError(f"--model {config.run.model} with --net {config.run.net}: {error}") from error
    method.bar = progress_bar
    if config.train.compile:
        compile_net(method)
    if method.image_folder is not None:
        images = folder_images(method.image_folder, config.data, method.device, store, progress)
        method.folder_images = images
    if method.backbone is None:
        return method, ""
    wanted, side = method.backbone.input_size, config.data.data_crop_size
    if wanted is not None and wanted != (side, side):
        raise UserError(
            f"data_crop_size {side}: {config.run.backbone} takes {wanted[0]}; --set data_crop_size"
        )
    weights = load_pretrained(method, config)
    method.backbone.to(method.device)
    method.freeze_backbone()
    if method.has_frozen_backbone:
        method.feature_reader = FeatureCache(
            method.backbone, store, config.data.feature_memory_mb, method.device, config.run.amp
        )
    return method, weights


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


def load_pretrained(method: ModelBase, config: RunConfig) -> str:
    """Put the weights that `-w` asks for into the method's backbone; return what the row says of them."""
    if method.backbone is None:
        raise ValueError("the method has no backbone")
    name = config.run.backbone
    extra = os.environ.get(CHECKPOINTS_VARIABLE, "").split(os.pathsep)
    folders = [registration.ROOT / "checkpoints", *(Path(folder) for folder in extra if folder)]
    state, described = find_weights(name, config.run.weights, folders)
    if state is None:
        return described
    try:
        is_partial = method.backbone.load_weights(state, config.run.partial_weights)
    except ValueError as error:
        mend = "" if config.run.partial_weights else ", or --partial-weights"
        raise UserError(f"-w {config.run.weights}: {error}; give a file of {name}{mend}") from error
    return f"{described}+partial" if is_partial else described


def make_deterministic(seed: int) -> None:
    """Seed what libraries draw from by themselves, and choose repeatable algorithms."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS does not repeat itself
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling new tensors with NaN would show reads of unset memory, and costs a tenth of a training step.
    # mypy does not know the module's property, which torch adds by changing the module's class.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
