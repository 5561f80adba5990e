"""Pixels as the file means them: upright, on black where transparent, with all the levels that there are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configuration.errors import UserError
from data_io.decode import Geometry, decode_image, decode_mask, native_shape
from data_io.image_file import Levels, is_deep, levels_for, num_pages, opened, shown_size, to_grey, to_rgb
from data_io.records import Sample

WHOLE = Geometry(8, 8)
ORIENTATION = 274


def rgb(path: Path, levels: Levels | None = None) -> np.ndarray:
    with opened(path) as image:
        return np.asarray(to_rgb(image, levels))


def saved(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_and_mask_are_turned_as_the_camera_says(ending: str, orientation: int, tmp_path: Path) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = 255
    turns = {1: [], 2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}[orientation]  # the inverse ones
    image = Image.fromarray(upright)
    for turn in turns:
        image = image.transpose(Image.Transpose(turn))
    tag = Image.Exif()
    tag[ORIENTATION] = orientation
    path = tmp_path / f"x.{ending}"
    image.save(path, exif=tag, quality=100)
    assert np.abs(rgb(path).astype(int) - upright).max() < 60
    assert shown_size(path) == (16, 32)
    mask = decode_mask(Sample(path, 1, path), None, None, WHOLE, 128)
    assert mask is not None
    assert np.array_equal(mask, upright[..., 0] // 255)
    assert native_shape(Sample(path, 0), WHOLE) == (16, 32)


def test_twelve_bits_in_sixteen_keep_their_levels(tmp_path: Path) -> None:
    ramp = np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8)
    path = saved(tmp_path / "x.png", ramp)
    assert is_deep(path)
    assert len(np.unique(rgb(path, levels_for(0, 4032)))) == 64
    assert len(np.unique(rgb(path))) == 17, "without levels 65535 is white"
    np.testing.assert_array_equal(rgb(path, Levels(0, 4095))[..., 0], np.round(ramp / 4095 * 255))


@pytest.mark.parametrize(
    ("low", "high", "black", "white"),
    [
        (0, 4032, 0, 4095),
        (0, 4096, 0, 8191),
        (0, 65535, 0, 65535),
        (3, 200, 0, 255),
        (0, 0.7, 0, 1),
        (0.0, 1.0, 0, 1),
        (-0.3, 0.9, -0.5, 1),
        (0, 300.5, 0, 512),
        (0, 0, 0, 1),
    ],
)
def test_white_is_the_next_power_of_two(low: float, high: float, black: float, white: float) -> None:
    assert levels_for(low, high) == Levels(black, white)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_floats_and_whole_numbers_of_32_bits_are_grey(kind: type, tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 64).reshape(8, 8)
    path = saved(tmp_path / "x.tif", grey.astype(kind))
    assert np.abs(rgb(path, levels_for(0, 255))[..., 1].astype(float) - grey).max() <= 1


def test_what_is_not_finite_is_black(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.tif", np.full((8, 8), np.nan, np.float32))
    assert rgb(path).max() == 0


def test_transparent_pixels_are_black_in_image_and_mask(tmp_path: Path) -> None:
    pixels = np.full((8, 8, 4), 255, np.uint8)
    pixels[:, 4:, 3] = 0
    path = saved(tmp_path / "x.png", pixels)
    assert decode_image(path, WHOLE)[:, 0, 0].tolist() == [255, 255, 255]
    assert decode_image(path, WHOLE)[:, 0, 7].tolist() == [0, 0, 0]
    with opened(path) as mask:
        assert to_grey(mask).mean() == 127.5


def test_shares_of_a_float_mask_are_of_255(tmp_path: Path) -> None:
    with opened(saved(tmp_path / "x.tif", np.array([[0, 0.5], [1, 0]], np.float32))) as mask:
        assert to_grey(mask).tolist() == [[0, 127], [255, 0]]


def test_pages_are_counted_and_the_first_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    first = Image.new("L", (4, 4), 9)
    first.save(path, save_all=True, append_images=[Image.new("L", (4, 4), 200)] * 2)
    assert num_pages(path) == 3
    assert rgb(path).max() == 9
    assert num_pages(saved(tmp_path / "x.png", np.zeros((4, 4), np.uint8))) == 1


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"8BPS\0\1", b"", b"\x89PNG"]
)
def test_what_only_looks_like_an_image_is_not_opened(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.png: cannot be read as an image"):
        decode_image(path, WHOLE)


def test_an_image_of_180_megapixels_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.new("1", (15000, 12000), 1).save(path)
    assert decode_image(path, WHOLE).min() == 255
