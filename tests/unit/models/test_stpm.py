from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from configuration.config import load_config
from configuration.errors import UserError
from data_io.records import Task
from loss_function.feature_matching import MatchingLoss, matching_loss
from models.stpm.net_stpm import LAST_NORMS, STPMNet, direction_distance, product_map, resized
from paradigms.method_factory import build_method
from tests.conftest import RunProgram
from tests.loaders import MadeLoader, cached, in_setting, random_images, scoring, train, training

TINY = ("-n", "net_tiny", "-w", "imagenet")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def level(*numbers: float) -> Tensor:
    """One position whose feature are these numbers."""
    return torch.tensor(numbers).view(1, -1, 1, 1)


def constant(value: float, side: int) -> Tensor:
    return torch.full((2, side, side), value)


def build(tmp_path: Path, *words: str) -> Any:
    common = ["-v", "-m", "stpm", "-d", "_example", "-g", "cpu", "-wd", str(tmp_path)]
    return build_method(load_config([*common, *(words or TINY)]), store=None).method


def task(setting: str = "vanilla", step: int = 0) -> Task:
    return Task(id=step, name=f"task {step}", setting=setting, step=step, seed=0)


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in state.items()}


def is_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize(
    ("student", "distance", "paper"),
    [((0.0, 1.0), 2.0, 1.0), ((1.0, 0.0), 0.0, 0.0), ((-3.0, 0.0), 4.0, 2.0)],
)
def test_distance_and_loss_are_those_worked_by_hand(
    student: tuple[float, float], distance: float, paper: float
) -> None:
    found = direction_distance(level(1.0, 0.0), level(*student))
    assert found.item() == distance
    assert matching_loss([found], "official").item() == distance
    assert matching_loss([found], "paper").item() == paper


def test_the_loss_adds_layers_and_averages_positions() -> None:
    distances = [torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[5.0]]])]
    assert matching_loss(distances, "official").item() == 7.0


def test_lengths_of_features_do_not_matter() -> None:
    teacher, student = random(2, 8, 4, 4), random(2, 8, 4, 4, seed=1)
    torch.testing.assert_close(
        direction_distance(teacher, student), direction_distance(7 * teacher, 0.1 * student)
    )


@pytest.mark.parametrize(("kind", "factor"), [("paper", 0.5), ("open_iad", 2.5)])
def test_the_kinds_of_loss_differ_by_a_factor(kind: MatchingLoss, factor: float) -> None:
    distances = [random(5, 4, 4).abs(), random(5, 2, 2, seed=1).abs()]
    torch.testing.assert_close(matching_loss(distances, kind), factor * matching_loss(distances, "official"))


def test_half_precision_loses_no_small_distance() -> None:
    first, second = level(1.0, 0.0), level(1.0, 2.0**-9)
    found = direction_distance(first.half(), second.half())
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(2.0**-18, rel=1e-3)


@pytest.mark.parametrize("size", [(64, 64), (96, 80)])
def test_the_map_is_the_product_of_the_layers(size: tuple[int, int]) -> None:
    found = product_map([constant(0.5, 16), constant(0.25, 8), constant(0.2, 4)], size)
    torch.testing.assert_close(found, torch.full((2, *size), 0.025))
    assert product_map([random(2, 16, 16).abs(), constant(0.0, 8)], size).eq(0).all()


def test_multiplying_before_or_after_enlarging_is_not_the_same() -> None:
    distances = [random(1, 8, 8).abs(), random(1, 4, 4, seed=1).abs()]
    early = resized(product_map(distances, (8, 8)), (32, 32))
    late = product_map(distances, (32, 32))
    assert (early - late).abs().max() > 0.01


@pytest.mark.parametrize(
    ("name", "parameters", "shapes"),
    [
        ("resnet18", 2_782_784, [(16, 16), (8, 8), (4, 4)]),
        ("wide_resnet50", 24_862_528, [(16, 16), (8, 8), (4, 4)]),
        ("timm/resnet10t", None, [(16, 16), (8, 8), (4, 4)]),
    ],
)
def test_a_student_has_the_teachers_maps_and_learns_from_a_step(
    name: str, parameters: int | None, shapes: list[tuple[int, int]], tmp_path: Path
) -> None:
    method = build(tmp_path, "-n", name, "-w", "none", "-ne", "1")
    if parameters is not None:
        assert sum(p.numel() for p in method.net.parameters()) == parameters
    loader = MadeLoader(random_images(2), batch_size=2)
    found = method.net(loader.image, list(training(method, next(iter(loader))).features.values()))
    assert [tuple(distance.shape[1:]) for distance in found] == shapes
    before = copied(method.state_dict())
    train(method, loader, task())
    assert all(
        not torch.equal(before[key], value) for key, value in method.state_dict().items() if "running" in key
    )


def test_the_student_starts_by_chance_or_as_the_teacher(tmp_path: Path) -> None:
    scores = {}
    for init in ("random", "pretrained"):
        method = build(tmp_path, *TINY, "--set", f"_student_init={init}")
        method.net.eval()
        with torch.no_grad():
            scores[init] = method.predict_batch(scoring(method, random_images(3))).image_score
    assert (scores["random"] > 0.1).all()
    assert (scores["pretrained"] < 1e-10).all(), "equal but for the rounding of folded norms"


@pytest.mark.parametrize("name", ["resnet18", "wide_resnet50", "net_tiny", "timm/resnet10t"])
def test_residual_blocks_can_start_as_the_identity(name: str) -> None:
    net = STPMNet(name, ("layer1",)).eval()
    net.silence_residuals()
    block = [module for module in net.student.modules() if type(module).__name__ in dict(LAST_NORMS)][-1]
    width = net.student.channels["layer1"]
    feature = random(1, width, 8, 8).relu()
    torch.testing.assert_close(block(feature), feature)


@pytest.mark.parametrize("name", ["timm/regnetx_002", "timm/mobilenetv3_small_050"])
def test_a_net_without_such_blocks_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no residual blocks whose last norm is known"):
        build(tmp_path, "-n", name, "-w", "none", "--set", "_student_init=zero_residual")


def test_training_changes_the_student_only_and_the_teacher_runs_once_per_image(tmp_path: Path) -> None:
    method = build(tmp_path, *TINY, "-ne", "3")
    teacher, student = copied(method.backbone.state_dict()), copied(method.state_dict())
    features = cached(method)
    train(method, MadeLoader(random_images(12), batch_size=4), task(), features.read)
    assert is_equal(method.backbone.state_dict(), teacher)
    assert not any(torch.equal(value, student[key]) for key, value in method.state_dict().items())
    assert features.num_extracted == 12


def test_cached_teacher_features_train_the_same_student(tmp_path: Path) -> None:
    states = []
    for is_cached in (True, False):
        method = build(tmp_path, *TINY, "-ne", "2")
        read = cached(method).read if is_cached else None
        train(method, MadeLoader(random_images(10), batch_size=4), task(), read)
        states.append(method.state_dict())
    assert is_equal(*states)


def test_the_score_is_the_highest_pixel_of_the_enlarged_map(tmp_path: Path) -> None:
    method = build(tmp_path, *TINY, "--set", "_map_base_size=16")
    method.net.eval()
    batch = scoring(method, random_images(4), torch.arange(4))
    with torch.no_grad():
        found = method.predict_batch(batch)
        maps = method.backbone.extract(batch)
        expected = resized(product_map(method.net(batch.image, list(maps.values())), (16, 16)), (64, 64))
    torch.testing.assert_close(found.anomaly_map, expected)
    assert torch.equal(found.image_score, found.anomaly_map.amax((1, 2)))


def test_an_image_scores_the_same_alone(tmp_path: Path) -> None:
    method = build(tmp_path, *TINY, "-ne", "2")
    train(method, MadeLoader(random_images(4), batch_size=2), task())
    method.net.eval()
    image = random_images(4, seed=1)
    with torch.no_grad():
        whole = method.predict_batch(scoring(method, image, torch.arange(4) + 10)).image_score
        for row in range(4):
            alone = method.predict_batch(scoring(method, image[[row]], torch.tensor([row + 20]))).image_score
            torch.testing.assert_close(alone, whole[[row]], rtol=1e-4, atol=0)


@pytest.mark.parametrize("mode", ["finetune", "replace"])
def test_the_next_task_starts_where_its_key_says(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build(tmp_path, *TINY, "-ne", "1", "--set", f"_continual={mode}")
    loader = MadeLoader(random_images(4), batch_size=2)
    first = copied(method.state_dict())
    in_setting(method, "continual")
    train(method, loader, task("continual"))
    trained = copied(method.state_dict())
    monkeypatch.setattr(method, "num_epochs", lambda _task: 0)
    train(method, loader, task("continual", step=1))
    assert is_equal(method.state_dict(), trained if mode == "finetune" else first)


def test_a_student_overfits_one_image_and_finds_what_is_pasted_on_it(tmp_path: Path) -> None:
    method = build(tmp_path, *TINY)
    loader = MadeLoader(random_images(1), batch_size=1)
    batch = training(method, next(iter(loader)))
    optimizer = method.optimizers()[0]
    losses = []
    method.net.train()
    for _ in range(100):
        loss = method.loss(batch)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 10
    stained = batch.image.clone()
    stained[:, :, 24:40, 8:24] = 0
    method.net.eval()
    with torch.no_grad():
        found = method.predict_batch(scoring(method, stained, torch.tensor([99]))).anomaly_map[0]
    row, column = divmod(int(found.argmax()), 64)
    assert 24 <= row < 40
    assert 8 <= column < 24


def test_a_side_of_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--set.*_map_base_size must be at least 1 or input, not 0"):
        build(tmp_path, "--set", "_map_base_size=0")


def test_defects_are_found_where_they_are(run_program: RunProgram) -> None:
    keys = ["data_size=128", "data_crop_size=128", "train_batch_size=4", "_loss=open_iad"]
    words = [word for key in keys for word in ("--set", key)]
    row = run_program("-v", "-m", "stpm", *TINY, "-d", "_example", "-tid", "0", "-ne", "4", *words)[0]
    assert float(row["pixel_auroc"]) > 0.8
