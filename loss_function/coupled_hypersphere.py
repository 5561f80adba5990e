"""CFA's loss: near centres attract a patch into their hyperspheres, the next ones repel it.

Source: Lee et al., "CFA: Coupled-hypersphere-based Feature Adaptation", IEEE Access 2022.
"""

from torch import Tensor
from torch.nn import functional as F


def coupled_hypersphere_loss(
    squared_distance: Tensor, radius: Tensor, num_attracting: int, alpha: float, nu: float
) -> Tensor:
    """Return the scalar loss: mean max(0, d_k - r^2) + mean max(0, r^2 - d_j - alpha), divided by nu.

    Args:
        squared_distance: (Q, K + J) squared distances d to the nearest centres, ascending.
        radius: scalar radius r.
        num_attracting: number K of centres that attract; the other J repel.
        alpha: by how much a repelling centre may lie within the radius, in squared distance.
        nu: divides the loss.
    """
    near, next_nearest = squared_distance[:, :num_attracting], squared_distance[:, num_attracting:]
    attraction = F.relu(near - radius**2).mean()
    repulsion = F.relu(radius**2 - next_nearest - alpha).mean()
    return (attraction + repulsion) / nu
