"""CutPaste: a trunk learns to find pasted patches; the score is the distance to its normal embeddings.

Source: Li et al., "CutPaste: Self-Supervised Learning for Anomaly Detection and Localization", CVPR 2021.
There is no code of the authors; width and depth of the head are those of the best-known reimplementation.
Differs from the source: the trunk starts from pretrained weights (`-w none`: from random ones, as in the
paper's main table); images are not shifted; the covariance is shrunk; there are no anomaly maps.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from arch.kinds.cut_paste import CutPasteMethod, CutPasteParams
from configuration.config import RunConfig
from data_io.records import Task
from models.common.density import KernelDensity, NearestGaussian, fit_gaussian


class CutPaste(CutPasteMethod):
    """Score by the Mahalanobis distance, or by kernels.

    The next task of a continual run, or the target of a transfer, goes on from the weights that there are
    (finetune), or starts anew (replace). Its density replaces the one before, or (`_density_scope: all`)
    stands beside it, and the nearest counts.
    """

    @dataclass(frozen=True)
    class Params(CutPasteParams):
        """The keys of 1_model_base/cutpaste.yaml that begin with an underscore."""

        density: Literal["gaussian", "kde"]
        density_scope: Literal["last", "all"]
        continual: Literal["finetune", "replace"]
        transfer: Literal["finetune", "replace"]

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.density == "kde" and self.density_scope == "all":
                raise ValueError("_density_scope: all keeps Gaussians; set _density to gaussian")

    params: Params

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config, params, KernelDensity() if params.density == "kde" else NearestGaussian())

    def embeddings_needed(self) -> int:
        """Return the least number of embeddings that a density can be made of."""
        return 1 if self.params.density == "kde" else super().embeddings_needed()

    def learn_density(self, embedding: Tensor, num_images: int, task: Task) -> None:
        """Replace the density by that of this task, or add it."""
        if isinstance(self.net.density, KernelDensity):
            self.net.density.fit(embedding)
            return
        gaussian = fit_gaussian(embedding, self.params.shrinkage)
        if self.params.density_scope == "last":
            self.net.density.fit([gaussian])
        else:
            self.net.memory.append(gaussian)
            self.net.density.fit(self.net.memory.gaussians)
