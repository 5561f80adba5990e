from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional as F

from configuration.config import load_config
from configuration.errors import UserError
from data_io.records import Task, TrainBatch
from models.reverse.net_reverse import MIRRORS, Mirror, ReverseNet, mirror_of
from paradigms.method_factory import build_method
from tests.conftest import RunProgram
from tests.loaders import MadeLoader, cached, random_images, scoring, train, training

WIDE = [256, 512, 1024]
NARROW = [64, 128, 256]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def wide_net(embedding_width: int) -> ReverseNet:
    with torch.device("meta"):
        return ReverseNet(WIDE, MIRRORS["wide_resnet50"], embedding_width)


def teacher_maps(channels: list[int], side: int, device: str) -> list[Tensor]:
    return [
        torch.randn(2, width, side // stride, side // stride, device=device)
        for width, stride in zip(channels, (4, 8, 16), strict=True)
    ]


def test_the_net_has_the_published_numbers_of_parameters() -> None:
    net = wide_net(128)
    assert count(net.embedding) == 58_885_120
    assert count(net.decoder) == 24_917_504
    assert count(wide_net(64).embedding) == 30_829_568


@pytest.mark.parametrize("side", [128, 256])
def test_maps_are_restored_in_their_shapes(side: int) -> None:
    for net, channels, device in (
        (wide_net(128), WIDE, "meta"),
        (ReverseNet(NARROW, Mirror(), 64), NARROW, "cpu"),
    ):
        maps = teacher_maps(channels, side, device)
        assert net.embedding(maps).shape == (2, 2 * channels[-1], side // 32, side // 32)
        assert [m.shape for m in net(maps)] == [m.shape for m in maps]


def test_the_teachers_maps_stay_as_they_are() -> None:
    torch.manual_seed(0)
    maps = teacher_maps(NARROW, 64, "cpu")
    before = [m.clone() for m in maps]
    ReverseNet(NARROW, Mirror(), 64)(maps)
    assert all(torch.equal(m, old) for m, old in zip(maps, before, strict=True))


@pytest.mark.parametrize(
    ("backbone", "mirror"),
    [
        ("timm/wide_resnet50_2.tv_in1k", MIRRORS["wide_resnet50"]),
        ("timm/resnet34", MIRRORS["timm/resnet34"]),
        ("net_tiny", Mirror()),
    ],
)
def test_a_timm_net_is_mirrored_whatever_its_weights(backbone: str, mirror: Mirror) -> None:
    assert mirror_of(backbone) == mirror


def build(tmp_path: Path, *words: str) -> Any:
    common = [
        "-c",
        "-m",
        "reverse",
        "-n",
        "net_tiny",
        "-d",
        "_example",
        "-w",
        "none",
        "-g",
        "cpu",
        "-ne",
        "2",
    ]
    sizes = ["--set", "data_size=64", "--set", "data_crop_size=64"]
    config = load_config([*common, "-wd", str(tmp_path), "-tid", "0", "1", *sizes, *words])
    return build_method(config, store=None).method


def images(number: int = 5) -> MadeLoader:
    return MadeLoader(random_images(number), batch_size=2)


def task(step: int) -> Task:
    return Task(id=step, name=f"task {step}", setting="continual", step=step, seed=0)


def test_an_epoch_after_the_first_runs_no_backbone_and_none_changes_it(tmp_path: Path) -> None:
    method = build(tmp_path)
    before = {key: value.clone() for key, value in method.backbone.state_dict().items()}
    features = cached(method)
    train(method, images(), task(0), features.read)
    assert features.num_extracted == 5
    assert all(torch.equal(value, before[key]) for key, value in method.backbone.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in method.backbone.parameters())


def test_cached_features_train_the_same_weights(tmp_path: Path) -> None:
    states = []
    for is_cached in (True, False):
        method = build(tmp_path)
        train(method, images(), task(0), cached(method).read if is_cached else None)
        states.append(method.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_the_optimiser_has_the_authors_settings(tmp_path: Path) -> None:
    (group,) = build(tmp_path).optimizers()[0].param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.005, (0.5, 0.999), 0)


@pytest.mark.parametrize("mode", ["add", "mul"])
def test_levels_are_enlarged_joined_and_smoothed(mode: str, tmp_path: Path) -> None:
    method = build(tmp_path, "--set", f"_map_mode={mode}")
    generator = torch.Generator().manual_seed(0)
    levels = [torch.rand(2, side, side, generator=generator) for side in (16, 8, 4)]
    enlarged = [F.interpolate(s[:, None], 64, mode="bilinear", align_corners=True)[:, 0] for s in levels]
    joined = torch.stack(enlarged).sum(0) if mode == "add" else torch.stack(enlarged).prod(0)
    expected = torch.stack([torch.from_numpy(gaussian_filter(one.numpy(), 4)) for one in joined])
    torch.testing.assert_close(method.joined(levels, (64, 64)), expected, atol=1e-5, rtol=0)


def test_a_spoiled_corner_is_found_in_the_corner_and_equal_maps_score_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build(tmp_path, "--set", "_sigma=0.0")
    method.net.eval()
    batch = scoring(method, images(1).image, torch.arange(1))
    monkeypatch.setattr(method.net, "forward", lambda maps: maps)
    assert method.predict_batch(batch).anomaly_map.abs().max() < 1e-5

    def spoiled(maps: list[Tensor]) -> list[Tensor]:
        coarse = maps[2].clone()
        coarse[:, :, -1, 0] *= -1
        return [*maps[:2], coarse]

    monkeypatch.setattr(method.net, "forward", spoiled)
    found = method.predict_batch(batch)
    assert found.anomaly_map.flatten().argmax().item() == 63 * 64
    assert found.image_score.item() == pytest.approx(2, abs=1e-5)
    assert found.anomaly_map.min() > -1e-5


def test_an_image_is_learnt_and_a_black_square_in_it_found(tmp_path: Path) -> None:
    method = build(tmp_path, "-w", "imagenet", "--set", "data_size=128", "--set", "data_crop_size=128")
    image = F.interpolate(random_images(1, side=16), 128, mode="bilinear")
    batch = training(method, TrainBatch(image, torch.zeros(1, dtype=torch.long)))
    first = method.loss(batch).item()
    method.num_epochs = lambda _task: 50
    train(method, MadeLoader(image, batch_size=1), task(0))
    assert method.loss(batch).item() < 0.5 * first
    method.net.eval()
    spoiled = image.clone()
    spoiled[:, :, 40:72, 24:56] = 0
    with torch.no_grad():
        found = method.predict_batch(scoring(method, spoiled, torch.tensor([1])))
    row, column = divmod(int(found.anomaly_map.argmax()), 128)
    assert 40 <= row < 72
    assert 24 <= column < 56


@pytest.mark.parametrize("mode", ["finetune", "replace"])
def test_the_next_task_starts_where_its_key_says(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build(tmp_path, "-ne", "1", "--set", f"_continual={mode}")
    first = {key: value.clone() for key, value in method.state_dict().items()}
    train(method, images(), task(0))
    trained = {key: value.clone() for key, value in method.state_dict().items()}
    monkeypatch.setattr(method, "num_epochs", lambda _task: 0)
    train(method, images(), task(1))
    expected = trained if mode == "finetune" else first
    assert all(torch.equal(value, expected[key]) for key, value in method.state_dict().items())
    key = "decoder.stages.0.0.main.0.0.weight"
    assert not torch.equal(first[key], trained[key])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--set", "data_size=80", "--set", "data_crop_size=80"], "80: net_reverse takes a multiple of 32"),
        (["--set", "data_crop_size=32"], "32: net_reverse takes a multiple of 32, and at least 64"),
        (["--set", "_ocbe_width=128"], "for net_tiny there are no bottlenecks"),
        (["-n", "net_reverse", "-bb", "vit_b_16"], r"vit_b_16 has maps of strides \(16, 16, 16\)"),
    ],
)
def test_what_cannot_be_built_is_refused(words: list[str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        build(tmp_path, *words)


def test_defects_of_the_example_are_found(run_program: RunProgram) -> None:
    words = ["-v", "-m", "reverse", "-bb", "net_tiny", "-d", "_example", "-tid", "1", "-ne", "2"]
    keys = ["data_size=128", "data_crop_size=128", "train_batch_size=4"]
    (row,) = run_program(*words, *(word for key in keys for word in ("--set", key)))
    assert float(row["image_auroc"]) > 0.7  # 0.83; noise has a deviation of 0.08
    assert float(row["pixel_auroc"]) > 0.8  # 0.89
