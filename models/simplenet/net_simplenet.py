"""SimpleNet's heads: a linear adaptor of patch features, and a discriminator between true and noisy ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2  # of the discriminator's LeakyReLU
SCALE_STEP = 1.1  # ratio of one noise scale to the next, as in the authors' code


class Discriminator(nn.Module):
    """Linear, BatchNorm, LeakyReLU, linear; one number per row, high for normal ones.

    Args:
        width: numbers D of a row.
        hidden: width in between.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.last = nn.Linear(hidden, 1, bias=False)

    def judge(self, hidden: Tensor) -> Tensor:
        """Map what the first layer gives, (R, hidden), to (R,)."""
        return self.last(F.leaky_relu(self.norm(hidden), SLOPE, inplace=True))[:, 0]


class SimpleNetHeads(nn.Module):
    """Judge patch features; high for normal ones.

    The adaptor and the first layer U of the discriminator are both linear. They run as one linear map, whose
    product with the features the true and the noisy ones share: U(Ae + noise) = (UA)e + U noise.

    Args:
        width: numbers D of a patch feature.
        hidden: width of the discriminator.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.adaptor = nn.Linear(width, width)
        self.discriminator = Discriminator(width, hidden)
        for linear in (self.adaptor, self.discriminator.first, self.discriminator.last):
            nn.init.xavier_normal_(linear.weight)

    def forward(self, patch_feature: Tensor) -> Tensor:
        """Judge (R, D) patch features, (R,)."""
        return self.discriminator.judge(self._hidden(patch_feature))

    def judge_with_noise(self, patch_feature: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Judge adapted (R, D) patch features as they are and with (R, D) noise added, each (R,).

        The statistics of the batch normalisation are those of both halves together.
        """
        true = self._hidden(patch_feature)
        fake = true + F.linear(noise, self.discriminator.first.weight)
        judged = self.discriminator.judge(torch.cat([true, fake]))
        return judged[: len(true)], judged[len(true) :]

    def _hidden(self, patch_feature: Tensor) -> Tensor:
        first = self.discriminator.first
        bias = F.linear(self.adaptor.bias, first.weight, first.bias)
        return F.linear(patch_feature, first.weight @ self.adaptor.weight, bias)


def draw_noise(patch_feature: Tensor, std: float, num_scales: int) -> Tensor:
    """Return Gaussian noise of the shape (R, D) of patch features, on their device.

    The standard deviation of a row is `std` times a power of 1.1, drawn from 0 to `num_scales` - 1.
    """
    noise = torch.randn_like(patch_feature).mul_(std)
    if num_scales == 1:
        return noise
    power = torch.randint(num_scales, (len(noise), 1), device=noise.device)
    return noise.mul_(SCALE_STEP**power)
