from pathlib import Path

import pytest

from configuration.errors import UserError
from dataset.base import Saturation
from dataset.mvtecloco import MVTecLOCO
from tests.trees import Size, write_tree


def test_all_masks_of_an_image_come_in_a_tuple(tmp_path: Path) -> None:
    test = MVTecLOCO(write_tree("mvtecloco", tmp_path, Size(bad=4))).samples(0, "test")
    anomalous = [sample for sample in test if sample.image_label]
    assert [len(sample.mask_paths) for sample in anomalous] == [2, 1, 2, 1]
    assert all(isinstance(sample.mask_path, tuple) for sample in anomalous)
    assert {sample.kind for sample in anomalous} == {"logical_anomalies", "structural_anomalies"}


def test_the_validation_folder_is_not_trained_on(tmp_path: Path) -> None:
    train = MVTecLOCO(write_tree("mvtecloco", tmp_path, Size(train=5))).samples(0, "train")
    assert len(train) == 5


def test_saturation_is_read_by_grey_value(tmp_path: Path) -> None:
    assert MVTecLOCO(write_tree("mvtecloco", tmp_path)).saturation(1) == {
        250: Saturation("missing", threshold=20, relative=False),
        236: Saturation("scratch", threshold=1, relative=True),
    }


@pytest.mark.parametrize("content", ["", "{}[", '[{"defect_name": "x"}]', "[1]"])
def test_a_broken_configuration_of_defects_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pushpins" / "defects_config.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(UserError, match=r"pushpins/defects_config\.json: .*restore it"):
        MVTecLOCO(tmp_path).saturation(2)
