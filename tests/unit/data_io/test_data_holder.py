"""From a data set on disk to the steps of a run."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from configuration.config import RunConfig, load_config
from configuration.errors import UserError
from data_io.data_holder import DataHolder
from data_io.loaders import ScoringLoader, TrainLoader
from data_io.records import Needs, Sample
from data_io.tensor_store import TensorStore
from dataset.mvtec2d import MVTec2D
from tests.trees import write_tree


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree("mvtec2d", tmp_path_factory.mktemp("data") / "mvtec2d")


def config_of(root: Path, work_dir: Path, *words: str) -> RunConfig:
    method = [] if "-m" in words else ["-m", "patchcore", "-n", "net_tiny"]
    common = ["-d", "mvtec2d", "-dp", str(root), "-g", "cpu", "-wd", str(work_dir), "-w", "none"]
    return load_config([*(words or ("-v",)), *method, *common])


def test_every_chosen_task_becomes_a_step_of_its_own(root: Path, tmp_path: Path) -> None:
    steps = DataHolder(MVTec2D, config_of(root, tmp_path, "-v", "-tid", "2", "0")).create().steps
    assert [step.plan.task.id for step in steps] == [2, 0]
    assert all(step.plan.is_fresh for step in steps)
    for step in steps:
        (test,) = step.tests
        assert len(test.ground_truth_mask) == len(test.plan.samples) == test.loader.num_images
        for sample, mask in zip(test.plan.samples, test.ground_truth_mask, strict=True):
            assert mask is not None
            assert mask.shape == (256, 256)
            assert bool(mask.any()) == bool(sample.image_label)


def test_data_hash_follows_names_and_sizes_only(root: Path, tmp_path: Path) -> None:
    def hash_of(*words: str) -> str:
        return DataHolder(MVTec2D, config_of(root, tmp_path, *words)).create().data_hash

    assert hash_of("-v") == hash_of("-z")
    assert hash_of("-v") != hash_of("-v", "-tid", "1")


def test_few_shot_copies_follow_their_shot(root: Path, tmp_path: Path) -> None:
    words = ["-f", "-fe", "2", "-fda", "-fnd", "3"]
    (step,) = DataHolder(MVTec2D, config_of(root, tmp_path, *words)).create().steps
    assert step.train_loader.num_images == 8
    (batch,) = list(step.train_loader)
    assert len(set(batch.image_key.tolist())) == 8
    rotated = batch.image[2]  # 360 * 2 / 4 degrees
    assert (rotated - batch.image[0].flip(1, 2)).abs().max() < 1e-6


def test_a_step_may_be_lent_features_for_training_and_tests(root: Path, tmp_path: Path) -> None:
    (step,) = DataHolder(MVTec2D, config_of(root, tmp_path)).create().steps
    lent = step.with_features(lambda batch: {"layer1": 2 * batch.image})
    loaders: list[TrainLoader | ScoringLoader] = [lent.train_loader, *(test.loader for test in lent.tests)]
    for loader in loaders:
        for batch in loader:
            assert torch.equal(batch.features["layer1"], 2 * batch.image)
    assert len(lent.tests) == len(step.tests) == 1
    assert all(not batch.features for batch in step.train_loader)


def test_no_worker_is_one(root: Path, tmp_path: Path) -> None:
    config = config_of(root, tmp_path, "-v", "--set", "num_workers=0")
    assert len(DataHolder(MVTec2D, config).create().steps) == 1


def test_a_draw_of_all_there_is_is_told(root: Path, tmp_path: Path) -> None:
    for words, is_told in ((["-f", "-fe", "999"], True), (["-f", "-fe", "2"], False)):
        notes = DataHolder(MVTec2D, config_of(root, tmp_path, *words)).create().notes
        assert any("fewshot_exm asks for 999 images, and there are only" in note for note in notes) == is_told


def test_streamed_and_cached_steps_hold_the_same_images(root: Path, tmp_path: Path) -> None:
    store = TensorStore(tmp_path / "cache", 100)
    held = DataHolder(MVTec2D, config_of(root, tmp_path)).create().steps[0]
    words = ["-v", "--set", "data_memory_mb=0"]
    for other in (
        DataHolder(MVTec2D, config_of(root, tmp_path, *words)).create().steps[0],
        DataHolder(MVTec2D, config_of(root, tmp_path, *words), store=store).create().steps[0],
    ):
        for ours, theirs in zip(held.train_loader, other.train_loader, strict=True):
            assert (ours.image == theirs.image).all()
            assert (ours.image_key == theirs.image_key).all()


def test_a_split_is_repeated_from_its_file(root: Path, tmp_path: Path) -> None:
    first = DataHolder(MVTec2D, config_of(root, tmp_path, "-z", "-nr", "0.3")).create().steps[0]

    def names(samples: Sequence[Sample]) -> list[str]:
        return [sample.path.relative_to(root).as_posix() for sample in samples]

    train = names(first.plan.train)
    recorded = {
        "setting": "noisy",
        "setting_params": dict(first.plan.drawn),
        "train_task": 0,
        "train": train,
        "test": {"0": names(first.plan.tests[0].samples)},
    }
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"steps": [recorded]}))
    again = (
        DataHolder(MVTec2D, config_of(root, tmp_path, "-z", "--seed", "9", "--split", str(path)))
        .create()
        .steps[0]
    )
    assert again.plan.train == first.plan.train
    assert again.plan.tests == first.plan.tests
    assert again.plan.drawn == first.plan.drawn
    with pytest.raises(UserError, match=r"split\.json: has the steps"):
        DataHolder(MVTec2D, config_of(root, tmp_path, "-v", "--split", str(path))).create()
    train[0] = "bottle/train/good/lost.png"
    path.write_text(json.dumps({"steps": [recorded]}))
    with pytest.raises(UserError, match=r"lost\.png is not in the data set"):
        DataHolder(MVTec2D, config_of(root, tmp_path, "-z", "--split", str(path))).create()
    path.write_text("{}")
    with pytest.raises(UserError, match=r"not the split\.json of a run"):
        DataHolder(MVTec2D, config_of(root, tmp_path, "-z", "--split", str(path))).create()


FORGERIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a way out": lambda step: step["setting_params"].update(noisy_ratio="x/../../../out"),
    "a text for a switch": lambda step: step["setting_params"].update(noisy_overlap="no"),
    "a stranger": lambda step: step["setting_params"].update(color="red"),
    "no ratio": lambda step: step["setting_params"].pop("noisy_ratio"),
    "no parameters": lambda step: step.update(setting_params=[]),
    "a list of lists": lambda step: step.update(train=[["a"]]),
    "a task of no number": lambda step: step.update(test={"x": []}),
    "no tests": lambda step: step.pop("test"),
    "a task like a text": lambda step: step.update(train_task="0"),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_split_is_one_line(
    forge: Callable[[dict[str, Any]], object], root: Path, tmp_path: Path
) -> None:
    (step,) = DataHolder(MVTec2D, config_of(root, tmp_path, "-z")).create().steps
    found = {
        "setting": "noisy",
        "setting_params": dict(step.plan.drawn),
        "train_task": 0,
        "train": [sample.path.relative_to(root).as_posix() for sample in step.plan.train],
        "test": {"0": [sample.path.relative_to(root).as_posix() for sample in step.tests[0].plan.samples]},
    }
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"steps": [found]}))
    config = config_of(root, tmp_path, "-z", "--split", str(path))
    assert DataHolder(MVTec2D, config).create().steps[0].plan.drawn == step.plan.drawn
    forge(found)
    path.write_text(json.dumps({"steps": [found]}))
    with pytest.raises(UserError, match=r"--split .*split\.json: .*; name the split\.json of a run"):
        DataHolder(MVTec2D, config).create()


def test_labels_and_masks_reach_only_who_declares_that_it_needs_them(root: Path, tmp_path: Path) -> None:
    config = config_of(root, tmp_path, "-z", "-nr", "0.3")
    (plain,) = DataHolder(MVTec2D, config).create().steps
    assert plain.train_loader.image_label is None
    assert plain.train_loader.reference_image is None
    (step,) = DataHolder(MVTec2D, config, Needs(labels=True)).create().steps
    labels = [sample.image_label for sample in step.plan.train]
    assert 0 < sum(labels) < len(labels)
    batches = list(step.train_loader)
    assert [label for batch in batches for label in known(batch.image_label).tolist()] == labels
    marked = [bool(mask.any()) for batch in batches for mask in known(batch.ground_truth_mask)]
    assert marked == [label == 1 for label in labels]
    assert known(batches[0].ground_truth_mask).shape[1:] == batches[0].image.shape[2:]


def test_a_task_without_labelled_anomalies_is_refused_to_who_needs_labels(root: Path, tmp_path: Path) -> None:
    config = config_of(root, tmp_path, "-s", "-m", "devnet", "-bb", "net_tiny", "--set", "anomaly_cap=0")
    with pytest.raises(
        UserError, match=r"devnet: .* has no labelled anomaly to learn from; raise anomaly_cap"
    ):
        DataHolder(MVTec2D, config, Needs(labels=True)).create()


def test_references_are_normal_training_images_and_nested(root: Path, tmp_path: Path) -> None:
    def references(number: int) -> Tensor:
        config = config_of(root, tmp_path, "-z", "-nr", "0.3")
        config = replace(config, setting=replace(config.setting, ref_num=number))
        (step,) = DataHolder(MVTec2D, config, Needs(reference=True)).create().steps
        normal = torch.tensor([not sample.image_label for sample in step.plan.train])
        images = torch.cat([batch.image for batch in step.train_loader])[normal]
        found = known(step.train_loader.reference_image)
        assert all((images == image).all(dim=(1, 2, 3)).any() for image in found)
        return found

    assert torch.equal(references(3), references(5)[:3])
    with pytest.raises(UserError, match=r"ref_num 99: .*--set ref_num="):
        references(99)


def known(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor
