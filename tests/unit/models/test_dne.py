"""DNE: the mixture of the tasks' Gaussians, and a memory that only training writes."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from configuration.config import load_config
from configuration.errors import UserError
from data_io.records import Task
from models.common.density import Gaussian, fit_gaussian
from models.dne.mixture import mix_moments, mix_samples
from paradigms.method_factory import build_method
from tests.conftest import RunProgram
from tests.loaders import MadeLoader, random_images, scoring, train

SIDE = 64  # pixels
WIDTH = 256  # of net_tiny


def build(tmp_path: Path, *changes: str, model: str = "dne", setting: str = "-c -tid 0 1 2") -> Any:
    keys = [f"data_size={SIDE}", f"data_crop_size={SIDE}", *changes]
    common = [*setting.split(), "-m", model, "-n", "net_tiny", "-d", "_example", "-w", "none", "-g", "cpu"]
    changed = [word for key in keys for word in ("--set", key)]
    config = load_config([*common, "-ne", "2", "-wd", str(tmp_path), *changed])
    return build_method(config, store=None).method


def task(step: int = 0, setting: str = "continual") -> Task:
    return Task(id=step, name=f"task {step}", setting=setting, step=step, seed=0)


def loader(step: int, count: int = 20) -> MadeLoader:
    """Images of a brightness that depends on the task."""
    return MadeLoader((0.3 + 0.2 * step) * random_images(count, SIDE, seed=step), batch_size=10)


def trained(tmp_path: Path, *changes: str, tasks: int = 3) -> Any:
    method = build(tmp_path, *changes)
    for step in range(tasks):
        train(method, loader(step), task(step))
    method.net.eval()
    return method


@torch.no_grad()
def scores(method: Any, step: int = 0) -> Tensor:
    method.net.eval()
    image = loader(step).image[:6]
    return method.predict_batch(scoring(method, image, torch.arange(6))).image_score


def unit_rows(count: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = 3 + torch.randn(count, width, dtype=torch.float64, generator=generator)
    return rows / rows.norm(dim=1, keepdim=True)


def two() -> list[Gaussian]:
    means = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    return [Gaussian(5, mean, torch.eye(2, dtype=torch.float64)) for mean in means]


def test_moments_of_a_mixture_are_those_worked_by_hand() -> None:
    mixed = mix_moments(two())
    assert mixed.num_images == 10
    torch.testing.assert_close(mixed.mean, torch.zeros(2).double())
    torch.testing.assert_close(mixed.covariance, torch.diag(torch.tensor([2.0, 1.0])).double())


def test_samples_converge_to_the_moments() -> None:
    many = [gaussian._replace(num_images=50_000) for gaussian in two()]
    generator = torch.Generator().manual_seed(0)
    mixed = mix_samples(many, torch.empty(0, 2), 1.0, generator, renormalize=False, shrinkage="none")
    expected = mix_moments(many)
    torch.testing.assert_close(mixed.mean, expected.mean, rtol=0, atol=0.01)
    torch.testing.assert_close(mixed.covariance, expected.covariance, rtol=0.01, atol=0.01)
    assert mixed.num_images == 100_000


def test_tasks_weigh_as_their_images_however_many_views_these_have() -> None:
    embedding = torch.tensor([[0.0, 4.0]]).double().expand(30, 2)  # three views of ten images
    past = [two()[0]._replace(num_images=10_000)]
    generator = torch.Generator().manual_seed(0)
    mixed = mix_samples(past, embedding, 3.0, generator, renormalize=False, shrinkage="none")
    assert mixed.num_images == 30_030
    current = Gaussian(10, embedding[0], torch.zeros(2, 2).double())
    torch.testing.assert_close(mixed.mean, mix_moments([*past, current]).mean, rtol=0, atol=0.02)


def test_moments_of_tasks_are_those_of_all_their_images_at_once() -> None:
    parts = [unit_rows(count, 12, seed) for seed, count in enumerate((20, 50, 9))]
    mixed = mix_moments([fit_gaussian(part, "none") for part in parts])
    whole = fit_gaussian(torch.cat(parts), "none")
    torch.testing.assert_close(mixed.mean, whole.mean)
    torch.testing.assert_close(mixed.covariance, whole.covariance)


def test_renormalised_samples_have_length_one() -> None:
    generator = torch.Generator().manual_seed(0)
    mixed = mix_samples(two(), torch.empty(0, 2), 1.0, generator, renormalize=True, shrinkage="none")
    assert (mixed.covariance.trace() + mixed.mean.square().sum()).item() == pytest.approx(1)


@pytest.mark.parametrize("mixture", ["sample", "moments", "min"])
def test_one_task_gives_the_scores_of_cutpaste(mixture: str, tmp_path: Path) -> None:
    own = [
        "_variant=cutpaste",
        "_fixed_norms=true",
        "_frozen_steps=0",
        "_optimizer=adam",
        "_weight_decay=0.0",
    ]
    method = build(tmp_path, f"_mixture={mixture}", "_lr=0.001", "_weight_decay=0.0", setting="-v -tid 0")
    peer = build(tmp_path, "_lr=0.001", *own, model="cutpaste", setting="-v -tid 0")
    for each in (method, peer):
        train(each, loader(0), task(setting="vanilla"))
    assert torch.equal(scores(method), scores(peer))


def test_what_is_remembered_are_covariances_of_unit_vectors_and_true_numbers(tmp_path: Path) -> None:
    method = trained(tmp_path, tasks=2)
    memory = method.net.memory
    assert memory.count.tolist() == [20, 20]
    for gaussian in memory.gaussians:
        assert torch.linalg.eigvalsh(gaussian.covariance).min() > 0
        length = (gaussian.covariance.trace() + gaussian.mean.square().sum()).item()
        assert length == pytest.approx(1), "a precision would be far larger"
    few = build(tmp_path)
    train(few, loader(0, count=3), task())
    assert few.net.memory.count.tolist() == [3], "views are no images"


def test_the_memory_grows_by_one_gaussian_per_task_and_old_ones_stay(tmp_path: Path) -> None:
    method = build(tmp_path)
    sizes, kept = [], []
    for step in range(3):
        train(method, loader(step, count=20 + 5 * step), task(step))
        state = {key: value for key, value in method.state_dict().items() if key.startswith("memory.")}
        sizes.append(sum(value.numel() for value in state.values()))
        kept.append(method.net.memory.covariance[0].clone())
        assert method.net.density.mean.shape == (1, WIDTH)
    assert sizes == [(step + 1) * (1 + WIDTH + WIDTH**2) for step in range(3)]
    assert torch.equal(kept[0], kept[2])


def test_scoring_changes_nothing_and_its_order_does_not_matter(tmp_path: Path) -> None:
    method = trained(tmp_path, tasks=2)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    first = [scores(method, step) for step in (0, 1)]
    again = [scores(method, step) for step in (1, 0, 0)]
    assert torch.equal(first[1], again[0])
    assert torch.equal(first[0], again[1])
    assert torch.equal(first[0], again[2])
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())


@pytest.mark.parametrize("mixture", ["sample", "moments", "min"])
def test_a_restored_method_scores_and_learns_on_the_same(mixture: str, tmp_path: Path) -> None:
    method = trained(tmp_path, f"_mixture={mixture}", tasks=2)
    restored = build(tmp_path, f"_mixture={mixture}")
    restored.load_state_dict(method.state_dict())
    assert torch.equal(scores(restored), scores(method))
    restored.load_run_state(deepcopy(method.run_state()))
    for each in (method, restored):
        train(each, loader(2), task(2))
    assert torch.equal(scores(restored), scores(method))


def test_past_tasks_count_in_the_mixture(tmp_path: Path) -> None:
    found = {}
    for mixture in ("sample", "moments", "min"):
        method = trained(tmp_path, f"_mixture={mixture}", tasks=2)
        alone = build(tmp_path, "_mixture=min")
        alone.load_state_dict(method.state_dict())
        alone.density.fit(method.net.memory.gaussians[-1:])
        found[mixture] = scores(method)
        if mixture == "min":
            assert (found[mixture] <= scores(alone)).all()
        else:
            assert not torch.allclose(found[mixture], scores(alone)), "the last task alone"
        assert len(method.net.density.mean) == (2 if mixture == "min" else 1)
    assert not torch.equal(found["sample"], found["moments"])


@pytest.mark.parametrize("is_fixed", [True, False])
def test_a_fixed_head_is_trained_on_the_first_task_only(is_fixed: bool, tmp_path: Path) -> None:
    method = build(tmp_path, f"_fix_head={str(is_fixed).lower()}")
    states = [{key: value.clone() for key, value in method.net.head.state_dict().items()}]
    for step in range(2):
        train(method, loader(step), task(step))
        states.append({key: value.clone() for key, value in method.net.head.state_dict().items()})
    assert not torch.equal(states[0]["0.0.weight"], states[1]["0.0.weight"])
    assert all(torch.equal(states[1][key], states[2][key]) == is_fixed for key in states[1])


def test_a_fixed_head_ends_the_time_of_frozen_weights(tmp_path: Path) -> None:
    method = build(tmp_path, "_fix_head=true", "_frozen_steps=1000")
    weights = []
    for step in range(2):
        train(method, loader(step), task(step))
        weights.append(method.backbone.trunk.state_dict())
        weights[-1] = {key: value.clone() for key, value in weights[-1].items()}
    assert any(not torch.equal(value, weights[0][key]) for key, value in weights[1].items())


def test_images_that_do_not_differ_are_refused(tmp_path: Path) -> None:
    method = build(tmp_path)
    with pytest.raises(UserError, match="do not spread enough"):
        train(method, MadeLoader(torch.full((20, 3, SIDE, SIDE), 0.5), batch_size=10), task())


def test_the_head_scores_by_a_probability_not_by_a_class(tmp_path: Path) -> None:
    method = trained(tmp_path, "_eval_classifier=head", tasks=1)
    image = loader(0).image[:6]
    with torch.no_grad():
        logits = method.net.head(method.net.pool(image))
    torch.testing.assert_close(scores(method), logits.softmax(1)[:, 1])
    assert len(scores(method).unique()) == 6
    three = trained(tmp_path, "_eval_classifier=head", "_variant=3way", tasks=1)
    with torch.no_grad():
        logits = three.net.head(three.net.pool(image))
    torch.testing.assert_close(scores(three), 1 - logits.softmax(1)[:, 0])


def test_labelled_anomalies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="labelled anomalies would be ignored"):
        build(tmp_path, setting="-s -tid 0")


def test_the_target_of_a_transfer_joins_the_source(tmp_path: Path) -> None:
    method = build(tmp_path, setting="-t -tid 0 -vid 1")
    for step in (0, 1):
        train(method, loader(step, count=20 if step == 0 else 8), task(step, "transfer"))
    assert method.net.memory.count.tolist() == [20, 8]


def first_task(run_program: RunProgram, model: str, epochs: int, tasks: str) -> list[float]:
    """Return the image AUROC of the first task after each step of a continual run."""
    words = f"-c -m {model} -n net_tiny -d _example -tid {tasks} -ne {epochs} --seed 1"
    size = ["--set", f"data_size={SIDE}", "--set", f"data_crop_size={SIDE}"]
    rows = [row for row in run_program(*words.split(), *size) if row["model"] == model]
    return [float(row["image_auroc"]) for row in rows if row["valid_task"] == "0"]


def test_it_finds_the_defects_of_the_generated_products(run_program: RunProgram) -> None:
    assert first_task(run_program, "dne", 1, "0")[0] > 0.72


@pytest.mark.slow
def test_it_forgets_less_than_cutpaste(run_program: RunProgram) -> None:
    lost = {}
    for model in ("cutpaste", "dne"):
        first, *_, last = first_task(run_program, model, 8, "0 1 2")
        lost[model] = first - last
    assert lost["cutpaste"] > 0.3, "there is something to forget"
    assert lost["dne"] < 0.1
