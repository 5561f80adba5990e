"""The loss of normalizing flows, which turn normal features into standard normal noise."""

from collections.abc import Sequence

from torch import Tensor


def flow_loss(latents: Sequence[Tensor], log_det: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the samples in nats, without its constant.

    By change of variables -log p(x) = |z|^2 / 2 - log|det dz/dx| + const for z(x) standard normal.

    Args:
        latents: (B, C_l, h_l, w_l) maps, which together are z.
        log_det: (B,) log-determinants of the whole flow.
    """
    energy = sum((latent.square().sum(dim=(1, 2, 3)) for latent in latents), start=-2 * log_det)
    return 0.5 * energy.mean()
