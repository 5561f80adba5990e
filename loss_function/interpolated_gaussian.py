"""IGD's losses: reconstruction, a Gaussian around the centre of normal codes, and a critic of interpolations.

Source: Chen et al., "Deep One-Class Classification via Interpolated Gaussian Descriptor", AAAI 2022, and the
authors' code.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from loss_function.ms_ssim import ms_ssim, scale_weights, similarities
from loss_function.structural_similarity import BORDER

SIMILARITY_SHARE = 0.85  # of the similarity in an error, the rest is the absolute difference
GREY = (0.2989, 0.5870, 0.1140)  # weights of red, green and blue, as in the authors' code


class Reconstruction:
    """How images differ from what a decoder made of them.

    Args:
        image: (B, 3, H, W).
        restored: what the decoder made of them.
        data_range: largest possible difference of two values.
    """

    def __init__(self, image: Tensor, restored: Tensor, data_range: float) -> None:
        self.levels = similarities(image, restored, data_range)
        self.difference = (image - restored).abs() / data_range
        self.side = min(image.shape[2:])

    def error(self) -> Tensor:
        """Return the (B,) errors, in [0, 1] if no difference is above the data range."""
        similarity = ms_ssim(self.levels, self.side)
        difference = self.difference.mean((1, 2, 3))
        return SIMILARITY_SHARE * (1 - similarity) + (1 - SIMILARITY_SHARE) * difference

    def map(self, registration: Literal["centred", "stretched"]) -> Tensor:
        """Return the (B, H, W) errors pixel by pixel.

        A level's map lacks the window's border. "centred" continues it there by its outermost values and
        enlarges the whole; "stretched" enlarges it as it is, so that things move outwards, as in the authors'
        code.
        """
        error = (1 - SIMILARITY_SHARE) * self.difference
        size = self.difference.shape[2:]
        for level, weight in zip(self.levels, scale_weights(self.side), strict=True):
            similarity = level.full.relu()
            if registration == "centred":
                similarity = F.pad(similarity, (BORDER,) * 4, mode="replicate")
            mode = "bilinear" if registration == "centred" else "nearest"
            error = error + SIMILARITY_SHARE * weight * (1 - F.interpolate(similarity, size=size, mode=mode))
        return (error.relu() * error.new_tensor(GREY).view(1, 3, 1, 1)).sum(1)


def gaussian_error(code: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """Return (B,) 1 - exp(-|z - c|^2 / scale) of codes z (B, D); 0 at the centre c (D,)."""
    return 1 - torch.exp(-(code.float() - centre).square().sum(1) / scale)


def critic_loss(
    judged: Tensor, share: Tensor, judged_real: Tensor, target: Literal["paired", "broadcast"]
) -> Tensor:
    """Return the critic's scalar loss: it should tell the share of interpolated images, and 0 of real ones.

    Args:
        judged: (B,) judgements of interpolated images.
        share: (B,) the shares of their own code in them.
        judged_real: (B,) judgements of restored images moved towards the real ones.
        target: "paired" compares each image with its share; "broadcast" every image with every share, as the
            authors' code does for 256 pixels, by which the critic can learn no more than their mean.
    """
    wanted = share if target == "paired" else share[:, None]
    return (judged - wanted).square().mean() + judged_real.square().mean()
