"""CutPaste's net: a trunk with a classifier of made anomalies, and the density of the trunk's embeddings."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.backbones.backbone import Backbone
from models.common.density import GaussianMemory, KernelDensity, NearestGaussian

PROJECTION = 128  # width of the last hidden layer of the head


class CutPasteNet(nn.Module):
    """Classify images while training; score them by how unusual their embedding is afterwards.

    Args:
        backbone: a net whose one layer is `pooled`.
        num_classes: normal, and each kind of made anomaly.
        head_layers: hidden layers of the head besides the last one; None: a linear head that starts from 0.
        has_fixed_norms: whether the trunk's batch norms keep the statistics that they start with.
        density: of the embeddings; `forward` asks it.
    """

    num_updates: Tensor  # () int64, of the weights since the pretrained ones

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        head_layers: int | None,
        density: NearestGaussian | KernelDensity,
        has_fixed_norms: bool = False,
    ) -> None:
        super().__init__()
        self.has_fixed_norms = has_fixed_norms
        self.width = backbone.channels["pooled"]
        self.backbone = backbone
        self.head = build_head(self.width, num_classes, head_layers)
        self.memory = GaussianMemory(self.width)
        self.density = density
        self.register_buffer("num_updates", torch.tensor(0))

    def train(self, mode: bool = True) -> "CutPasteNet":
        """Set the mode as every module does; fixed norms stay in evaluation mode."""
        super().train(mode)
        if self.has_fixed_norms:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def pool(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) images in [0, 1] to the trunk's (B, D) features."""
        pooled: Tensor = self.backbone(image)["pooled"]
        return pooled

    def embed(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) images to (B, D) float64 embeddings of length 1.

        Mixed precision is off: a covariance does not survive the rounding of the features.
        """
        with torch.autocast(image.device.type, enabled=False):
            return F.normalize(self.pool(image).double(), dim=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) images to (B,) float32 anomaly scores."""
        score: Tensor = self.density(self.embed(image))
        return score.float()

    def made_probability(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) images to the (B,) probability of not being of the normal class."""
        logits = self.head(self.pool(image))
        return F.softmax(logits.float(), dim=1)[:, 1:].sum(1)


def build_head(width: int, num_classes: int, hidden_layers: int | None) -> nn.Sequential:
    """Return a net that maps (B, width) features to (B, num_classes) logits."""
    if hidden_layers is None:
        linear = nn.Linear(width, num_classes)
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        return nn.Sequential(linear)
    widths = [width] * hidden_layers + [PROJECTION]
    hidden = [
        nn.Sequential(nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU())
        for before, after in zip([width, *widths], widths, strict=False)
    ]
    return nn.Sequential(*hidden, nn.Linear(PROJECTION, num_classes))
