"""The feature maps of the ResNets that CFA's authors bundle: negative values are not cut off entirely."""

from collections.abc import Sequence

from torch import fx, nn
from torch.nn import functional as F

from models.backbones.backbone import Backbone

RESNETS = ("resnet18", "wide_resnet50")
SLOPE = 0.01  # of PyTorch's LeakyReLU, which the authors use as it is


class LeakyBackbone(Backbone):
    """A ResNet whose maps are LeakyReLU(x) where every other ResNet gives ReLU(x); inside it nothing changes.

    Args:
        name: resnet18 or wide_resnet50.
        layers: as of `Backbone`, of layer1 to layer4.

    Raises:
        ValueError: the name or a layer does not exist, or the net is no ResNet.
    """

    def __init__(self, name: str, layers: Sequence[str]) -> None:
        if name not in RESNETS:
            raise ValueError(
                f"{name} is none of {', '.join(RESNETS)}, which alone end their layers in a ReLU"
            )
        super().__init__(name, layers)
        self.trunk = _with_leaky_maps(self.trunk)

    def fingerprint(self) -> str:
        """Return a hash that differs from that of the plain backbone, whose features are others."""
        return f"{super().fingerprint()}-leaky"


def _with_leaky_maps(trunk: nn.Module) -> fx.GraphModule:
    """Return a trunk that gives LeakyReLU(x) for every ReLU(x) that it gave."""
    traced = fx.symbolic_trace(trunk)
    output = next(node for node in traced.graph.nodes if node.op == "output")
    for relu in output.all_input_nodes:
        with traced.graph.inserting_before(relu):  # which works in place
            leaky = traced.graph.call_function(F.leaky_relu, (relu.args[0], SLOPE))
        output.replace_input_with(relu, leaky)
    traced.recompile()
    return traced
