from pathlib import Path

import pytest

from configuration.errors import UserError
from dataset.dagm import DAGM, listed_as_defective
from tests.trees import write_tree


def test_a_defect_in_train_without_its_mask_is_still_not_trained_on(tmp_path: Path) -> None:
    root = write_tree("dagm", tmp_path)
    before = DAGM(root).samples(0, "train")
    for mask in (root / "Class1" / "Train" / "Label").glob("*.PNG"):
        mask.unlink()
    assert DAGM(root).samples(0, "train") == before


def test_without_the_list_of_labels_the_masks_tell_what_is_defective(tmp_path: Path) -> None:
    root = write_tree("dagm", tmp_path)
    before = DAGM(root).samples(0, "test")
    for labels in root.rglob("Labels.txt"):
        labels.unlink()
    assert DAGM(root).samples(0, "test") == before


def test_labels_are_read_by_column(tmp_path: Path) -> None:
    path = tmp_path / "Labels.txt"
    path.write_text("1\n576\t0\t0576.PNG\t0\t0\n577\t1\t0577.PNG\t0\t0577_label.PNG\n")
    assert listed_as_defective(path) == {"0577"}
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode("utf-16"))
    assert listed_as_defective(path) == {"0577"}


def test_the_older_release_is_refused_by_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "Class1").mkdir()
    (tmp_path / "Class1/1.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"Class1 holds files of \.png \(1\); the layout is Class<n>/"):
        DAGM(tmp_path).samples(0, "train")
