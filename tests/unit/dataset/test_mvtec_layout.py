from pathlib import Path

import pytest

from configuration.errors import UserError
from data_io.records import Sample
from dataset.btad import BTAD
from dataset.mvtec2d import MVTec2D
from dataset.mvtec2df3d import MVTec2DF3D
from dataset.mvtec3d import MVTec3D
from dataset.mvtec_layout import anomalous_sample, masks_in
from tests.trees import write_tree


def test_an_empty_class_is_named_with_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        MVTec2D(tmp_path).samples(3, "train")
    assert str(error.value) == (
        f"mvtec2d: no image of class carpet under {tmp_path}/carpet/train; "
        "set -dp to the folder that holds carpet/"
    )


def test_kinds_other_than_good_in_train_are_not_trained_on(tmp_path: Path) -> None:
    root = write_tree("mvtec2d", tmp_path)
    (root / "bottle" / "test" / "hole").rename(root / "bottle" / "train" / "hole")
    assert {sample.path.parent.name for sample in MVTec2D(root).samples(0, "train")} == {"good"}


def test_a_mask_is_found_by_the_stem_of_its_image() -> None:
    masks = {"1_mask": Path("1_mask.png"), "10": Path("10.bmp"), "2_label": Path("2_label.PNG")}
    found = [anomalous_sample(Path(f"{stem}.png"), masks, "hole").mask_path for stem in ("1", "10", "2", "3")]
    assert found == [Path("1_mask.png"), Path("10.bmp"), Path("2_label.PNG"), None]


def test_a_folder_of_masks_belongs_to_one_image(tmp_path: Path) -> None:
    (tmp_path / "000").mkdir()
    (tmp_path / "001").mkdir()
    for name in ("000/000.png", "000/001.png", "002.png", "readme.txt"):
        (tmp_path / name).touch()
    files = (tmp_path / "000" / "000.png", tmp_path / "000" / "001.png")
    assert masks_in(tmp_path) == {"000": files, "002": tmp_path / "002.png"}


def test_btad_is_found_in_the_folder_that_it_was_unpacked_in(tmp_path: Path) -> None:
    root = write_tree("btad", tmp_path / "BTech_Dataset_transformed")
    assert BTAD(tmp_path).samples(2, "test") == BTAD(root).samples(2, "test")
    masks = {path.suffix for sample in BTAD(tmp_path).samples(2, "test") for path in sample.mask_paths}
    assert masks == {".bmp"}


@pytest.mark.parametrize("dataset_class", [MVTec2DF3D, MVTec3D])
def test_the_validation_folder_of_3d_ad_is_not_trained_on(
    dataset_class: type[MVTec2DF3D], tmp_path: Path
) -> None:
    root = write_tree("mvtec3d", tmp_path)
    samples = dataset_class(root).samples(0, "train")
    assert {sample.path.parents[2].name for sample in samples} == {"train"}


def test_every_image_of_3d_ad_leads_to_its_third_dimension(tmp_path: Path) -> None:
    samples: list[Sample] = MVTec3D(write_tree("mvtec3d", tmp_path)).samples(1, "test")
    assert all(MVTec3D.xyz_path(sample.path).is_file() for sample in samples)
