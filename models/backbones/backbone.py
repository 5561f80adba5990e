"""Backbones: one face for the nets whose feature maps the methods work on."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from models.backbones.stages import StageTrunk
from models.backbones.table import row_of
from models.common.folding import fold_norms

_PROBE_SIZE = (64, 64)  # pixels


class HasImage(Protocol):
    """A batch of images, and whatever else is known of them."""

    @property
    def image(self) -> Tensor:
        """The (B, 3, H, W) images."""


class Backbone(nn.Module):
    """A net that gives feature maps: trainable as it is, or frozen for extraction.

    Args:
        name: of a row of this package, or timm/<model>.
        layers: what `forward` returns, in this order, of the row's layers and pooled, which is the mean over
            the net's last map, in vit_b_16 the class token after the final norm.

    Attributes:
        extraction_batch: images in a chunk by kind of device; chunks are always full, so that features do not
            depend on the batch.
        channels: width of each layer.
        strides: pixels between the neighbours of each map; `pooled` has none.
        input_size: height and width in pixels, of nets that take no other; None for the rest.
        source: where its weights are from; see `BackboneRow`.

    Raises:
        ValueError: the name or a layer does not exist.
    """

    extraction_batch: ClassVar[dict[str, int]] = {"cpu": 8, "cuda": 32}

    mean: Tensor  # (1, 3, 1, 1)
    std: Tensor  # (1, 3, 1, 1)

    def __init__(self, name: str, layers: Sequence[str]) -> None:
        super().__init__()
        row = row_of(name)
        row.check_layers(layers)
        self.name = name
        self.source = row.source
        self.layers = tuple(layers)
        self.frozen = False
        self.trunk = row.build(layers)
        self.input_size = row.input_size
        self.register_buffer("mean", torch.tensor(row.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(row.std).view(1, 3, 1, 1), persistent=False)
        self.channels, self.strides = self._measure()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map a (B, 3, H, W) image in [0, 1] to maps (B, C, h, w), and `pooled` (B, C), by layer.

        Raises:
            ValueError: the net takes images of one size only, and these have another.
        """
        if self.input_size not in (None, tuple(image.shape[2:])):
            found = "x".join(str(side) for side in image.shape[2:])
            raise ValueError(f"{self.name} takes {'x'.join(map(str, self.input_size))} pixels, not {found}")
        features = self.trunk((image - self.mean) / self.std)
        return {layer: features[layer] for layer in self.layers}

    def skip_normalisation(self) -> None:
        """Take images as they are, in [0, 1]."""
        self.mean.zero_()
        self.std.fill_(1)

    def freeze(self) -> "Backbone":
        """Fix the weights, for good, and make scoring fast; return self."""
        self.frozen = True
        self.eval()
        if isinstance(self.trunk, StageTrunk):
            fold_norms(self.trunk)
        self.requires_grad_(False)
        return self.to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode as every module does; a frozen backbone stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def extract(self, batch: HasImage) -> dict[str, Tensor]:
        """Return what `forward` returns, without gradient, contiguous, in chunks of a fixed size.

        The last chunk is filled up by repetition, so that an image's features are the same, bit for bit,
        whatever batch it comes in.

        Args:
            batch: its `image` is (B, 3, H, W) in [0, 1], B at least 1.

        Raises:
            RuntimeError: the backbone is not frozen.
        """
        if not self.frozen:
            raise RuntimeError(f"{self.name}: freeze() comes before extract()")
        image = batch.image
        size = self.extraction_batch.get(image.device.type, self.extraction_batch["cpu"])
        chunks = [
            self._extract_chunk(image[start : start + size], size) for start in range(0, len(image), size)
        ]
        return {layer: torch.cat([chunk[layer] for chunk in chunks]) for layer in self.layers}

    @torch.inference_mode()
    def _extract_chunk(self, image: Tensor, size: int) -> dict[str, Tensor]:
        count = image.shape[0]
        full = torch.cat([image, image[-1:].expand(size - count, -1, -1, -1)])
        return {layer: feature[:count].contiguous() for layer, feature in self(full).items()}

    def load_weights(self, state: Mapping[str, Tensor], partial: bool) -> bool:
        """Copy the entries in use from a state dict of the whole net, under its library's names.

        Args:
            state: entries that are not in use, as of later stages or the classifier, are ignored.
            partial: accept that entries in use are missing; they keep their random values.

        Returns:
            Whether entries in use were missing.

        Raises:
            ValueError: an entry has another shape or cannot be one of a net, or is missing without `partial`,
                or all are missing.
            RuntimeError: the backbone is frozen.
        """
        if self.frozen:
            raise RuntimeError(f"{self.name}: load_weights() comes before freeze()")
        available = {_plain(key): tensor for key, tensor in state.items()}
        wanted = self._wanted()
        missing = [key for key in wanted if _plain(key) not in available]
        if missing and (not partial or len(missing) == len(wanted)):
            mend = f"give a file of {self.name}" + ", or --partial-weights" * (len(missing) < len(wanted))
            raise ValueError(
                f"{self.name}: the weights lack {len(missing)} of {len(wanted)} entries in use: "
                f"{_first(missing)}; the file has {_first(list(state)) or 'none'}; {mend}"
            )
        for key in wanted.keys() - set(missing):
            found = available[_plain(key)]
            if found.shape != wanted[key].shape:
                raise ValueError(
                    f"{self.name}: {key} is {tuple(found.shape)}, not {tuple(wanted[key].shape)}; "
                    f"give a file of {self.name}"
                )
            _check_values(key, found)
            wanted[key].copy_(found)
        return bool(missing)

    def prefix_of(self, names: Collection[str]) -> str:
        """Return what stands before the net's own names in another tool's state dict, such as "module."."""
        wanted = {_plain(key) for key in self._wanted()}
        prefixes = {name[: place + 1] for name in names for place, letter in enumerate(name) if letter == "."}

        def num_found(prefix: str) -> int:
            return len(wanted & {_plain(n.removeprefix(prefix)) for n in names if n.startswith(prefix)})

        return max(["", *sorted(prefixes, key=len)], key=num_found)  # of equally good ones the shortest

    def _wanted(self) -> dict[str, Tensor]:
        return {key: value for key, value in self.trunk.state_dict().items() if "num_batches" not in key}

    @torch.no_grad()
    def shapes(self, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
        """Return the shapes (C, h, w), of `pooled` (C,), of what `forward` gives for an image (H, W).

        Raises:
            ValueError: the net takes images of one size only, and this is another.
        """
        was_training = self.training
        features = self.eval()(self.mean.new_zeros(1, 3, *size))
        self.train(was_training)
        return {layer: tuple(feature.shape[1:]) for layer, feature in features.items()}

    def fingerprint(self) -> str:
        """Return a hash of the weights in use and the normalisation: what its features depend on."""
        digest = hashlib.blake2b(self.name.encode(), digest_size=16)
        for key, value in {**self.state_dict(), "mean": self.mean, "std": self.std}.items():
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def _measure(self) -> tuple[dict[str, int], dict[str, int]]:
        """Read widths and strides off the features of a black image."""
        size = self.input_size or _PROBE_SIZE
        shapes = self.shapes(size)
        channels = {layer: shape[0] for layer, shape in shapes.items()}
        return channels, {layer: size[0] // shape[1] for layer, shape in shapes.items() if len(shape) == 3}


def _check_values(key: str, value: Tensor) -> None:
    """Refuse numbers that no trained net has: a run would end in a loss that is not finite.

    Raises:
        ValueError: they are not finite, or of a variance and negative.
    """
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{key} holds numbers that are not finite; fetch the file again")
    if key.endswith("running_var") and bool((value < 0).any()):
        raise ValueError(f"{key} holds negative variances; fetch the file again")


def _first(names: Sequence[str]) -> str:
    return ", ".join([*names[:3], *["..."] * (len(names) > 3)])


def _plain(key: str) -> str:
    """Reduce a parameter's name to what its spellings have in common.

    timm's feature nets flatten names (stages.0 to stages_0) or prefix them; torchvision's EfficientNet keeps
    its stages under `features`, and its file of vit_b_16 names the linear layers of the MLPs, which its code
    has numbered since.
    """
    key = key.removeprefix("net.").removeprefix("model.").removeprefix("features.")
    return key.replace("mlp.linear_1", "mlp.0").replace("mlp.linear_2", "mlp.3").replace(".", "_")
