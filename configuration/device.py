"""Which device a run computes on; the only file of this folder that imports torch."""

from typing import Literal

import torch


def choose_device(gpu: int | Literal["cpu"]) -> tuple[str, tuple[str, ...]]:
    """Return the device as torch spells it, and a line for the user where it is not the one asked for.

    Args:
        gpu: index of a GPU; "cpu" or -1 for none.
    """
    if gpu in ("cpu", -1):
        return "cpu", ()
    count = torch.cuda.device_count()
    if count == 0:
        return "cpu", (f"no GPU here: asked for GPU {gpu}, running on the CPU",)
    if int(gpu) >= count:
        return "cuda:0", (f"no GPU {gpu} here: running on GPU 0",)
    return f"cuda:{gpu}", ()
