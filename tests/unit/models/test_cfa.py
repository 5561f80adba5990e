from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from arch.base import Runtime
from configuration.config import load_config
from configuration.errors import UserError
from data_io.records import Task
from loss_function.coupled_hypersphere import coupled_hypersphere_loss
from models.backbones.backbone import Backbone
from models.cfa.centre_search import CentreSearch
from models.cfa.leaky_backbone import LeakyBackbone
from models.cfa.net_cfa import CFANet, coordinates, soft_distance
from models.common.nearest import NearestNeighbours
from paradigms.method_factory import build_method
from tests.loaders import MadeLoader, batch_of, cached, for_method, random_images, train


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_maps(count: int, seed: int = 0) -> list[Tensor]:
    return [random(count, 3, 8, 8, seed=seed), random(count, 4, 4, 4, seed=seed + 1)]


def small_net(width: int = 5) -> CFANet:
    torch.manual_seed(1)
    return CFANet([3, 4], width, radius=0.5, num_neighbors=3)


def plain_descriptor(net: CFANet, maps: list[Tensor]) -> Tensor:
    """Pool, resize, join, append coordinates, convolve: the order of the paper."""
    pooled = [F.avg_pool2d(m, 3, 1, 1) for m in maps]
    resized = [F.interpolate(p, size=maps[0].shape[2:], mode="bilinear") for p in pooled]
    position = coordinates(*maps[0].shape[2:]).expand(len(maps[0]), -1, -1, -1)
    joined = torch.cat([*resized, position], dim=1)
    return net.descriptor(joined.permute(0, 2, 3, 1)).flatten(0, 2)


def mean_maps(maps: list[Tensor]) -> list[Tensor]:
    return [m.mean(0, keepdim=True) for m in maps]


def in_order(rows: Tensor) -> Tensor:
    return rows[rows[:, 0].argsort()]


@pytest.mark.parametrize(("radius", "expected"), [(0.0, 14000 / 3), (5.0, 8900 / 3)])
def test_the_loss_is_that_worked_by_hand(radius: float, expected: float) -> None:
    squared = torch.tensor([[1.0, 4.0, 9.0, 16.0, 25.0, 36.0]])
    loss = coupled_hypersphere_loss(squared, torch.tensor(radius), 3, alpha=0.1, nu=1e-3)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("distance", "expected"), [([0.0, 1, 2], 0.0), ([1.0, 1, 1], 1 / 3), ([1.0, 2, 3], 0.66524)]
)
def test_the_score_is_that_worked_by_hand(distance: list[float], expected: float) -> None:
    assert soft_distance(torch.tensor([distance])).item() == pytest.approx(expected, abs=1e-5)


def test_coordinates_run_from_minus_one_to_one_down_and_across() -> None:
    rows, columns = coordinates(3, 5)[0]
    assert torch.equal(rows, torch.tensor([-1.0, 0.0, 1.0])[:, None].expand(3, 5))
    assert torch.equal(columns, torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]).expand(3, 5))


def test_convolving_before_resizing_changes_no_descriptor() -> None:
    net, maps = small_net(), random_maps(2)
    torch.testing.assert_close(net.describe(maps), plain_descriptor(net, maps))


def test_centres_of_the_mean_maps_are_the_mean_descriptors() -> None:
    net, maps = small_net(), random_maps(7)
    net.set_centres(mean_maps(maps), 64, seed=0, append=False)
    expected = plain_descriptor(net, maps).view(7, 64, -1).mean(0)
    torch.testing.assert_close(in_order(net.centres.bank), in_order(expected))


def test_gathered_distances_have_the_gradients_of_all_distances() -> None:
    net, maps = small_net(), random_maps(2)
    net.set_centres(mean_maps(random_maps(3, seed=5)), 64, seed=0, append=False)
    gradients = []
    descriptor = plain_descriptor(net, maps)
    every = (descriptor[:, None] - net.centres.bank).square().sum(2)
    for squared in (every.topk(6, largest=False).values, net.distance(maps, 6)):
        net.zero_grad()
        coupled_hypersphere_loss(squared, net.radius, 3, alpha=0.1, nu=1e-3).backward()
        gradients.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    assert net.radius.grad is not None
    assert net.radius.grad.abs() > 0
    for plain, fast in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-2)


def test_the_only_training_image_scores_zero_before_training() -> None:
    net, maps = small_net(), random_maps(1)
    net.set_centres(maps, 64, seed=0, append=False)
    assert net(maps).abs().max() < 1e-6


def test_centres_are_compressed_and_appended() -> None:
    net, maps = small_net(), random_maps(1)
    net.set_centres(maps, 16, seed=0, append=False)
    assert net.centres.bank.shape == (16, 5)
    net.set_centres(maps, 64, seed=0, append=True)
    assert net.centres.bank.shape == (80, 5)
    with pytest.raises(ValueError, match="num_centres must be within 1 and 64, not 65"):
        net.set_centres(maps, 65, seed=0, append=False)


@pytest.mark.parametrize(("channels", "expected"), [([64, 128, 256], 202_048), ([256, 512, 1024], 3_216_640)])
def test_the_descriptor_has_the_published_number_of_parameters(channels: list[int], expected: int) -> None:
    net = CFANet(channels, sum(channels), radius=1e-5, num_neighbors=3)
    assert sum(parameter.numel() for parameter in net.parameters()) == expected + 1  # the radius


def flat_bank(rows: int, width: int, dimensions: int, seed: int) -> Tensor:
    """Return rows that are close to a plane, and like the row before them."""
    smooth = random(rows, dimensions, seed=seed).cumsum(0) / rows**0.5
    return smooth @ random(dimensions, width, seed=seed + 1) + 1e-3 * random(rows, width, seed=seed + 2)


@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("rows", [64, 301, 1024])
@pytest.mark.parametrize("away", [0.01, 3.0])
def test_the_bound_rules_out_no_nearest_centre(k: int, rows: int, away: float) -> None:
    bank = flat_bank(rows, width=40, dimensions=6, seed=3)
    query = bank[torch.arange(200) % rows] + away * random(200, 40, seed=9)
    search = CentreSearch(bank)
    assert 0 < search.plane.shape[1] <= 8
    distance, index = search.search(query, k)
    every = torch.cdist(query.double(), bank.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    torch.testing.assert_close(distance.double(), every.topk(k, largest=False).values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(distance.double(), every.gather(1, index), rtol=1e-5, atol=1e-5)


def test_a_bank_without_a_plane_is_searched_in_full() -> None:
    bank = random(100, 30)
    search = CentreSearch(bank)
    assert search.plane.shape == (30, 0)
    found, plain = search.search(bank, 4), NearestNeighbours(bank).search(bank, 4)
    assert torch.equal(found[1], plain[1])


def resnet_pre_activations(net: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Return what enters the last ReLU of layer1 to layer3."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda _module, inputs: found.__setitem__(name, inputs[0].clone())  # the last call wins

    for layer in ("layer1", "layer2", "layer3"):
        getattr(net, layer)[-1].relu.register_forward_pre_hook(keep(layer))
    net(image)
    return found


@torch.no_grad()
def test_official_features_keep_a_hundredth_of_what_relu_cuts() -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18().eval()
    layers = ("layer1", "layer2", "layer3")
    leaky, plain = LeakyBackbone("resnet18", layers), Backbone("resnet18", layers)
    for backbone in (leaky, plain):
        assert not backbone.load_weights(net.state_dict(), partial=False)
        backbone.freeze()
    assert leaky.fingerprint().removesuffix("-leaky") != leaky.fingerprint()
    image = torch.rand(2, 3, 64, 64)
    found, relu = leaky.extract(batch_of(image)), plain.extract(batch_of(image))
    sums = resnet_pre_activations(net, (image - plain.mean) / plain.std)
    for layer in layers:
        torch.testing.assert_close(found[layer].relu(), relu[layer], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found[layer], F.leaky_relu(sums[layer], 0.01), rtol=1e-4, atol=1e-4)
        assert 0.1 < (found[layer] < 0).float().mean() < 0.6


def test_official_features_are_refused_of_other_nets() -> None:
    with pytest.raises(ValueError, match="net_tiny is none of resnet18, wide_resnet50"):
        LeakyBackbone("net_tiny", ("layer1",))


def build(tmp_path: Path, *words: str) -> Any:
    common = ["-c", "-m", "cfa", "-n", "net_tiny", "-d", "_example", "-w", "none", "-g", "cpu", "-ne", "3"]
    config = load_config([*common, "-wd", str(tmp_path), "-tid", "0", "1", *words])
    return build_method(config, store=None).method


def images(seed: int = 0) -> MadeLoader:
    return MadeLoader(random_images(6, seed=seed), batch_size=4)


def task(step: int) -> Task:
    return Task(id=step, name=f"task {step}", setting="continual", step=step, seed=0)


def test_more_neighbours_than_centres_are_refused(tmp_path: Path) -> None:
    method = build(tmp_path, "--set", "_num_neighbors=300")
    with pytest.raises(UserError, match="need 303 centres, and there are 256; lower them"):
        train(method, images(), task(0))


def test_training_lowers_the_loss_and_leaves_the_backbone(tmp_path: Path) -> None:
    method = build(tmp_path, "-ne", "40")
    loader = for_method(method, images())
    before = {key: value.clone() for key, value in method.backbone.state_dict().items()}
    method.begin_task(loader, task(0), Runtime(method.device))
    first = method.loss(next(iter(loader))).item()
    train(method, loader, task(0))
    assert method.loss(next(iter(loader))).item() < 0.8 * first
    assert all(torch.equal(value, before[key]) for key, value in method.backbone.state_dict().items())
    assert all(parameter.grad is None for parameter in method.backbone.parameters())


def test_an_epoch_after_the_first_runs_no_backbone(tmp_path: Path) -> None:
    method = build(tmp_path)
    features = cached(method)
    train(method, images(), task(0), features.read)
    assert features.num_extracted == 6


@pytest.mark.parametrize("mode", ["replace", "finetune", "append"])
def test_the_next_task_does_as_its_key_says(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build(tmp_path, "--set", f"_continual={mode}")
    first = method.net.descriptor.weight.detach().clone()
    train(method, images(), task(0))
    trained = method.net.descriptor.weight.detach().clone()
    centres = method.net.centres.bank
    assert method.num_epochs(task(1)) == (0 if mode == "append" else 3)
    monkeypatch.setattr(method, "num_epochs", lambda _task: 0)
    train(method, images(seed=1), task(1))
    expected = first if mode == "replace" else trained
    assert torch.equal(method.net.descriptor.weight, expected)
    assert len(method.net.centres.bank) == (2 if mode == "append" else 1) * len(centres)
