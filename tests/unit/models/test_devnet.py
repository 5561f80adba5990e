from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torchvision.models import resnet18

from configuration.config import load_config
from data_io.records import Task
from models.backbones.backbone import Backbone
from models.devnet.net_devnet import DeviationNet
from paradigms.method_factory import build_method
from tests.conftest import RunProgram
from tests.loaders import MadeLoader, random_images, scoring, train

SIDE = 64  # pixels
TASK = Task(id=0, name="squares", setting="semi", step=0, seed=0)


def build(work_dir: Path, *keys: str) -> Any:
    common = ["-s", "-m", "devnet", "-bb", "net_tiny", "-d", "_example", "-w", "none", "-g", "cpu"]
    words = [
        word for key in (f"data_size={SIDE}", f"data_crop_size={SIDE}", *keys) for word in ("--set", key)
    ]
    return build_method(load_config([*common, "-wd", str(work_dir), *words]), store=None).method


def squares() -> MadeLoader:
    """Eight grey images, and eight with a bright square."""
    image = torch.full((16, 3, SIDE, SIDE), 0.4)
    for number in range(8, 16):
        image[number, :, 4 * (number - 8) : 4 * (number - 8) + 20, 20:40] = 0.9
    return MadeLoader(image, 8, image_label=(torch.arange(16) >= 8).long())


class LinearBackbone(nn.Module):
    """The image itself, weighted, as the only map."""

    layers = ("layer1",)
    channels = MappingProxyType({"layer1": 3})

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight
        self.std = torch.tensor([0.2, 0.4, 0.5]).view(1, 3, 1, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"layer1": image / self.std * self.weight}


def test_the_net_has_the_published_number_of_parameters() -> None:
    backbone = Backbone("resnet18", ["layer4"])
    net = DeviationNet(backbone, num_scales=2, top_share=0.1)
    assert sum(p.numel() for p in net.parameters()) == 11_177_025
    trunk = sum(p.numel() for p in resnet18().parameters()) - 513_000  # its classifier
    assert sum(p.numel() for p in backbone.parameters()) == trunk == 11_176_512


def test_a_constant_map_scores_the_magnitude_of_its_projection() -> None:
    net = DeviationNet(LinearBackbone(torch.ones(1, 3, 1, 1)), num_scales=2, top_share=0.1)  # type: ignore[arg-type]
    image = torch.tensor([0.3, 0.6, 0.9]).view(1, 3, 1, 1).expand(2, 3, 28, 28)
    head = net.head.convolution
    assert head.bias is not None
    expected = (head.weight[0, :, 0, 0] @ (image[0, :, 0, 0] / net.backbone.std.flatten()) + head.bias).abs()
    torch.testing.assert_close(net(image), expected.expand(2))


def test_the_gradient_of_a_linear_net_is_the_sum_of_its_weights() -> None:
    weight = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    net = DeviationNet(LinearBackbone(weight), num_scales=1, top_share=0)  # type: ignore[arg-type]
    score, gradient = net.explain(random_images(2, side=16))
    head = net.head.convolution.weight[0]
    expected = (weight[0] * head).abs().sum(0) / 16**2  # by the pixels of the normalised image
    torch.testing.assert_close(gradient, expected.expand(2, -1, -1))
    torch.testing.assert_close(score, net(random_images(2, side=16)))


def test_the_map_is_the_smoothed_gradient_and_that_of_an_image_alone(tmp_path: Path) -> None:
    method = build(tmp_path)
    method.net.eval()
    image = random_images(3, SIDE)
    found = method.predict_batch(scoring(method, image, torch.arange(3)))
    _, gradient = method.net.explain(image)
    for number in range(3):
        smooth = gaussian_filter(gradient[number].numpy().astype(np.float64), sigma=4)
        np.testing.assert_allclose(found.anomaly_map[number].numpy(), smooth, rtol=1e-4, atol=1e-6)
        alone = method.predict_batch(scoring(method, image[number : number + 1], torch.arange(1)))
        torch.testing.assert_close(alone.anomaly_map[0], found.anomaly_map[number], rtol=1e-3, atol=1e-6)
    assert all(parameter.grad is None for parameter in method.net.parameters())


def test_mixed_precision_leaves_the_gradient_as_it_is() -> None:
    net = DeviationNet(Backbone("net_tiny", ["layer3"]), num_scales=2, top_share=0.1).eval()
    image = random_images(2, SIDE)
    with torch.autocast("cpu", torch.bfloat16):
        _, gradient = net.explain(image)
    assert torch.equal(gradient, net.explain(image)[1])


@pytest.mark.parametrize(("kind", "localizes"), [("gradient", True), ("instance", True), ("none", False)])
def test_every_kind_of_map_has_the_same_scores(kind: str, localizes: bool, tmp_path: Path) -> None:
    method = build(tmp_path, f"_map={kind}")
    found = method.prediction([scoring(method, random_images(2, SIDE), torch.arange(2))])
    assert method.needs_grad == (kind == "gradient")
    assert (found.anomaly_map is not None) == method.localizes == localizes
    with torch.no_grad():
        expected = method.net(random_images(2, SIDE))
    np.testing.assert_allclose(found.image_score, expected.numpy(), rtol=1e-4)


def test_instances_are_enlarged_and_averaged_over_the_scales(tmp_path: Path) -> None:
    method = build(tmp_path, "_map=instance")
    method.net.eval()
    with torch.no_grad():
        found = method.predict_batch(scoring(method, random_images(2, SIDE), torch.arange(2)))
        fine, coarse = method.net.instances(random_images(2, SIDE))
    enlarged = [
        nn.functional.interpolate(level.abs()[:, None], size=SIDE, mode="bilinear")[:, 0]
        for level in (fine, coarse)
    ]
    torch.testing.assert_close(found.anomaly_map, (enlarged[0] + enlarged[1]) / 2)


def test_bright_squares_are_told_from_grey_images_in_40_steps(tmp_path: Path) -> None:
    method = build(tmp_path, "_steps_per_epoch=10", "num_epochs=4", "train_batch_size=8", "_map=none")
    made = squares()
    train(method, made, TASK)
    found = method.prediction(made)
    assert roc_auc_score(made.image_label, found.image_score) == 1
    assert found.image_score[8:].min() > 2 * found.image_score[:8].max()


@pytest.mark.parametrize("kind", ["gradient", "instance"])
def test_defects_of_the_generated_product_are_found(kind: str, run_program: RunProgram) -> None:
    small = [f"data_size={SIDE}", f"data_crop_size={SIDE}", "train_batch_size=16", "_steps_per_epoch=10"]
    keys = [*small, "_base_lr=0.002", "_rotation=0.0", "_n_scales=1", "_layer=layer2", f"_map={kind}"]
    words = [word for key in keys for word in ("--set", key)]
    model = ["-m", "devnet", "-n", "net_devnet", "-bb", "net_tiny"]
    (row,) = run_program("-s", "-san", "10", *model, "-d", "_example", "-ne", "4", *words)
    assert float(row["image_auroc"]) > 0.8
    assert float(row["pixel_auroc"]) > 0.9
