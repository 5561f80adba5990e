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
    with pytest.raises(UserError, match=r"1cls\.csv: cannot be read \(No such file.*restore it"):
        VisA(root).samples(0, "test")


def test_a_listed_image_that_is_missing_is_not_forgotten(tmp_path: Path) -> None:
    root = write_tree("visa", tmp_path)
    victim = VisA(root).samples(0, "train")[0].path
    victim.unlink()
    assert victim in {sample.path for sample in VisA(root).samples(0, "train")}


@pytest.mark.parametrize("place", ["/etc/passwd.png", "../../outside.png", "C:\\\\images\\\\1.png"])
def test_a_list_does_not_lead_out_of_the_data_set(place: str, tmp_path: Path) -> None:
    root = write_tree("visa", tmp_path)
    path = root / "split_csv" / "1cls.csv"
    header, *rows = path.read_text().splitlines()
    names = header.split(",")
    cells = rows[0].split(",")
    cells[names.index("image")] = place
    path.write_text("\n".join([header, ",".join(cells), *rows[1:]]))
    with pytest.raises(UserError, match="leads out of the data set"):
        [VisA(root).samples(0, split) for split in ("train", "test")]


def test_a_list_that_windows_tools_wrote_is_read(tmp_path: Path) -> None:
    root = write_tree("visa", tmp_path)
    path = root / "split_csv" / "1cls.csv"
    before = VisA(root).samples(0, "test")
    text = path.read_text().replace(",", ";").replace("/", "\\")
    path.write_bytes(text.replace("\n", "\r\n").encode("utf-16"))
    assert VisA(root).samples(0, "test") == before
