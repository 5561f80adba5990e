import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from torch import Tensor

from configuration.config import load_config
from configuration.errors import UserError
from data_io.records import Task, TrainBatch, view_of
from loss_function.variational import divergence_from_standard_normal, squared_error
from models.backbones.row import IMAGENET_MEAN, IMAGENET_STD
from models.favae.net_favae import CODE, FAVAENet, Reconstruction
from paradigms.method_factory import build_method
from tests.conftest import RunProgram
from tests.loaders import MadeLoader, batch_of, cached, in_setting, random_images, scoring, train, training

SIDE = 32  # pixels
TINY = ("-n", "net_tiny", "-w", "none")
VGG = ("-n", "net_favae", "-w", "none")


def build(tmp_path: Path, *words: str) -> Any:
    common = ["-v", "-m", "favae", "-d", "_example", "-g", "cpu", "-wd", str(tmp_path)]
    size = ["--set", f"data_size={SIDE}", "--set", f"data_crop_size={SIDE}"]
    return build_method(load_config([*common, *size, *(words or TINY)]), store=None).method


def train_batch(count: int, seed: int = 0) -> TrainBatch:
    return TrainBatch(random_images(count, SIDE, seed), torch.arange(count) + 100 * seed)


def task(setting: str = "vanilla", step: int = 0) -> Task:
    return Task(id=step, name=f"task {step}", setting=setting, step=step, seed=0)


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in state.items()}


def is_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[key]) for key, value in one.items())


def repeat_teacher(method: Any, monkeypatch: pytest.MonkeyPatch, pixel_error: Tensor) -> None:
    """Let the net give the teacher's features and the image with an error (3, H, W) on it."""

    def perfect(image: Tensor) -> Reconstruction:
        maps = method.backbone.extract(batch_of(image))
        code = torch.zeros(len(image), CODE)
        return Reconstruction(image + pixel_error, list(maps.values()), code, code)

    monkeypatch.setattr(method, "net", perfect)


@pytest.mark.parametrize(
    ("mean", "log_variance", "expected"),
    [(0.0, 0.0, 0.0), (1.0, 0.0, 50.0), (0.0, math.log(4), 50 * (3 - math.log(4)))],
)
def test_the_divergence_is_that_worked_by_hand(mean: float, log_variance: float, expected: float) -> None:
    found = divergence_from_standard_normal(torch.full((1, 100), mean), torch.full((1, 100), log_variance))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_squared_errors_are_summed_over_channels_in_full_precision() -> None:
    found = squared_error(torch.full((2, 3, 4, 5), 300.0).half(), torch.zeros(2, 3, 4, 5).half())
    assert torch.equal(found, torch.full((2, 4, 5), 270_000.0))


def test_the_net_has_the_numbers_of_parameters_of_the_reimplementation() -> None:
    net = FAVAENet(128, channels=[128, 256, 512], strides=[2, 4, 8])

    def count(*names: str) -> int:
        return sum(p.numel() for name in names for p in getattr(net, name).parameters())

    assert count("encoder", "to_code") == 9_909_288
    assert count("from_code", "decoder", "finishes", "to_image") == 9_704_291
    assert count("adapters") == 689_920


def test_shapes_are_those_of_the_image_and_of_the_teachers_maps() -> None:
    torch.manual_seed(0)
    found = FAVAENet(64, channels=[128, 7, 512, 9], strides=[2, 4, 8, 16])(random_images(2))
    assert found.image.shape == (2, 3, 64, 64)
    assert 0 < found.image.min() < found.image.max() < 1
    assert [tuple(maps.shape[1:]) for maps in found.features] == [
        (128, 32, 32),
        (7, 16, 16),
        (512, 8, 8),
        (9, 4, 4),
    ]
    assert found.mean.shape == found.log_variance.shape == (2, CODE)


def test_adapters_read_the_decoder_before_its_norms(tmp_path: Path) -> None:
    net = build(tmp_path, *VGG).net
    raw: list[Tensor] = []
    for tap in (6, 4, 2):
        net.decoder[tap].register_forward_hook(lambda _module, _inputs, output: raw.append(output))
    found = net(random_images(2, SIDE))
    expected = [adapter(maps) for adapter, maps in zip(net.adapters, reversed(raw), strict=True)]
    for one, other in zip(found.features, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_the_teacher_gives_rectified_maps_of_vgg(tmp_path: Path) -> None:
    method = build(tmp_path, *VGG)
    maps = method.backbone.extract(train_batch(1))
    assert [tuple(each.shape[1:]) for each in maps.values()] == [(128, 16, 16), (256, 8, 8), (512, 4, 4)]
    assert all(each.min() == 0 for each in maps.values())
    assert sum(p.numel() for p in method.backbone.parameters()) == 7_635_264


def test_teacher_input_says_how_images_are_normalised(tmp_path: Path) -> None:
    normalized, unit = (
        build(tmp_path, *VGG, "--set", f"_teacher_input={key}") for key in ("normalized", "unit")
    )
    image = random_images(1, SIDE)
    shown = image * normalized.pixel_std + normalized.pixel_mean
    assert normalized.pixel_std.max() < 0.3, "those of the images that the weights were learned from"
    for one, other in zip(normalized.backbone(shown).values(), unit.backbone(image).values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("teacher_input", ["normalized", "unit"])
def test_pixel_target_says_what_is_reconstructed(
    teacher_input: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = "--set", f"_teacher_input={teacher_input}", "--set"
    for key, mean, std in (("unit", (0, 0, 0), (1, 1, 1)), ("normalized", IMAGENET_MEAN, IMAGENET_STD)):
        method = build(tmp_path, *TINY, *keys, f"_pixel_target={key}")
        image = train_batch(1).image
        expected = (image - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        seen: list[Tensor] = []
        net = method.net
        monkeypatch.setattr(method, "net", lambda x, net=net, seen=seen: (seen.append(x), net(x))[1])
        errors, found = method._errors(training(method, train_batch(1)))
        assert torch.equal(seen[0], expected)
        torch.testing.assert_close(errors[0], (found.image - expected).square().sum(1))


def test_codes_are_drawn_in_training_only() -> None:
    torch.manual_seed(0)
    net = FAVAENet(SIDE, channels=[8], strides=[8])
    image = random_images(2, SIDE)

    def reconstruction(seed: int) -> Tensor:
        torch.manual_seed(seed)
        found: Tensor = net(image).image
        return found

    assert not torch.equal(reconstruction(1), reconstruction(2))
    net.eval()
    assert torch.equal(reconstruction(1), reconstruction(2))


def test_the_loss_is_a_sum_over_images(tmp_path: Path) -> None:
    method = build(tmp_path)
    method.net.eval()
    once = training(method, train_batch(2))
    twice = view_of(once, once.image.repeat(2, 1, 1, 1), once.image_key.repeat(2))
    with torch.no_grad():
        torch.testing.assert_close(method.loss(twice), 2 * method.loss(once))
        torch.testing.assert_close(method.held_out_error(once), method.loss(once))


def test_the_loss_weighs_the_divergence(tmp_path: Path) -> None:
    losses = []
    for weight in (0.0, 1.0, 3.0):
        method = build(tmp_path, *TINY, "--set", f"_kld_weight={weight}")
        method.net.eval()
        with torch.no_grad():
            losses.append(method.loss(training(method, train_batch(2))).item())
    assert losses[1] > losses[0]
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-2)


def test_the_decoder_runs_once_per_step(tmp_path: Path) -> None:
    method = build(tmp_path, *TINY, "-ne", "3")
    train(method, MadeLoader(random_images(4, SIDE), batch_size=2), task())
    counts = {int(value) for key, value in method.state_dict().items() if "num_batches" in key}
    assert counts == {6}


def test_training_leaves_the_teacher_alone_and_runs_it_once_per_image(tmp_path: Path) -> None:
    states = []
    for is_cached in (True, False):
        method = build(tmp_path, *TINY, "-ne", "2")
        teacher = copied(method.backbone.state_dict())
        features = cached(method)
        read = features.read if is_cached else None
        train(method, MadeLoader(random_images(10, SIDE), batch_size=4), task(), read)
        assert is_equal(method.backbone.state_dict(), teacher)
        assert features.num_extracted == (10 if is_cached else 0)
        states.append(method.state_dict())
    assert is_equal(*states)


def test_a_perfect_reconstruction_has_no_anomaly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(tmp_path)
    repeat_teacher(method, monkeypatch, torch.zeros(3, SIDE, SIDE))
    found = method.predict_batch(training(method, train_batch(2, seed=1)))
    assert found.anomaly_map.eq(0).all()


@pytest.mark.parametrize("smoothing", ["2d", "rows"])
def test_a_wrong_pixel_is_smoothed_as_scipy_does(
    smoothing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build(tmp_path, *TINY, "--set", "_sigma=2", "--set", f"_smoothing={smoothing}")
    error = torch.zeros(3, SIDE, SIDE)
    error[:, 10, 20] = 0.5
    repeat_teacher(method, monkeypatch, error)
    found = method.predict_batch(training(method, train_batch(1, seed=1)))
    squared = 3 * error[0].numpy().astype(np.float64) ** 2
    expected = gaussian_filter(squared, 2) if smoothing == "2d" else gaussian_filter1d(squared, 2, axis=1)
    np.testing.assert_allclose(found.anomaly_map[0], expected, atol=1e-6)
    assert found.image_score.item() == pytest.approx(expected.max(), rel=1e-5)
    assert (found.anomaly_map[0, 9].max() == 0).item() == (smoothing == "rows")


def test_an_image_scores_the_same_alone(tmp_path: Path) -> None:
    method = build(tmp_path)
    method.net.eval()
    batch = training(method, train_batch(4, seed=2))
    with torch.no_grad():
        whole = method.predict_batch(batch).image_score
        for row in range(4):
            alone = scoring(method, batch.image[[row]], torch.tensor([row]))
            torch.testing.assert_close(
                method.predict_batch(alone).image_score, whole[[row]], rtol=1e-4, atol=0
            )


@pytest.mark.parametrize("mode", ["finetune", "replace"])
def test_the_next_task_starts_where_its_key_says(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build(tmp_path, *TINY, "-ne", "1", "--set", f"_continual={mode}")
    loader = MadeLoader(random_images(4, SIDE), batch_size=2)
    first = copied(method.state_dict())
    in_setting(method, "continual")
    train(method, loader, task("continual"))
    trained = copied(method.state_dict())
    monkeypatch.setattr(method, "num_epochs", lambda _task: 0)
    train(method, loader, task("continual", step=1))
    assert is_equal(method.state_dict(), trained if mode == "finetune" else first)


def test_four_images_are_learned_and_what_is_pasted_on_one_is_found(tmp_path: Path) -> None:
    method = build(tmp_path, "-n", "net_tiny", "-w", "imagenet", "--set", "_lr=0.001", "--set", "_sigma=1")
    batch = training(method, train_batch(4))
    optimizer = method.optimizers()[0]
    losses = []
    method.net.train()
    for _ in range(25):
        loss = method.loss(batch)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 2
    stained = batch.image[:1].clone()
    stained[:, :, 16:28, 4:16] = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    method.net.eval()
    with torch.no_grad():
        found = method.predict_batch(scoring(method, stained, torch.tensor([99]))).anomaly_map[0]
    row, column = divmod(int(found.argmax()), SIDE)
    assert 16 <= row < 28
    assert 4 <= column < 16


def test_patience_is_the_keys(tmp_path: Path) -> None:
    assert build(tmp_path).held_out.patience == 20
    assert build(tmp_path, *TINY, "--set", "_patience=null").held_out.patience is None


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("_patience=0", "_patience must be at least 1 or null"),
        ("_sigma=-1", "_sigma must not be negative"),
        ("data_crop_size=24", "data_crop_size must be 32, 48, 64 or a higher multiple of 16, not 24"),
        ("data_crop_size=16", "not 16"),
    ],
)
def test_what_cannot_be_is_refused(key: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        build(tmp_path, *TINY, "--set", key)


def test_defects_are_found_where_they_are(run_program: RunProgram) -> None:
    size = ["--set", "data_size=32", "--set", "data_crop_size=32", "--set", "train_batch_size=8"]
    words = ["-n", "net_tiny", "-w", "imagenet", "-d", "_example", "-tid", "1", "-ne", "4"]
    row = run_program("-v", "-m", "favae", *words, *size)[0]
    assert float(row["pixel_auroc"]) > 0.6
