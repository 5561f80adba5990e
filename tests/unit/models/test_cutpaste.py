"""CutPaste: its net, its training, and the density that it learns once."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from arch.kinds.cut_paste import CutPasteMethod
from configuration.config import RunConfig, load_config
from configuration.errors import UserError
from data_io.data_holder import DataHolder
from data_io.records import Task, TrainBatch
from dataset._example import Example
from metric.evaluate import image_metrics
from models.backbones.backbone import Backbone
from models.common.density import NearestGaussian
from models.cutpaste.net_cutpaste import CutPasteNet
from paradigms.method_factory import build_method
from tests.loaders import MadeLoader, random_images, scoring, train

SIDE = 64  # pixels


def configure(tmp_path: Path, *more: str, net: str = "net_tiny") -> RunConfig:
    size = [] if net == "vit_b_16" else ["--set", f"data_size={SIDE}", "--set", f"data_crop_size={SIDE}"]
    common = f"-m cutpaste -n {net} -d _example -w none -g cpu -wd {tmp_path}".split()
    return load_config(["-c", "-tid", "0", "1", *common, *size, *more])


def build(tmp_path: Path, *changes: str, epochs: int = 1, net: str = "net_tiny") -> Any:
    keys = [word for change in changes for word in ("--set", change)]
    return build_method(configure(tmp_path, "-ne", str(epochs), *keys, net=net), store=None).method


def task(step: int = 0, setting: str = "continual") -> Task:
    return Task(id=step, name=f"task {step}", setting=setting, step=step, seed=0)


def loader(count: int = 20, seed: int = 0) -> MadeLoader:
    return MadeLoader(random_images(count, SIDE, seed), batch_size=8)


def scores(method: CutPasteMethod, image: Tensor | None = None) -> Tensor:
    image = random_images(6, SIDE, seed=9) if image is None else image
    method.net.eval()
    with torch.no_grad():
        return method.predict_batch(scoring(method, image, torch.arange(len(image)))).image_score


@pytest.mark.parametrize(("classes", "expected"), [(2, 11_506_370), (3, 11_506_499)])
def test_the_resnet_has_the_published_number_of_parameters(classes: int, expected: int) -> None:
    net = CutPasteNet(Backbone("resnet18", ("pooled",)), classes, 1, NearestGaussian())
    found = [sum(p.numel() for p in part.parameters()) for part in (net, net.backbone)]
    assert found == [expected, 11_176_512]


def test_the_transformer_has_a_linear_head_of_zeros_and_a_fixed_patch_embedding(tmp_path: Path) -> None:
    method = build(tmp_path, "_variant=cutpaste", net="vit_b_16")
    parameters = list(method.net.parameters())
    assert sum(parameter.numel() for parameter in parameters) == 85_800_194
    fixed = [parameter for parameter in parameters if not parameter.requires_grad]
    assert sum(parameter.numel() for parameter in fixed) == 590_592
    (optimizer,) = method.optimizers()
    assert isinstance(optimizer, torch.optim.Adam)
    assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == 85_209_602
    assert method.net.width == 768
    assert all(not parameter.any() for parameter in method.net.head.parameters())


@pytest.mark.parametrize(("variant", "classes"), [("cutpaste", 2), ("scar", 2), ("union", 2), ("3way", 3)])
def test_a_head_of_zeros_has_the_loss_of_a_guess(variant: str, classes: int, tmp_path: Path) -> None:
    method = build(tmp_path, f"_variant={variant}", "_head_layers=null")
    image = random_images(4, SIDE)
    assert method.loss(TrainBatch(image, torch.arange(4))).item() == pytest.approx(math.log(classes))


def test_the_loss_is_the_cross_entropy_of_the_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(tmp_path)
    made = random_images(12, SIDE), torch.arange(12) % 3
    monkeypatch.setattr("arch.kinds.cut_paste.make_variants", lambda *_: made)
    loss = method.loss(TrainBatch(made[0][:4], torch.arange(4)))
    logits = method.net.head(method.net.pool(made[0]))
    torch.testing.assert_close(loss, -F.log_softmax(logits, 1)[torch.arange(12), made[1]].mean())


def test_the_loss_falls_below_what_a_double_softmax_can_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build(tmp_path, "_lr=0.01", "_frozen_steps=0")
    made = random_images(8, SIDE), torch.arange(8) % 3
    monkeypatch.setattr("arch.kinds.cut_paste.make_variants", lambda *_: made)
    (optimizer,) = method.optimizers()
    for _ in range(60):
        loss = method.loss(TrainBatch(made[0], torch.arange(8)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.01


def test_an_epoch_has_its_steps_and_the_learning_rate_falls_to_zero(tmp_path: Path) -> None:
    method = build(tmp_path, "_steps_per_epoch=7", "_lr=0.02", epochs=3)
    rows = method.epoch_rows(loader(5), task(), 0)
    assert len(rows) == 7 * 8
    assert torch.equal(rows[:55].view(11, 5).sort(1).values, torch.arange(5).expand(11, 5))
    assert not torch.equal(method.epoch_rows(loader(5), task(), 1), rows)
    rates: list[float] = []
    (optimizer,) = method.optimizers()
    optimizer.register_step_post_hook(lambda used, *_: rates.append(used.param_groups[0]["lr"]))
    method.optimizers = lambda: [optimizer]
    train(method, loader(5), task())
    assert len(rates) == 21
    assert rates[::7] == pytest.approx([0.02, 0.015, 0.005])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_at_first_only_the_head_is_trained(tmp_path: Path) -> None:
    method = build(tmp_path, "_frozen_steps=3", "_steps_per_epoch=3")
    before = {key: value.clone() for key, value in method.net.named_parameters()}
    train(method, loader(), task())
    moved = {key for key, value in method.net.named_parameters() if not torch.equal(value, before[key])}
    assert moved == {key for key in before if key.startswith("head")}
    train(method, loader(), task(1))
    moved = {key for key, value in method.net.named_parameters() if not torch.equal(value, before[key])}
    assert moved == set(before), "the next task goes on from trained weights"


@pytest.mark.parametrize("is_fixed", [True, False])
def test_fixed_norms_keep_their_statistics_but_are_trained(is_fixed: bool, tmp_path: Path) -> None:
    method = build(tmp_path, f"_fixed_norms={str(is_fixed).lower()}", "_frozen_steps=0")
    before = {key: value.clone() for key, value in method.state_dict().items()}
    train(method, loader(), task())
    for name, stays in (
        ("norm1.running_mean", is_fixed),
        ("norm1.running_var", is_fixed),
        ("norm1.weight", False),
    ):
        key = f"backbone.trunk.layer1.0.{name}"
        assert torch.equal(method.state_dict()[key], before[key]) == stays
    assert not torch.equal(method.state_dict()["head.0.1.running_mean"], before["head.0.1.running_mean"])


def test_the_density_is_that_of_the_last_weights_on_clean_images_whatever_came_before(tmp_path: Path) -> None:
    method = build(tmp_path, epochs=2)
    train(method, loader(), task())
    expected, state = scores(method), {key: value.clone() for key, value in method.state_dict().items()}
    embedding = torch.cat([method.net.embed(batch.image) for batch in loader()]).detach()
    torch.testing.assert_close(method.net.density.mean[0], embedding.mean(0))
    torch.testing.assert_close(torch.linalg.vector_norm(embedding, dim=1), torch.ones(20).double())
    train(method, loader(30, seed=4), task())
    assert not torch.equal(scores(method), expected)
    method.load_state_dict(state)
    method.end_task(loader(), task())
    torch.testing.assert_close(scores(method), expected)


def test_the_score_is_the_mahalanobis_distance_of_the_unit_embedding(tmp_path: Path) -> None:
    method = build(tmp_path)
    train(method, loader(), task())
    image = random_images(6, SIDE, seed=9)
    method.net.eval()
    with torch.no_grad():
        pooled = method.backbone(image)["pooled"].double()
        embedding = pooled / pooled.norm(dim=1, keepdim=True)
    gap = embedding - method.net.density.mean
    square = torch.linalg.vector_norm(method.net.density.root[0] @ gap.T, dim=0)
    torch.testing.assert_close(scores(method).double(), square, rtol=1e-5, atol=0)


def test_mixed_precision_trains_but_does_not_round_embeddings(tmp_path: Path) -> None:
    method = build(tmp_path)
    image = random_images(6, SIDE, seed=9)
    with torch.autocast("cpu", torch.bfloat16):
        assert method.net.pool(image).dtype == torch.bfloat16
        train(method, loader(), task())
        mixed = scores(method)
    assert torch.equal(mixed, scores(method))


@pytest.mark.parametrize(("scope", "tasks"), [("last", 1), ("all", 2)])
def test_a_task_replaces_the_density_or_stands_beside_it(scope: str, tasks: int, tmp_path: Path) -> None:
    method = build(tmp_path, f"_density_scope={scope}", epochs=1)
    for step in (0, 1):
        train(method, loader(seed=step), task(step))
    assert len(method.net.density.mean) == tasks
    distance = NearestGaussian()
    distance.mean, distance.root = method.net.density.mean[-1:], method.net.density.root[-1:]
    with torch.no_grad():
        last = distance(method.net.embed(random_images(6, SIDE, seed=9))).float()
    assert (scores(method) <= last).all()
    restored = build(tmp_path, f"_density_scope={scope}")
    restored.load_state_dict(method.state_dict())
    assert torch.equal(scores(restored), scores(method))


def test_replace_starts_from_the_first_weights_and_forgets_the_density(tmp_path: Path) -> None:
    method = build(tmp_path, "_continual=replace", "_density_scope=all")
    train(method, loader(), task())
    first = {key: value.clone() for key, value in method.state_dict().items()}
    train(method, loader(seed=1), task(1))
    assert len(method.net.density.mean) == 1
    assert int(method.net.num_updates) == int(first["num_updates"]) == 3


def test_kernels_give_a_density_of_one_image(tmp_path: Path) -> None:
    method = build(tmp_path, "_density=kde", "_density_views=1")
    train(method, loader(1), task())
    assert abs(scores(method, random_images(1, SIDE)).item()) < 1e-6
    assert (scores(method) > 1e-6).all()


@pytest.mark.parametrize(
    ("count", "changes", "told"),
    [
        (1, ["_density_views=1"], "at least 3 embeddings, and task 0 gives 1; set _density_views to 3"),
        (2, ["_density_views=2"], "at least 3 embeddings, and task 0 gives 2"),
        (20, ["_shrinkage=none"], "at least 257 embeddings, and task 0 gives 20"),
    ],
)
def test_too_few_images_for_a_covariance_are_refused_before_any_training(
    count: int, changes: list[str], told: str, tmp_path: Path
) -> None:
    method = build(tmp_path, *changes)
    with pytest.raises(UserError, match=told):
        train(method, loader(count), task())
    assert int(method.net.num_updates) == 0


def test_images_that_are_all_the_same_are_refused_in_one_line(tmp_path: Path) -> None:
    method = build(tmp_path)
    same = MadeLoader(torch.full((20, 3, SIDE, SIDE), 0.5), batch_size=20)
    with pytest.raises(UserError, match="do not spread enough"):
        train(method, same, task())


@pytest.mark.parametrize(
    ("count", "views", "embeddings"), [(1, 32, 32), (15, 32, 32), (15, 4, 15), (16, 32, 16)]
)
def test_views_make_up_for_few_images(
    count: int, views: int, embeddings: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build(tmp_path, f"_density_views={views}")
    found: list[Tensor] = []
    monkeypatch.setattr(method, "learn_density", lambda embedding, *_: found.append(embedding))
    method.end_task(loader(count), task())
    assert len(found[0]) == embeddings
    assert len(found[0].unique(dim=0)) == embeddings


def test_half_normalisation_maps_to_minus_one_and_one(tmp_path: Path) -> None:
    method = build(tmp_path, "_input_norm=half")
    for value, expected in ((0.0, -1.0), (1.0, 1.0)):
        normalised = (torch.full((1, 3, 2, 2), value) - method.backbone.mean) / method.backbone.std
        assert (normalised == expected).all()


def test_turned_inputs_train_other_weights(tmp_path: Path) -> None:
    states = []
    for degrees in (0.0, 90.0):
        method = build(tmp_path, f"_post_rotation={degrees}")
        train(method, loader(), task())
        states.append(method.state_dict()["head.2.weight"])
    assert not torch.equal(*states)


@pytest.mark.parametrize(
    "change", ["_lr=-0.1", "_frozen_steps=-1", "_steps_per_epoch=0", "_post_rotation=-3"]
)
def test_keys_out_of_range_are_refused(change: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=change.split("=")[0]):
        build(tmp_path, change)


def test_kernels_of_several_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="_density_scope"):
        build(tmp_path, "_density=kde", "_density_scope=all")


def test_normal_training_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cutpaste has no use for normal; use cutpaste"):
        configure(tmp_path, "-tag", "normal")
    assert configure(tmp_path, "-tag", "cutpaste").data.train_aug_type == "cutpaste"


def test_it_finds_the_defects_of_the_generated_products(example_root: Path, tmp_path: Path) -> None:
    config = load_config(
        f"-v -m cutpaste -n net_tiny -d _example -tid 0 -ne 8 -g cpu --seed 0 -rp {example_root} "
        f"-wd {tmp_path} --set data_size={SIDE} --set data_crop_size={SIDE}".split()
    )
    method = build_method(config, store=None).method
    step = DataHolder(Example, config).create().steps[0]
    train(method, step.train_loader, step.plan.task)
    label = np.array([sample.image_label for sample in step.tests[0].plan.samples])
    found = method.prediction(step.tests[0].loader)
    assert image_metrics(found.image_score, label)["auroc"] > 0.85, "untrained features give .79"
