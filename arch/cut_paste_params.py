"""The settings that CutPaste and DNE both have."""

from dataclasses import dataclass
from typing import Literal

from augmentation.cut_paste import Variant
from models.common.density import Shrinkage


@dataclass(frozen=True)
class CutPasteParams:
    """The keys that CutPaste and DNE both have."""

    variant: Variant
    head_layers: int | None  # hidden layers besides the last; None: a linear head
    input_norm: Literal["imagenet", "half"]  # half: mean and standard deviation 0.5
    fixed_norms: bool  # batch norms of the trunk keep their pretrained statistics
    post_rotation: float  # degrees, either way
    optimizer: Literal["sgd", "adam"]
    lr: float
    weight_decay: float
    frozen_steps: int  # updates of the head alone, at first
    steps_per_epoch: int | None  # None: one pass over the training images
    shrinkage: Shrinkage
    density_views: int  # embeddings of a density of few images, their views included

    def __post_init__(self) -> None:
        least = {"frozen_steps": 0, "head_layers": 0, "post_rotation": 0, "lr": 0, "weight_decay": 0}
        for key, bound in {**least, "steps_per_epoch": 1, "density_views": 1}.items():
            value = getattr(self, key)
            if value is not None and value < bound:
                raise ValueError(f"_{key} must be at least {bound}, not {value}")
