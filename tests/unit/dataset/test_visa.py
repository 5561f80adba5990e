import csv
from pathlib import Path

import pytest

from configuration.errors import UserError
from dataset.visa import VisA
from tests.trees import write_tree


def test_only_the_list_of_the_authors_decides_what_is_trained_on(tmp_path: Path) -> None:
    root = write_tree("visa", tmp_path)
    before = VisA(root).samples(0, "train")
    path = root / "split_csv" / "1cls.csv"
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    moved = next(row for row in rows if row[:2] == ["candle", "train"])
    moved[1] = "test"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    after = VisA(root)
    assert {sample.path for sample in before} - {sample.path for sample in after.samples(0, "train")} == {
        root / moved[3]
    }
    assert root / moved[3] in {sample.path for sample in after.samples(0, "test")}


def test_a_lost_list_is_named(tmp_path: Path) -> None:
    root = write_tree("visa", tmp_path)
    (root / "split_csv" / "1cls.csv").unlink()
    with pytest.raises(UserError, match=r"visa: no split list .*1cls\.csv; restore split_csv/"):
        VisA(root).samples(0, "test")


def test_a_listed_image_that_is_missing_is_not_forgotten(tmp_path: Path) -> None:
    root = write_tree("visa", tmp_path)
    victim = VisA(root).samples(0, "train")[0].path
    victim.unlink()
    assert victim in {sample.path for sample in VisA(root).samples(0, "train")}
