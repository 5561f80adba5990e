from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from arch.runtime import Bar, no_bar
from configuration.config import load_config
from configuration.errors import UserError
from data_io.records import Task, TrainBatch
from paradigms.method_factory import build_method
from tests.loaders import MadeLoader, random_images, train


def build(tmp_path: Path, *words: str) -> Any:
    common = ["-v", "-m", "stpm", "-n", "net_tiny", "-d", "_example", "-w", "none", "-g", "cpu"]
    return build_method(load_config([*common, "-wd", str(tmp_path), *words]), store=None).method


def images(count: int = 10) -> MadeLoader:
    return MadeLoader(random_images(count, side=32), batch_size=4)


def task(setting: str = "vanilla", step: int = 0, seed: int = 0) -> Task:
    return Task(id=0, name="task 0", setting=setting, step=step, seed=seed)


def weights(method: Any) -> Tensor:
    return torch.cat([value.flatten() for value in method.state_dict().values() if value.is_floating_point()])


def bias(method: Any) -> Tensor:
    found: Tensor = method.net.student.trunk.stem[0][1].bias
    return found


def follow(method: Any, errors: Sequence[float], monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Let the held-out images of each epoch have these errors; the list fills with the weights after it."""
    after: list[Tensor] = []

    def held_out_error(batch: TrainBatch) -> Tensor:
        if len(batch.image) > 0:
            after.append(weights(method))
        return torch.tensor(errors[len(after) - 1])

    monkeypatch.setattr(method.held_out, "error", held_out_error)
    return after


def rows_of(method: Any, loader: MadeLoader, of_task: Task, epoch: int = 0) -> list[int]:
    found: list[int] = method.epoch_rows(loader, of_task, epoch).tolist()
    return found


def test_the_best_epoch_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(tmp_path, "-ne", "3")
    after = follow(method, [3.0, 1.0, 2.0], monkeypatch)
    train(method, images(), task())
    assert len(after) == 3
    assert torch.equal(weights(method), after[1])
    assert not torch.equal(after[2], after[1])


def test_the_bar_counts_the_batches_that_are_trained_on(tmp_path: Path) -> None:
    method = build(tmp_path, "-ne", "3")
    totals: list[int] = []

    def bar(kind: str, total: int) -> AbstractContextManager[Bar]:
        totals.append(total)
        return no_bar(kind, total)

    train(method, images(), task(), bar=bar)
    assert totals == [3 * 2], "8 of 10 images in batches of 4"


def test_training_ends_when_patience_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(tmp_path, "-ne", "9")
    method.held_out.patience = 2
    after = follow(method, [3.0, 1.0, 2.0, 1.0, 0.0], monkeypatch)
    train(method, images(), task())
    assert len(after) == 4, "an equal epoch is no better one"
    assert torch.equal(weights(method), after[1])


def test_held_out_images_are_never_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(tmp_path, "-ne", "2")
    trained: set[int] = set()
    held_out: set[int] = set()

    def noting(function: Callable[[TrainBatch], Tensor], keys: set[int]) -> Callable[[TrainBatch], Tensor]:
        def note(batch: TrainBatch) -> Tensor:
            keys.update(batch.image_key.tolist())
            return function(batch)

        return note

    monkeypatch.setattr(method, "loss", noting(method.loss, trained))
    monkeypatch.setattr(method.held_out, "error", noting(method.held_out_error, held_out))
    train(method, images(), task())
    assert len(held_out) == 2
    assert len(trained) == 8
    assert not held_out & trained


def test_the_split_is_a_draw_of_the_task_and_the_order_one_of_the_epoch(tmp_path: Path) -> None:
    method = build(tmp_path)
    loader = images(50)
    first, second = (rows_of(method, loader, task(), epoch) for epoch in (0, 1))
    assert len(first) == 40
    assert first != second
    assert sorted(first) == sorted(second)
    assert sorted(first) != sorted(rows_of(method, loader, task(seed=1)))


@pytest.mark.parametrize(
    ("setting", "step", "count", "trained"),
    [
        ("vanilla", 0, 10, 8),
        ("vanilla", 0, 9, 9),
        ("noisy", 0, 10, 8),
        ("continual", 1, 10, 8),
        ("transfer", 0, 10, 8),
        ("transfer", 1, 10, 10),
        ("fewshot", 0, 20, 20),
    ],
)
def test_shots_and_few_images_are_all_trained_on(
    setting: str, step: int, count: int, trained: int, tmp_path: Path
) -> None:
    assert len(rows_of(build(tmp_path), images(count), task(setting, step))) == trained


def test_a_share_of_zero_gives_the_last_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(tmp_path, "-ne", "1", "--set", "_val_fraction=0")
    after = follow(method, [1.0], monkeypatch)
    train(method, images(), task())
    assert after == []
    assert method.held_out.state()["best_error"] == float("inf")


def test_a_task_does_not_see_the_best_epoch_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build(tmp_path, "-ne", "1")
    after = follow(method, [1.0, 2.0], monkeypatch)
    train(method, images(), task())
    train(method, images(), task(step=1))
    assert torch.equal(weights(method), after[1])


def test_an_interrupted_training_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, resumed = build(tmp_path), build(tmp_path)
    loader = images()

    def epoch(method: Any, number: int, error: float) -> bool:
        monkeypatch.setattr(method.held_out, "error", lambda _batch: torch.tensor(error))
        with torch.no_grad():
            bias(method).fill_(10.0 + number)
        return bool(method.end_epoch(loader, task(), number))

    for method in (whole, resumed):
        method.held_out.patience = 2
    for number, error in enumerate((1.0, 2.0)):
        assert not epoch(whole, number, error)
    saved = {key: value.clone() for key, value in whole.held_out.state().items()}
    assert all(isinstance(value, Tensor) for value in saved.values())
    resumed.load_state_dict(whole.state_dict())
    resumed.held_out.load_state(saved, resumed.device)
    for method in (whole, resumed):
        assert epoch(method, 2, 3.0), "patience ends"
        method.held_out.restore(method.net)
    assert torch.equal(weights(resumed), weights(whole))
    assert set(bias(whole).tolist()) == {10.0}


def test_a_share_of_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--set.*_val_fraction must be at least 0 and below 1"):
        build(tmp_path, "--set", "_val_fraction=1.0")
