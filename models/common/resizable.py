"""Buffers that are as large as what was learned."""

from typing import Any

import torch
from torch import Tensor, nn


class ResizableModule(nn.Module):
    """A module whose buffers take the size that they were saved in when a state is loaded."""

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        for name, buffer in list(self.named_buffers(recurse=False)):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)
