from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from programs.show_augmentation import main
from tests.trees import write_tree


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree("mpdd", tmp_path_factory.mktemp("data") / "mpdd")


def draw(path: Path, *words: str) -> np.ndarray:
    assert main([*words, "-d", "mpdd", "-o", str(path)]) == 0
    return np.asarray(Image.open(path).convert("RGB"))


def test_a_sheet_shows_each_image_and_its_variants(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["-tag", "cutpaste", "-dp", str(root)]
    sheet = draw(tmp_path / "new" / "sheet.png", *place)
    assert sheet.std() > 20
    told = capsys.readouterr().out
    assert "sheet.png" in told
    assert "training images of bracket_black" in told
    again, other = draw(tmp_path / "again.png", *place), draw(tmp_path / "other.png", *place, "--seed", "1")
    assert np.array_equal(sheet, again)
    assert not np.array_equal(sheet, other)
    assert not np.array_equal(sheet, draw(tmp_path / "task.png", *place, "-tid", "1"))


def test_normal_images_are_shown_as_they_are(root: Path, tmp_path: Path) -> None:
    sheet = draw(tmp_path / "sheet.png", "-tag", "normal", "-rp", str(root.parent))
    other = draw(tmp_path / "other.png", "-tag", "normal", "-rp", str(root.parent), "--seed", "1")
    assert np.array_equal(sheet, other), "nothing is drawn by chance"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-dp", "/nowhere"], "mpdd: no image of class bracket_black"),
        (["-tid", "6"], "-tid 6: no such class; choose from 0 to 5"),
        (["-o", "/dev/null/sheet.png"], "cannot be written"),
        (["-o", "sheet"], "-o sheet: give the name of a .png file"),
        (["--seed", "-5"], "--seed -5: must be at least 0"),
    ],
)
def test_what_can_be_mended_is_one_line(
    words: list[str], told: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = words if "-dp" in words else ["-dp", str(root), *words]
    output = [] if "-o" in words else ["-o", str(tmp_path / "sheet.png")]
    assert main(["-tag", "cutpaste", "-d", "mpdd", *place, *output]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["-tag", "mixup", "-d", "mpdd"], ["-tag", "cutpaste", "-d", "mpd"]])
def test_a_wrong_name_is_refused_with_those_that_there_are(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "cutpaste" in capsys.readouterr().err or "mpdd" in capsys.readouterr().err
