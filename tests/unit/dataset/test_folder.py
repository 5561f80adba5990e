import os
import shutil
from pathlib import Path

import pytest

from configuration.errors import UserError
from dataset.folder import Folder
from tests.trees import Size, write_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tree("folder", tmp_path, Size(train=5, good=3, bad=4))


def test_masks_may_be_there_for_some_images_only(root: Path) -> None:
    shutil.rmtree(root / "ground_truth" / "hole")
    test = Folder(root).samples(0, "test")
    assert {(sample.kind, bool(sample.mask_paths)) for sample in test} == {
        ("good", False),
        ("hole", False),
        ("stain", True),
    }


def test_no_masks_at_all_are_no_error(root: Path) -> None:
    shutil.rmtree(root / "ground_truth")
    assert not any(sample.mask_paths for sample in Folder(root).samples(0, "test"))
    assert Folder(root).notes(0) == []


def test_training_images_may_lie_directly_in_train(root: Path) -> None:
    for path in (root / "train" / "good").iterdir():
        path.rename(root / "train" / path.name)
    (root / "train" / "good").rmdir()
    assert [sample.path for sample in Folder(root).samples(0, "train")] == sorted((root / "train").iterdir())


def test_a_test_folder_without_kinds_cannot_be_scored(root: Path) -> None:
    for path in (root / "test" / "good").iterdir():
        path.rename(root / "test" / path.name)
    shutil.rmtree(root / "test" / "hole")
    shutil.rmtree(root / "test" / "stain")
    with pytest.raises(UserError, match="have no label and cannot be scored; move them to test/good/"):
        Folder(root).samples(0, "test")


def test_images_beside_the_kinds_are_left_out_and_told(root: Path) -> None:
    shutil.copy(root / "test" / "good" / "000.png", root / "test" / "loose.png")
    assert len(Folder(root).samples(0, "test")) == 7
    (left,) = Folder(root).left_out(0)
    assert (left.path.name, left.reason) == ("loose.png", "in folders that are not read")


@pytest.mark.parametrize(
    ("gone", "line"), [(("hole", "stain"), "good, so metrics"), (("good",), "anomalous, so metrics")]
)
def test_a_test_set_of_one_label_is_told(root: Path, gone: tuple[str, ...], line: str) -> None:
    for kind in gone:
        shutil.rmtree(root / "test" / kind)
    assert line in Folder(root).notes(0)[0]


def test_a_link_to_nothing_and_a_name_in_another_encoding_are_named(root: Path) -> None:
    link = root / "test" / "good" / "zz.png"
    link.symlink_to(root / "gone.png")
    with pytest.raises(UserError, match=f"^{link}: a link to nothing"):
        Folder(root).samples(0, "test")
    link.unlink()
    source = next(iter((root / "test" / "good").iterdir()))
    shutil.copy(source, root / "test" / "good" / os.fsdecode(b"caf\xe9.png"))
    with pytest.raises(UserError, match=r"'caf\\udce9.png' is no UTF-8; rename it"):
        Folder(root).samples(0, "test")
