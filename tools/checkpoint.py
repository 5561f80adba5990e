"""Trained models and interrupted runs as files: no code is run from them, they are whole or not there."""

import pickle
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from configuration.errors import UserError
from tools.files import replacing

_CHECKSUM = "im_iad_crc32"  # in the metadata; tells our files from others'
_END = struct.Struct("<8sI")  # of an interrupted run's file: magic, CRC-32 of all that comes before
_MAGIC = b"IMIAD\x00\x00\x01"
_PART = 2**20  # bytes that are read at once


def save_model(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a state to a file.

    Args:
        path: ends in .safetensors.
        state: name -> tensor, on any device.
        metadata: what the state was made from, such as the model, the net and the seed.

    Raises:
        UserError: the file cannot be written.
    """
    own = {name: _own(tensor) for name, tensor in state.items()}
    with replacing(path) as temporary:
        try:
            save_file(own, temporary, {**metadata, _CHECKSUM: _checksum(own, own.__getitem__)})
        except SafetensorError as error:  # the library's name for an error of the disk
            raise OSError(str(error)) from error


def check_model(path: Path, expected: Mapping[str, str], defaults: Mapping[str, str]) -> None:
    """Check that a file is a whole model which was made as expected; one tensor at a time is in memory.

    Args:
        path: the file.
        expected: metadata that must agree, such as the model.
        defaults: metadata that files of earlier versions lack.

    Raises:
        UserError: the file is missing, damaged, not from `save_model`, or of another model.
    """
    with _opened(path) as file:
        metadata = dict(file.metadata() or {})
        if _CHECKSUM not in metadata:
            raise UserError(f"{path}: not written by --save-model; weights of a net go to --weights")
        if metadata[_CHECKSUM] != _checksum(file.keys(), file.get_tensor):
            raise UserError(f"{path}: damaged (wrong checksum); save the model again")
        with forged(path):
            for name in file.keys():  # noqa: SIM118 - not a dict
                check_numbers(file.get_tensor(name), name)
    require_agreement(f"{path}: trained with", {**defaults, **metadata}, expected)


def load_model(path: Path) -> dict[str, Tensor]:
    """Return the state, on the CPU, in a file that `check_model` has passed, if it is still the same.

    Raises:
        UserError: the file is missing or damaged.
    """
    with _opened(path) as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        if (file.metadata() or {}).get(_CHECKSUM) != _checksum(state, state.__getitem__):
            raise UserError(f"{path}: damaged (wrong checksum); save the model again")
    return state


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except OSError as error:
        raise UserError(
            f"{path}: no model to load ({error.strerror or error}); save one with --save-model"
        ) from error
    except SafetensorError as error:
        raise UserError(f"{path}: damaged, or no safetensors file ({error}); save the model again") from error


def require_agreement(begun: str, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Compare what an earlier run was made of with what this one is made of.

    Args:
        begun: how the error begins.
        found: key -> value of the earlier run.
        expected: those that this run has; others are not looked at.

    Raises:
        UserError: a value is another one, or missing.
    """
    for key, value in expected.items():
        if found.get(key) != value:
            raise UserError(f"{begun} {key} {found.get(key)!r}, and the run has {value!r}; let them agree")


def _own(tensor: Tensor) -> Tensor:
    """Return the values on the CPU in memory that no other tensor shares, as the format wants it."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _checksum(names: Iterable[str], tensor: Callable[[str], Tensor]) -> str:
    """Return the CRC-32 over names and values, which the format itself does not hold."""
    check = 0
    for name in sorted(names):
        flat = tensor(name).contiguous().reshape(-1).view(torch.uint8).numpy().data
        check = zlib.crc32(flat, zlib.crc32(name.encode(), check))
    return f"{check:08x}"


def save_training(path: Path, state: Mapping[str, Any]) -> None:
    """Write the state of an interrupted run: tensors, numbers, texts, lists and dicts.

    Raises:
        UserError: the file cannot be written.
    """
    with replacing(path) as temporary:
        try:
            torch.save(dict(state), temporary)
        except RuntimeError as error:  # the library's name for an error of the disk
            raise OSError(str(error)) from error
        with temporary.open("r+b") as file:
            check = _file_checksum(file, temporary.stat().st_size)
            file.write(_END.pack(_MAGIC, check))  # readers of the archive look for its end before this


def load_training(path: Path) -> dict[str, Any]:
    """Read what `save_training` wrote; code inside a file is not run.

    Raises:
        UserError: the file is missing or damaged.
    """
    if not path.is_file():
        raise UserError(
            f"--resume {path.parent}: there is nothing to go on with: the run has finished, "
            "or had not begun; run the command without --resume"
        )
    anew = "run the command without --resume"
    try:
        if not _is_whole(path):
            raise UserError(f"{path}: damaged, or of an earlier version (wrong checksum); {anew}")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}); {anew}") from error
    with forged(path):
        check_numbers(state)
        return state


@contextmanager
def forged(path: Path) -> Iterator[None]:
    """Turn what a state of another making raises into one line; ours are whole, as their checksum says.

    Raises:
        UserError: the block raises.
    """
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{path}: holds something else than this version writes ({reason}); run without it"
        ) from error


def check_numbers(state: object, name: str = "") -> None:
    """Check the tensors of a nested state; only the best error of no epoch yet may be infinite.

    Raises:
        ValueError: one holds numbers that are not finite, or negative variances.
    """
    if isinstance(state, Mapping):
        for key, value in state.items():
            check_numbers(value, str(key))
    elif isinstance(state, list | tuple):
        for value in state:
            check_numbers(value, name)
    elif isinstance(state, Tensor) and name != "best_error":
        if state.layout != torch.strided or not bool(torch.isfinite(state).all()):
            raise ValueError(f"{name} holds numbers that are not finite")
        if name.endswith("running_var") and bool((state < 0).any()):
            raise ValueError(f"{name} holds negative variances")


def _is_whole(path: Path) -> bool:
    size = path.stat().st_size - _END.size
    if size < 0:
        return False
    with path.open("rb") as file:
        check = _file_checksum(file, size)
        return file.read() == _END.pack(_MAGIC, check)


def _file_checksum(file: BinaryIO, size: int) -> int:
    """Return the CRC-32 of the next bytes of a file, so many of them."""
    check = 0
    for start in range(0, size, _PART):
        check = zlib.crc32(file.read(min(_PART, size - start)), check)
    return check
