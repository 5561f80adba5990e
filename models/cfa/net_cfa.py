"""CFA's net: an affine patch descriptor, the centres of the hyperspheres, and the distances to them."""

from collections.abc import Sequence
from typing import Any

import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional as F

from models.cfa.centre_search import CentreSearch

POOL = 3  # side of the neighbourhood that a descriptor averages, in feature map cells
KMEANS_ITERATIONS = 3000  # at most, as in the authors' code


class CFANet(nn.Module):
    """Describe patches, and score them by their distance to centres, the mean descriptors of normal images.

    The descriptor is affine: a 1x1 convolution over the locally averaged maps, resized to the first one's
    grid, and two coordinates. So it runs before the resizing, on the smaller grids, and the mean of
    descriptors is the descriptor of the mean.

    Args:
        channels: channels C_l of each feature map.
        width: channels D of a descriptor.
        radius: first value of the learnt radius of the hyperspheres.
        num_neighbors: centres K whose distances make the score.
    """

    def __init__(self, channels: Sequence[int], width: int, radius: float, num_neighbors: int) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.num_neighbors = num_neighbors
        self.descriptor = nn.Linear(sum(channels) + 2, width)
        self.radius = nn.Parameter(torch.tensor(radius))
        self.centres = CentreSearch(torch.empty(0, 0))

    def describe(self, feature_maps: Sequence[Tensor]) -> Tensor:
        """Map (B, C_l, h_l, w_l) feature maps to (B*h*w, D) descriptors on the first grid, image by image."""
        batch, _, height, width = feature_maps[0].shape
        *weights, at_coordinates = self.descriptor.weight[..., None, None].split([*self.channels, 2], dim=1)
        position = coordinates(height, width).to(feature_maps[0]).expand(batch, -1, -1, -1)
        finest = _channels_last(torch.cat([_pool(feature_maps[0]), position], dim=1))
        descriptor = F.conv2d(finest, torch.cat([weights[0], at_coordinates], dim=1), self.descriptor.bias)
        for feature_map, weight in zip(feature_maps[1:], weights[1:], strict=True):
            part = F.conv2d(_channels_last(_pool(feature_map)), weight)
            descriptor += F.interpolate(part, size=(height, width), mode="bilinear")
        return descriptor.permute(0, 2, 3, 1).reshape(-1, descriptor.shape[1]).float()

    @torch.no_grad()
    def set_centres(self, mean_maps: Sequence[Tensor], num_centres: int, seed: int, append: bool) -> None:
        """Make the descriptors of the mean feature maps, or their k-means, the centres, or add them to these.

        Nothing depends on the order of the centres but the time of their search, which a random one shortens.

        Args:
            mean_maps: (1, C_l, h_l, w_l) feature maps.
            num_centres: T; k-means runs where it is below the number of positions.
            seed: of the order and the k-means, below 2^32.
            append: keep the centres there are.

        Raises:
            ValueError: `num_centres` is not within 1 and the number of positions.
        """
        centres = self.describe(mean_maps)
        if not 1 <= num_centres <= len(centres):
            raise ValueError(f"num_centres must be within 1 and {len(centres)}, not {num_centres}")
        if num_centres < len(centres):
            kmeans = KMeans(num_centres, n_init=1, max_iter=KMEANS_ITERATIONS, random_state=seed)
            found = kmeans.fit(centres.cpu().numpy()).cluster_centers_
            centres = torch.from_numpy(found).to(centres)
        shuffle = torch.randperm(num_centres, generator=torch.Generator().manual_seed(seed))
        centres = centres[shuffle.to(centres.device)]
        self.centres.replace(torch.cat([self.centres.bank, centres]) if append else centres)

    def distance(self, feature_maps: Sequence[Tensor], count: int) -> Tensor:
        """Return the (B*h*w, count) squared distances to the nearest centres, ascending, with a gradient.

        Raises:
            ValueError: there are fewer centres.
        """
        descriptor = self.describe(feature_maps)
        squared, index = self.centres.search(descriptor.detach(), count)
        distance: Tensor = _DistanceToRows.apply(descriptor, self.centres.bank, squared, index)
        return distance

    def forward(self, feature_maps: Sequence[Tensor]) -> Tensor:
        """Map (B, C_l, h_l, w_l) feature maps to (B, h, w) scores."""
        batch, _, height, width = feature_maps[0].shape
        squared, _ = self.centres.search(self.describe(feature_maps), self.num_neighbors)
        return soft_distance(squared.sqrt()).view(batch, height, width)


def _pool(feature_map: Tensor) -> Tensor:
    return F.avg_pool2d(feature_map, POOL, stride=1, padding=POOL // 2)  # the padded zeros count


def _channels_last(feature_map: Tensor) -> Tensor:
    return feature_map.contiguous(memory_format=torch.channels_last)  # so that descriptors are rows


def coordinates(height: int, width: int) -> Tensor:
    """Return (1, 2, H, W): the row and the column of each position, both from -1 to 1."""
    rows = torch.linspace(-1, 1, height)[:, None].expand(height, width)
    columns = torch.linspace(-1, 1, width).expand(height, width)
    return torch.stack([rows, columns], dim=-1).permute(2, 0, 1)[None]


def soft_distance(distance: Tensor) -> Tensor:
    """Return (Q,) nearest distances, weighted by their softmin among the (Q, K) ascending distances."""
    return distance[:, 0] * F.softmin(distance, dim=1)[:, 0]


class _DistanceToRows(torch.autograd.Function):
    """Squared distances, already known, that pass a gradient to the queries: d|q - b|^2 / dq = 2 (q - b).

    The weighted sums of rows never exist one by one, so the gradient costs k and not M rows per query.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, bank: Tensor, squared: Tensor, index: Tensor) -> Tensor:
        """Return the (Q, k) squared distances of (Q, D) queries to the rows `index` (Q, k) of a bank."""
        ctx.save_for_backward(query, bank, index)
        return squared.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient of the queries."""
        (gradient,) = gradients
        query, bank, index = ctx.saved_tensors
        rows = F.embedding_bag(index, bank, mode="sum", per_sample_weights=-2 * gradient)
        return rows.addcmul_(query, 2 * gradient.sum(dim=1, keepdim=True)), None, None, None
