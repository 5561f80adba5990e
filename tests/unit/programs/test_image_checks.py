from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from programs.check_data.image_checks import Look, Problem, look_at, mask_problems, twin_problems
from tests.trees import draw, save

SHAPE = (48, 64)


@pytest.fixture
def looks(tmp_path: Path) -> list[Look]:
    """Return what twelve different pictures look like."""
    found = []
    for i in range(12):
        path = tmp_path / f"{i:02d}.png"
        save(path, draw(str(i), "tile", SHAPE)[0])
        look = look_at(path)
        assert isinstance(look, Look)
        found.append(look)
    return found


def seen(path: Path) -> Look:
    look = look_at(path)
    assert isinstance(look, Look)
    return look


def kinds(problems: object) -> list[tuple[str, str]]:
    assert isinstance(problems, list)
    return [(problem.level, problem.kind) for problem in problems]


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_a_fault(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    found = look_at(path)
    assert isinstance(found, Problem)
    assert (found.level, found.kind) == ("fault", "unreadable")
    assert str(path) in found.text


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp"])
def test_a_truncated_image_is_a_fault(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    save(path, draw("x", "tile", SHAPE)[0])
    path.write_bytes(path.read_bytes()[:-700])
    assert isinstance(look_at(path), Problem)


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    assert isinstance(look_at(tmp_path / "gone.png"), Problem)


def test_different_pictures_are_no_twins(looks: list[Look]) -> None:
    assert not list(twin_problems(looks[:8], looks[8:]))


def test_the_same_pixels_in_another_file_are_identical(looks: list[Look], tmp_path: Path) -> None:
    copy = tmp_path / "copy.bmp"
    Image.open(looks[0].path).save(copy)
    assert kinds(list(twin_problems(looks[:8], [seen(copy)]))) == [("fault", "identical")]


def test_a_copy_of_other_brightness_and_compression_is_similar(looks: list[Look], tmp_path: Path) -> None:
    copy = tmp_path / "copy.jpg"
    Image.open(looks[5].path).point(lambda value: value * 0.9).save(copy, quality=90)
    problems = list(twin_problems(looks[:8], [looks[9], seen(copy)]))
    assert kinds(problems) == [("warning", "similar")]
    assert str(copy) in problems[0].text
    assert str(looks[5].path) in problems[0].text


def mask_of(path: Path, value: int, shape: tuple[int, int] = SHAPE) -> Path:
    pixels = np.zeros(shape, dtype=np.uint8)
    pixels[5:9, 5:9] = value
    save(path, pixels)
    return path


@pytest.mark.parametrize(
    ("value", "shape", "threshold", "expected"),
    [
        (255, SHAPE, 1, []),
        (0, SHAPE, 1, [("warning", "empty mask")]),
        (127, SHAPE, 128, [("warning", "empty mask"), ("fault", "mask values")]),
        (7, SHAPE, 1, [("fault", "mask values")]),
        (255, SHAPE[::-1], 1, [("fault", "mask size")]),
    ],
)
def test_masks(
    tmp_path: Path, value: int, shape: tuple[int, int], threshold: int, expected: list[tuple[str, str]]
) -> None:
    path = mask_of(tmp_path / "mask.png", value, shape)
    assert kinds(list(mask_problems(path, SHAPE, threshold, frozenset({0, 255})))) == expected


def test_any_grey_value_is_fine_where_none_is_expected(tmp_path: Path) -> None:
    path = mask_of(tmp_path / "mask.png", 7)
    assert not list(mask_problems(path, SHAPE, 1, None))


def test_a_palette_mask_is_judged_by_its_numbers(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    mask = Image.fromarray(np.eye(8, dtype=np.uint8) * 3, mode="P")
    mask.putpalette([0, 0, 0, 9, 9, 9, 9, 9, 9, 200, 100, 50])
    mask.save(path)
    assert not list(mask_problems(path, (8, 8), 1, frozenset({0, 1, 2, 3})))


def test_a_broken_mask_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(b"")
    assert kinds(list(mask_problems(path, (8, 8), 1, None))) == [("fault", "unreadable")]
