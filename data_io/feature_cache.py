"""Frozen features, computed once per image: over epochs, tasks, methods and runs."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from data_io.records import ScoringBatch, TrainBatch
from data_io.tensor_store import TensorStore

MEBIBYTE = 2**20


class Extractor(Protocol):
    """A frozen backbone, as the cache sees it."""

    layers: tuple[str, ...]

    def extract(self, batch: ScoringBatch) -> dict[str, Tensor]:
        """Return the feature maps of a batch, those of an image independent of the others."""

    def fingerprint(self) -> str:
        """Return what the features depend on besides the image."""


class FeatureCache:
    """Read a batch's feature maps from memory, else from disk, else from the backbone.

    Training images are also held in memory, since a fit reads them more than once.

    Args:
        backbone: the frozen backbone.
        store: the cache on disk; None for none.
        memory_mb: bound on the features held in memory, in MiB.
        device: where the features are wanted.
        precision: "off", "bf16" or "fp16": features of another precision are other features.

    Attributes:
        num_extracted: images that the backbone has seen.
    """

    def __init__(
        self,
        backbone: Extractor,
        store: TensorStore | None,
        memory_mb: int,
        device: torch.device,
        precision: str,
    ) -> None:
        self.backbone = backbone
        self.store = store
        self.device = device
        self.num_extracted = 0
        self._namespace = {
            layer: f"{backbone.fingerprint()}-{device.type}-{precision}-{layer}" for layer in backbone.layers
        }
        self._memory_left = memory_mb * MEBIBYTE
        self._memory_limit = self._memory_left
        self._memory: dict[int, dict[str, Tensor]] = {}

    def read(self, batch: ScoringBatch) -> dict[str, Tensor]:
        """Return layer -> (B, C, h, w) float32 on the device."""
        keys = batch.image_key.tolist()
        features = self._from_memory(keys) or self._from_disk(keys) or self._extract(batch, keys)
        if isinstance(batch, TrainBatch):
            self._remember(keys, features)
        return features

    def forget(self) -> None:
        """Drop what is held in memory."""
        self._memory.clear()
        self._memory_left = self._memory_limit

    def _from_memory(self, keys: Sequence[int]) -> dict[str, Tensor] | None:
        if any(key not in self._memory for key in keys):
            return None
        held = [self._memory[key] for key in keys]
        return {layer: torch.stack([maps[layer] for maps in held]) for layer in self.backbone.layers}

    def _from_disk(self, keys: Sequence[int]) -> dict[str, Tensor] | None:
        if self.store is None:
            return None
        features = {}
        for layer, namespace in self._namespace.items():
            arrays = self.store.get_many(namespace, [f"{key:016x}" for key in keys])
            found = [array for array in arrays if array is not None]
            if len(found) < len(keys):
                return None
            features[layer] = torch.from_numpy(np.stack(found)).to(self.device)
        return features

    def _extract(self, batch: ScoringBatch, keys: Sequence[int]) -> dict[str, Tensor]:
        features = {layer: maps.float().contiguous() for layer, maps in self.backbone.extract(batch).items()}
        self.num_extracted += len(keys)
        if self.store is not None:
            names = [f"{key:016x}" for key in keys]
            for layer, maps in features.items():
                self.store.put_many(self._namespace[layer], names, maps.cpu().numpy())
        return features

    def _remember(self, keys: Sequence[int], features: dict[str, Tensor]) -> None:
        """Hold the new images of a batch in one piece: image by image they would fragment the memory."""
        rows = {key: row for row, key in enumerate(keys) if key not in self._memory}
        size = sum(values[0].nbytes for values in features.values()) * len(rows)
        if size > self._memory_left:
            return
        held = {layer: values[list(rows.values())] for layer, values in features.items()}  # a copy
        for place, key in enumerate(rows):
            self._memory[key] = {layer: values[place] for layer, values in held.items()}
        self._memory_left -= size
