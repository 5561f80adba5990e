"""Instance head: one number per position of a feature map, and the mean of the largest for the whole map.

Source: Pang et al., "Explainable Deep Few-shot Anomaly Detection with Deviation Networks", arXiv 2108.00462:
multiple instance learning with the top 10 % of an image's positions.
"""

from torch import Tensor, nn


class InstanceHead(nn.Module):
    """A 1 x 1 convolution to one channel, and its pooling.

    Args:
        channels: of the feature map, C.
        top_share: share of the positions that pooling keeps; 0 or less for the plain mean.
    """

    def __init__(self, channels: int, top_share: float) -> None:
        super().__init__()
        self.top_share = top_share
        self.convolution = nn.Conv2d(channels, 1, kernel_size=1)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Map (B, C, h, w) to signed instance scores (B, h, w)."""
        return self.convolution(feature_map)[:, 0].float()  # few numbers: no need of mixed precision

    def pool(self, instance_score: Tensor) -> Tensor:
        """Map instance scores (B, h, w) to (B,): the mean of the largest magnitudes, or the plain mean."""
        flat = instance_score.flatten(1)
        if self.top_share <= 0:
            return flat.mean(1)
        count = max(1, int(self.top_share * flat.shape[1]))
        return flat.abs().topk(count, dim=1).values.mean(1)
