"""FastFlow's net: a layer norm and a flow of convolutional couplings for each feature map."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.common.coupling import ChannelPermutation, couple, scale_channels, tanh_clamp, uncouple

SUBNET_SCALE = 0.1  # of a subnet's output, which keeps a new flow near a permutation
GATE_BETA = 0.5  # sharpness of the softplus that keeps the channel scales above 0
FIRST_GATE = 9.98648  # 2 ln(e^5 - 1), of which the channel scale is 1


class CouplingSubnet(nn.Module):
    """Two convolutions that predict scales and shifts from one half of the channels.

    Args:
        channels_in: channels of the half that is looked at.
        hidden: channels between the convolutions.
        channels_out: twice the channels of the half that is moved.
        kernel_size: side of both kernels; odd.
    """

    def __init__(self, channels_in: int, hidden: int, channels_out: int, kernel_size: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, hidden, kernel_size, padding=kernel_size // 2)
        self.last = nn.Conv2d(hidden, channels_out, kernel_size, padding=kernel_size // 2)

    def forward(self, half: Tensor) -> Tensor:
        """Map (B, C_in, h, w) to (B, C_out, h, w); the weights are scaled down in place of the output."""
        assert self.last.bias is not None
        weight, bias = SUBNET_SCALE * self.last.weight, SUBNET_SCALE * self.last.bias
        return F.conv2d(F.relu(self.first(half), inplace=True), weight, bias, padding=self.last.padding)


class FlowBlock(nn.Module):
    """Couple, scale and shift every channel, and permute the channels: an invertible step of the flow.

    Args:
        channels: channels C of the feature map, at least 2.
        hidden: channels inside the subnet.
        kernel_size: side of the subnet's kernels; odd.
        clamp: bound on the logarithm of the coupling's scales.
    """

    def __init__(self, channels: int, hidden: int, kernel_size: int, clamp: float) -> None:
        super().__init__()
        self.halves = [channels - channels // 2, channels // 2]
        self.clamp = tanh_clamp(clamp)
        self.subnet = CouplingSubnet(self.halves[0], hidden, 2 * self.halves[1], kernel_size)
        self.gate = nn.Parameter(torch.full((channels,), FIRST_GATE))
        self.offset = nn.Parameter(torch.zeros(channels))
        self.permutation = ChannelPermutation(channels)

    def forward(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, h, w) to the same shape and to (B,) log-determinants."""
        kept, moved = feature_map.split(self.halves, dim=1)
        kept = kept.contiguous()
        moved, log_det = couple(moved, self.subnet(kept), self.clamp)
        scale, order = self._channel_scale(), self.permutation.order
        permuted = self.permutation(torch.cat([kept, moved], dim=1))
        num_cells = feature_map.shape[2] * feature_map.shape[3]
        return (
            scale_channels(permuted, scale[order], self.offset[order]),
            log_det + num_cells * scale.log().sum(),
        )

    def inverse(self, feature_map: Tensor) -> Tensor:
        """Return the (B, C, h, w) map that `forward` maps to this one."""
        scaled = self.permutation.inverse(feature_map)
        joined = (scaled - self.offset[:, None, None]) / self._channel_scale()[:, None, None]
        kept, moved = joined.split(self.halves, dim=1)
        return torch.cat([kept, uncouple(moved, self.subnet(kept), self.clamp)], dim=1)

    def _channel_scale(self) -> Tensor:
        """Return the (C,) positive scales, 1 at the start."""
        return 0.1 * F.softplus(self.gate, beta=GATE_BETA)


class MapFlow(nn.Module):
    """Normalise one feature map and turn it into noise.

    Args:
        shape: C, h, w of the feature map.
        num_steps: blocks of the flow.
        hidden_ratio: channels inside the subnets per channel that they look at.
        conv3x3_only: whether every second subnet, too, has kernels of side 3 instead of 1.
        norm_affine: whether the norm learns a scale and an offset for each element.
        clamp: bound on the logarithm of a coupling's scales.
    """

    def __init__(
        self,
        shape: Sequence[int],
        num_steps: int,
        hidden_ratio: float,
        conv3x3_only: bool,
        norm_affine: bool,
        clamp: float,
    ) -> None:
        super().__init__()
        channels = shape[0]
        hidden = int(hidden_ratio * (channels - channels // 2))
        if hidden < 1:
            raise ValueError(f"_hidden_ratio {hidden_ratio} leaves no channel of {channels}; raise it")
        self.norm = nn.LayerNorm(shape, elementwise_affine=norm_affine)
        self.blocks = nn.ModuleList(
            FlowBlock(channels, hidden, 3 if conv3x3_only or step % 2 == 0 else 1, clamp)
            for step in range(num_steps)
        )

    def forward(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, h, w) to the latent map of the same shape and to (B,) log-determinants."""
        latent = self.norm(feature_map)
        log_det = latent.new_zeros(len(latent))
        for block in self.blocks:
            latent, block_log_det = block(latent)
            log_det = log_det + block_log_det
        return latent, log_det


class FastFlowNet(nn.Module):
    """One flow for each feature map; the flows do not know of each other.

    Args:
        shapes: C_l, h_l, w_l of each feature map.
        num_steps: see `MapFlow`, as for the rest.
        hidden_ratio: as there.
        conv3x3_only: as there.
        norm_affine: as there.
        clamp: as there.
    """

    def __init__(
        self,
        shapes: Sequence[Sequence[int]],
        num_steps: int,
        hidden_ratio: float,
        conv3x3_only: bool,
        norm_affine: bool,
        clamp: float,
    ) -> None:
        super().__init__()
        self.flows = nn.ModuleList(
            MapFlow(shape, num_steps, hidden_ratio, conv3x3_only, norm_affine, clamp) for shape in shapes
        )

    def forward(self, feature_maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Map (B, C_l, h_l, w_l) feature maps to latent maps and to (B,) log-determinants of all together."""
        found = [flow(feature_map) for flow, feature_map in zip(self.flows, feature_maps, strict=True)]
        return [latent for latent, _ in found], torch.stack([log_det for _, log_det in found]).sum(0)


def cell_scores(latent: Tensor) -> Tensor:
    """Return (B, h, w) scores in [-1, 0] of a (B, C, h, w) latent map: -exp(-mean of z^2 / 2).

    A shift to [0, 1] would round away the order of strong anomalies, whose likelihood is below 1e-7.
    """
    return -(-0.5 * latent.square().mean(dim=1)).exp()
