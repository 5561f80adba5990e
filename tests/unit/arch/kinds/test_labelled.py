"""What DevNet and DRA share: what a batch is made of, how long an epoch is, how the learning rate falls."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from arch.kinds.labelled import LabelledMethod
from arch.kinds.sampling import endless_rows
from configuration.config import RunConfig, load_config
from configuration.errors import UserError
from data_io.records import Task
from paradigms.method_factory import build_method
from tests.loaders import MadeLoader, random_images, train

METHODS = ("devnet", "dra")
SIDE = 64  # pixels
NUM_NORMAL = 100


def config_of(model: str, work_dir: Path, *keys: str, backbone: str = "net_tiny") -> RunConfig:
    common = ["-m", model, "-bb", backbone, "-d", "_example", "-w", "none", "-g", "cpu"]
    words = [
        word for key in (f"data_size={SIDE}", f"data_crop_size={SIDE}", *keys) for word in ("--set", key)
    ]
    return load_config(["-s", *common, "-wd", str(work_dir), *words])


def build(model: str, work_dir: Path, *keys: str) -> Any:
    return build_method(config_of(model, work_dir, *keys), store=None).method


def task(task_id: int = 0) -> Task:
    return Task(id=task_id, name=f"task {task_id}", setting="semi", step=0, seed=0)


def loader(num_anomalous: int, batch_size: int) -> MadeLoader:
    """Return blank images, the anomalies last."""
    label = (torch.arange(NUM_NORMAL + num_anomalous) >= NUM_NORMAL).long()
    return MadeLoader(torch.zeros(len(label), 3, 1, 1), batch_size, image_label=label)


def batches(method: LabelledMethod, made: MadeLoader, num_epochs: int) -> Tensor:
    """Return the rows of all batches, (batches, images of a batch)."""
    rows = [method.epoch_rows(made, task(), epoch) for epoch in range(num_epochs)]
    return torch.cat(rows).view(-1, made.batch_size)


def assert_permuted(drawn: Tensor, rows: Tensor) -> None:
    """Every block of as many entries as there are rows holds each row once."""
    for block in drawn.flatten().split(len(rows)):
        assert len(block.unique()) == len(block)
        assert torch.isin(block, rows).all()


def test_devnet_sees_as_many_anomalies_as_normal_images(tmp_path: Path) -> None:
    drawn = batches(build("devnet", tmp_path), loader(10, 48), num_epochs=2)
    assert drawn.shape == (40, 48)
    normal, anomalous = drawn[:, :24], drawn[:, 24:]
    assert_permuted(normal, torch.arange(NUM_NORMAL))
    assert_permuted(anomalous, torch.arange(NUM_NORMAL, NUM_NORMAL + 10))


def test_dra_sees_references_and_two_normal_images_per_anomaly(tmp_path: Path) -> None:
    drawn = batches(build("dra", tmp_path), loader(10, 53), num_epochs=2)
    assert drawn.shape == (40, 53)
    references, normal, anomalous = drawn[:, :5], drawn[:, 5:37], drawn[:, 37:]
    assert_permuted(references, torch.arange(NUM_NORMAL))
    assert_permuted(normal, torch.arange(NUM_NORMAL))
    assert_permuted(anomalous, torch.arange(NUM_NORMAL, NUM_NORMAL + 10))
    assert not torch.equal(references.flatten()[:NUM_NORMAL], normal.flatten()[:NUM_NORMAL])


def test_a_single_anomaly_fills_its_half(tmp_path: Path) -> None:
    drawn = batches(build("devnet", tmp_path), loader(1, 48), num_epochs=1)
    assert (drawn[:, 24:] == NUM_NORMAL).all()


def test_unbalanced_batches_are_drawn_from_all_images_alike(tmp_path: Path) -> None:
    drawn = batches(build("devnet", tmp_path, "_balanced=false"), loader(10, 48), num_epochs=1)
    assert_permuted(drawn, torch.arange(NUM_NORMAL + 10))


def test_permutations_go_on_where_the_last_draw_ended() -> None:
    rows = torch.arange(100, 107)
    whole = endless_rows(rows, 0, 30, "any", task())
    parts = [endless_rows(rows, start, 6, "any", task()) for start in range(0, 30, 6)]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(whole[:7], whole[7:14]), "every permutation is another one"
    assert not torch.equal(whole, endless_rows(rows, 0, 30, "other", task()))
    assert not torch.equal(whole, endless_rows(rows, 0, 30, "any", task(1)))


@pytest.mark.parametrize(
    ("model", "keys", "expected"),
    [
        ("devnet", [], [2e-4] * 10 + [2e-5] * 10 + [2e-6] * 10),
        ("dra", [], [2e-4] * 9 + [2e-5] * 10 + [2e-6] * 10 + [2e-7]),
        ("dra", ["_lr_step_at=end"], [2e-4] * 10 + [2e-5] * 10 + [2e-6] * 10),
    ],
)
def test_the_learning_rate_falls_as_published(
    model: str, keys: list[str], expected: list[float], tmp_path: Path
) -> None:
    method = build(model, tmp_path, *keys)
    (optimizer,) = method.optimizers()
    (scheduler,) = method.schedulers([optimizer], 30)
    trace = []
    for _ in range(30):
        trace.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert trace == pytest.approx(expected)


@pytest.mark.parametrize("model", METHODS)
def test_one_step_trains_trunk_and_heads_with_a_bounded_gradient(model: str, tmp_path: Path) -> None:
    method = build(model, tmp_path, "_steps_per_epoch=1", "num_epochs=1", "train_batch_size=12")
    (optimizer,) = method.optimizers()
    covered = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert covered == {id(p) for p in method.net.parameters()}
    norms = []
    optimizer.register_step_pre_hook(
        lambda *_: norms.append(torch.stack([p.grad.norm() for p in method.net.parameters()]).norm())
    )
    method.optimizers = lambda: [optimizer]
    before = {name: parameter.clone() for name, parameter in method.net.named_parameters()}
    image, label = random_images(12, SIDE), torch.tensor([0] * 8 + [1] * 4)
    train(method, MadeLoader(image, 12, label, reference_image=image[:2]), task())
    assert [name for name, p in method.net.named_parameters() if torch.equal(p, before[name])] == []
    assert norms[0].item() == pytest.approx(1, abs=1e-3)
    assert method.backbone is method.net.backbone


@pytest.mark.parametrize("model", METHODS)
def test_an_epoch_has_its_fixed_number_of_batches(model: str, tmp_path: Path) -> None:
    method = build(model, tmp_path)
    made = loader(10, 48 if model == "devnet" else 53)
    assert len(list(made.in_order(method.epoch_rows(made, task(), 0)))) == 20


@pytest.mark.parametrize("model", METHODS)
@pytest.mark.parametrize(
    ("keys", "named"),
    [
        (["semi_anomaly_num=0"], "--semi-anomaly-num >= 1"),
        (["train_batch_size=1"], "train_batch_size must be at least"),
        (["_n_scales=0"], "_n_scales"),
        (["_topk=1.5"], "_topk"),
        (["_layer=pooled"], "_layer"),
    ],
)
def test_what_cannot_be_trained_is_refused(model: str, keys: list[str], named: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=named):
        config_of(model, tmp_path, *keys)


@pytest.mark.parametrize("key", ["_topk=0", "_topk=1", "_n_scales=1", "_step_size=1", "_rotation=0"])
def test_keys_at_the_ends_of_their_range_are_taken(key: str, tmp_path: Path) -> None:
    for model in METHODS:
        config_of(model, tmp_path, key)


def test_the_optimiser_has_the_rate_and_the_decay_of_the_keys(tmp_path: Path) -> None:
    (optimizer,) = build("devnet", tmp_path, "_base_lr=0.25", "_weight_decay=0.125").optimizers()
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.25, 0.125)


@pytest.mark.parametrize(("model", "smallest"), [("devnet", 2), ("dra", 5 + 3)])
def test_a_batch_holds_an_anomaly_and_all_references(model: str, smallest: int, tmp_path: Path) -> None:
    config_of(model, tmp_path, f"train_batch_size={smallest}", "semi_anomaly_num=1")
    with pytest.raises(UserError, match=f"train_batch_size must be at least {smallest}, not {smallest - 1}"):
        config_of(model, tmp_path, f"train_batch_size={smallest - 1}")


@pytest.mark.parametrize("model", METHODS)
def test_a_backbone_of_one_input_size_needs_a_pyramid_of_one_image(model: str, tmp_path: Path) -> None:
    sizes = ["data_size=224", "data_crop_size=224"]
    with pytest.raises(UserError, match="vit_b_16 takes images of one size only; --set _n_scales=1"):
        build_method(config_of(model, tmp_path, *sizes, backbone="vit_b_16"), store=None)


@pytest.mark.parametrize("model", METHODS)
def test_a_pyramid_of_too_small_images_is_refused(model: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="images of 8 pixels"):
        build(model, tmp_path, "_n_scales=4")
