from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arch.base import Runtime
from configuration.config import load_config
from configuration.errors import UserError
from data_io.records import ScoringBatch, Task
from models.igd.layers import EnlargingConv, MapNorm, ReducingConv
from models.igd.net_igd import IGDNet
from paradigms.method_factory import build_method
from tests.conftest import RunProgram
from tests.loaders import MadeLoader, cached, for_method, random_images, scoring, train


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def small_net(**changes: Any) -> IGDNet:
    torch.manual_seed(0)
    sizes = {"feature_size": 6, "code_size": 4, "width": 2, "side": 64, "normalises_batches": False}
    return IGDNet(**{**sizes, **changes})


def test_the_net_has_the_published_numbers_of_parameters() -> None:
    net = IGDNet(512, 128, width=64, side=256, normalises_batches=False)
    assert count(net.head, net.decoder) == 10_969_027
    assert count(net.critic) == 17_715_201
    assert count(*(m for m in net.critic.modules() if isinstance(m, MapNorm))) == 7_864_320


@pytest.mark.parametrize("side", [64, 128, 192])
def test_images_are_drawn_and_judged_in_every_size(side: int) -> None:
    net = small_net(side=side)
    code, image = net(torch.randn(3, 6))
    assert code.shape == (3, 4)
    assert image.shape == (3, 3, side, side)
    assert net.critic(image).shape == (3,)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_a_larger_kernel_enlarges_and_reduces_as_two_steps_do(kernel_size: int) -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 4, 6, 8)
    enlarging, reducing = (kind(4, 5, kernel_size) for kind in (EnlargingConv, ReducingConv))
    padding = kernel_size // 2
    copies = image.repeat(1, 4, 1, 1).view(2, 2, 2, 4, 6, 8)  # copies of channels, then depth to space
    enlarged = copies.permute(0, 3, 4, 1, 5, 2).reshape(2, 4, 12, 16)
    plain = F.conv2d(enlarged, enlarging.weight, enlarging.bias, padding=padding)
    torch.testing.assert_close(enlarging(image), plain, rtol=1e-5, atol=1e-5)
    plain = F.avg_pool2d(F.conv2d(image, reducing.weight, reducing.bias, padding=padding), 2)
    torch.testing.assert_close(reducing(image), plain, rtol=1e-5, atol=1e-5)


def test_a_map_is_normalised_over_channels_and_positions() -> None:
    norm, feature = MapNorm(3, 4), 5 + 2 * torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(norm(feature), F.layer_norm(feature, [3, 4, 4]))


def test_the_centre_is_the_mean_code_moved_away_from_0() -> None:
    net = small_net()
    feature = [torch.randn(5, 6), torch.randn(2, 6)]
    net.set_centre(feature)
    mean = net.head(torch.cat(feature)).mean(0)
    assert ((net.centre - mean).abs() < 1e-6).any()
    assert (net.centre.abs() >= 0.1).all()
    nn.init.zeros_(net.head.weight)
    with torch.no_grad():
        net.head.bias.copy_(torch.tensor([0.05, -0.03, 0, 0.5]))
    net.set_centre(feature)
    torch.testing.assert_close(net.centre, torch.tensor([0.1, -0.1, 0, 0.5]))


def test_the_scale_is_the_mean_over_batches_of_at_least_1() -> None:
    net = small_net(feature_size=4)
    nn.init.eye_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    net.set_scale([torch.zeros(3, 4)])
    assert net.scale.item() == 1
    unit = torch.eye(4)[:1]
    net.set_scale([unit * 0.5**0.5, torch.cat([unit, 5**0.5 * unit])])  # mean squares 0.5 and 3
    assert net.scale.item() == pytest.approx(2)


def test_interpolations_lie_between_a_code_and_the_one_opposite_in_the_batch() -> None:
    net = small_net()
    net.decoder = nn.Identity()  # type: ignore[assignment]
    code, share = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 4.0]]), torch.tensor([0.25, 0.1, 0.5])
    expected = torch.tensor([[0.25, 3.0], [0.0, 0.0], [0.5, 2.0]])
    torch.testing.assert_close(net.interpolated(code, share), expected)


def build(tmp_path: Path, *words: str) -> Any:
    common = ["-c", "-m", "igd", "-n", "net_tiny", "-d", "_example", "-w", "none", "-g", "cpu", "-ne", "2"]
    keys = ["data_size=64", "data_crop_size=64", "_width=4"]
    sizes = [word for key in keys for word in ("--set", key)]
    config = load_config([*common, "-wd", str(tmp_path), "-tid", "0", "1", *sizes, *words])
    return build_method(config, store=None).method


def images(number: int = 5) -> MadeLoader:
    return MadeLoader(random_images(number), batch_size=2)


def task(step: int) -> Task:
    return Task(id=step, name=f"task {step}", setting="continual", step=step, seed=0)


def copies(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def are_equal(module: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("hflip", [True, False])
def test_training_reads_each_image_and_its_mirror_image_once(hflip: bool, tmp_path: Path) -> None:
    method = build(tmp_path, "--set", f"_hflip={str(hflip).lower()}")
    before = copies(method.backbone)
    features = cached(method)
    train(method, images(), task(0), features.read)
    assert features.num_extracted == (10 if hflip else 5)
    assert are_equal(method.backbone, before)
    assert all(p.grad is None and not p.requires_grad for p in method.backbone.parameters())


def test_a_mirror_image_has_the_features_of_its_own(tmp_path: Path) -> None:
    method = build(tmp_path)
    features = cached(method)
    seen = []

    def watched(batch: ScoringBatch) -> dict[str, Tensor]:
        seen.append(batch)
        return features.read(batch)

    train(method, images(), task(0), watched)
    for batch in seen:
        found = features.read(batch)["pooled"]
        torch.testing.assert_close(found, method.backbone.extract(batch)["pooled"])
    assert len({int(key) for batch in seen for key in batch.image_key}) == 10


def test_each_player_moves_alone(tmp_path: Path) -> None:
    method = build(tmp_path)
    loader, net = for_method(method, images()), method.net
    method.begin_task(loader, task(0), Runtime(method.device))
    optimizers = method.optimizers()
    turns = method.turns(next(iter(loader)), optimizers)
    critic, drawing = copies(net.critic), (copies(net.head), copies(net.decoder))
    loss, followers = next(turns)
    loss.backward()
    assert followers == optimizers[:1]
    assert all(p.grad is None for p in net.critic.parameters())
    followers[0].step()
    assert are_equal(net.critic, critic)
    assert not are_equal(net.head, drawing[0])
    assert not are_equal(net.decoder, drawing[1])
    net.zero_grad(set_to_none=True)
    drawing = copies(net.head), copies(net.decoder)
    loss, followers = next(turns)
    loss.backward()
    assert followers == optimizers[1:]
    assert all(p.grad is None for part in (net.head, net.decoder) for p in part.parameters())
    followers[0].step()
    assert not are_equal(net.critic, critic)
    assert are_equal(net.head, drawing[0])
    assert are_equal(net.decoder, drawing[1])


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_batch_normalisation_learns_only_where_it_is_asked_to(mode: str, tmp_path: Path) -> None:
    method = build(tmp_path, "--set", f"_bn_mode={mode}")
    train(method, images(), task(0))
    norms = [module for module in method.net.decoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 9
    for norm in norms:
        assert norm.running_mean is not None
        assert bool((norm.running_mean == 0).all()) == (mode == "eval")


def test_the_optimisers_have_the_authors_settings(tmp_path: Path) -> None:
    drawing, critic = build(tmp_path).optimizers()
    for optimizer, weight_decay in ((drawing, 1e-6), (critic, 0)):
        (group,) = optimizer.param_groups
        assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-4, (0.0, 0.9), weight_decay)


def test_the_learning_rate_falls_to_0(tmp_path: Path) -> None:
    method = build(tmp_path)
    optimizers = method.optimizers()
    schedulers = method.schedulers(optimizers, 10)
    rates = [optimizers[1].param_groups[0]["lr"]]
    for _ in range(10):
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            scheduler.step()
        rates.append(optimizers[1].param_groups[0]["lr"])
    assert rates[0] == 1e-4
    assert rates[5] == pytest.approx(5.36e-5, rel=1e-3)
    assert rates[10] == 0


@pytest.mark.parametrize(("num_epochs", "expected"), [(1, 2), (3, 3), (4, 3), (5, 4)])
def test_the_centre_is_set_at_the_start_every_few_epochs_and_at_the_end(
    num_epochs: int, expected: int, tmp_path: Path
) -> None:
    method = build(tmp_path, "-ne", str(num_epochs), "--set", "_center_refresh_epochs=2")
    calls = []
    set_centre = method.net.set_centre

    def watched(feature: list[Tensor]) -> None:
        calls.append(len(feature))
        set_centre(feature)

    method.net.set_centre = watched
    train(method, images(), task(0))
    assert len(calls) == expected == 1 + (num_epochs - 1) // 2 + 1
    state = copies(method.net)
    method.net.locate(method.pooled)
    assert are_equal(method.net, state), "they are those of the last head"


def test_scores_weigh_both_errors_and_the_map_can_be_left_out(tmp_path: Path) -> None:
    scores = []
    for weights in ("1.0, 0.0", "0.0, 1.0", "0.5, 0.5"):
        method = build(tmp_path, "--set", f"_score_weights=[{weights}]", "--set", "_map=none")
        method.net.eval()
        with torch.no_grad():
            found = method.predict_batch(scoring(method, random_images(3)))
        assert found.anomaly_map is None
        scores.append(found.image_score)
    assert ((scores[0] > 0) & (scores[0] <= 1) & (scores[1] >= 0) & (scores[1] < 1)).all()
    torch.testing.assert_close(scores[2], (scores[0] + scores[1]) / 2)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--set", "data_crop_size=60"], "data_crop_size 60: net_igd takes a multiple of 64"),
        (["--set", "_score_weights=[1.0]"], "_score_weights must be two numbers, not 1"),
        (["--set", "_center_refresh_epochs=0"], "_center_refresh_epochs must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        build(tmp_path, *words)


@pytest.mark.parametrize("mode", ["finetune", "replace"])
def test_the_next_task_starts_where_its_key_says_with_a_centre_of_its_own(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build(tmp_path, "--set", f"_continual={mode}")
    first = copies(method.net.decoder)
    train(method, images(), task(0))
    trained, centre = copies(method.net.decoder), method.net.centre.clone()
    monkeypatch.setattr(method, "num_epochs", lambda _task: 0)
    train(method, MadeLoader(random_images(4, seed=1), batch_size=2), task(1))
    assert are_equal(method.net.decoder, trained if mode == "finetune" else first)
    assert not torch.equal(method.net.centre, centre)


def test_two_images_are_learnt_and_a_patch_on_them_raises_the_score(tmp_path: Path) -> None:
    method = build(tmp_path, "-w", "imagenet", "--set", "_width=8", "--set", "_base_lr=0.003")
    image = F.interpolate(random_images(2, side=8), 64, mode="bilinear")
    batch = scoring(method, image, torch.arange(2))
    scores = []
    for num_epochs in (1, 60):
        method.num_epochs = lambda _task, wanted=num_epochs: wanted
        train(method, MadeLoader(image, batch_size=2), task(0))
        method.net.eval()
        with torch.no_grad():
            scores.append(method.predict_batch(batch).image_score)
    assert (scores[1] < 0.7 * scores[0]).all()
    spoiled = image.clone()
    spoiled[:, :, 20:36, 12:28] = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    with torch.no_grad():
        found = method.predict_batch(scoring(method, spoiled, torch.arange(2, 4)))
    assert (found.image_score > 1.2 * scores[1]).all()
    for peak in found.anomaly_map.flatten(1).argmax(1).tolist():
        assert 12 <= peak // 64 < 44
        assert 4 <= peak % 64 < 36


def test_defects_of_the_example_are_found(run_program: RunProgram) -> None:
    words = ["-v", "-m", "igd", "-bb", "net_tiny", "-d", "_example", "-tid", "1", "-ne", "8"]
    keys = ["data_size=64", "data_crop_size=64", "train_batch_size=4", "_width=8", "_base_lr=0.003"]
    (row,) = run_program(*words, *(word for key in keys for word in ("--set", key)))
    assert float(row["image_auroc"]) > 0.6  # 0.64; so short a training draws little more than the mean image
    assert float(row["pixel_auroc"]) > 0.7
