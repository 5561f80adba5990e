"""One geometry for image and mask, and errors that name the file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from configuration.errors import UserError
from data_io.decode import (
    Geometry,
    blank_mask,
    decode_channel,
    decode_image,
    decode_mask,
    fit_mask,
    native_shape,
)
from data_io.records import Sample

WHOLE = Geometry(8, 8)


def write(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize(("width", "height"), [(800, 600), (160, 280), (96, 96), (333, 120)])
@pytest.mark.parametrize("crop", [256, 224])
def test_mask_marks_the_place_of_the_defect(tmp_path: Path, width: int, height: int, crop: int) -> None:
    image, mask = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    area = (slice(height // 3, height // 2), slice(width // 8, width // 3))
    image[area], mask[area] = 255, 255
    sample = Sample(write(tmp_path / "a.png", image), 1, write(tmp_path / "m.png", mask))
    seen = decode_image(sample.path, Geometry(256, crop))[0] >= 128
    found = decode_mask(sample, 256, None, Geometry(256, crop), threshold=1)
    assert found is not None
    assert found.shape == (crop, crop)
    union, both = (seen | (found > 0)).sum(), (seen & (found > 0)).sum()
    assert both / union > 0.95


def test_the_crop_is_the_middle(tmp_path: Path) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    image = np.stack([grey, grey + 64, grey + 128], axis=2)
    path = write(tmp_path / "a.png", image)
    np.testing.assert_array_equal(decode_image(path, Geometry(8, 4)), image[2:6, 2:6].transpose(2, 0, 1))
    np.testing.assert_array_equal(fit_mask(grey, None, 4, WHOLE), grey[2:6, 2:6])
    np.testing.assert_array_equal(fit_mask(grey[:6], None, None, Geometry(8, 4)), grey[2:5, 2:6])
    np.testing.assert_array_equal(fit_mask(grey, 4, 2, WHOLE), fit_mask(grey, 4, None, Geometry(8, 4)))
    assert set(fit_mask(grey, 5, None, WHOLE).ravel()) <= set(grey.ravel()), "no value is made of two"


def test_a_blank_mask_has_the_shape_of_a_marked_one(tmp_path: Path) -> None:
    sample = Sample(write(tmp_path / "a.png", np.zeros((20, 30), np.uint8)), 0)
    for size, crop in ((None, None), (16, None), (16, 4)):
        blank = blank_mask(sample, size, crop, Geometry(2, 1))
        np.testing.assert_array_equal(
            blank, fit_mask(np.zeros((20, 30), np.uint8), size, crop, Geometry(2, 1))
        )


def test_a_channel_has_one_grey_value(tmp_path: Path) -> None:
    grey = np.zeros((8, 8), np.uint8)
    grey[3:5, 2:] = 236
    value, mask = decode_channel(write(tmp_path / "m.png", grey), Geometry(2, 1))
    assert value == 236
    np.testing.assert_array_equal(mask, grey[2:6, 2:6] > 0)
    assert decode_channel(write(tmp_path / "0.png", np.zeros((8, 8), np.uint8)), WHOLE)[0] == 0


def test_threshold_decides_what_is_marked(tmp_path: Path) -> None:
    grey = np.repeat(np.array([[0, 1, 127, 128, 255]], np.uint8), 5, axis=0)
    sample = Sample(write(tmp_path / "a.png", np.zeros((5, 5), np.uint8)), 1, write(tmp_path / "m.png", grey))
    for threshold, columns in ((1, 4), (128, 2)):
        mask = decode_mask(sample, None, None, WHOLE, threshold)
        assert mask is not None
        assert mask.sum() == 5 * columns


def test_several_masks_are_joined_and_native_size_is_kept(tmp_path: Path) -> None:
    left, right = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    left[:, :3], right[:, -2:] = 7, 9
    paths = (write(tmp_path / "0.png", left), write(tmp_path / "1.png", right))
    sample = Sample(write(tmp_path / "a.png", np.zeros((20, 30, 3), np.uint8)), 1, paths)
    mask = decode_mask(sample, None, None, WHOLE, 1)
    assert mask is not None
    assert mask.shape == (20, 30)
    assert mask.sum() == 20 * 5
    assert blank_mask(sample, None, None, Geometry(2, 1)).shape == (10, 15)


def test_missing_or_empty_mask_is_none(tmp_path: Path) -> None:
    image = write(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    empty = write(tmp_path / "m.png", np.zeros((8, 8), np.uint8))
    for mask_path in (None, tmp_path / "absent.png", empty):
        assert decode_mask(Sample(image, 1, mask_path), 8, None, WHOLE, 1) is None


def test_sixteen_bit_images_keep_their_contrast(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    found = decode_image(write(tmp_path / "a.png", ramp), Geometry(64, 64))[0]
    assert np.abs(found.astype(int) - (ramp >> 8)).max() <= 1


def test_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    image = write(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    mask = write(tmp_path / "m.png", np.ones((8, 9), np.uint8))
    with pytest.raises(UserError, match=r"m\.png: the mask is 9 x 8"):
        decode_mask(Sample(image, 1, mask), 8, None, WHOLE, 1)


@pytest.mark.parametrize("fault", ["text", "truncated", "missing"])
def test_broken_file_is_named(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "broken.png"
    if fault == "text":
        path.write_text("no picture")
    if fault == "truncated":
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        path.write_bytes(write(tmp_path / "whole.png", noise).read_bytes()[:2000])
    with pytest.raises(UserError, match=r"broken\.png") as error:
        decode_image(path, Geometry(32, 32))
    assert "\n" not in str(error.value)


def test_the_short_side_keeps_proportions_and_crops_as_torchvision_does(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 97, 3), dtype=np.uint8)
    path = write(tmp_path / "a.png", pixels)
    found = decode_image(path, Geometry(32, 24, "short_side"))
    theirs = v2.CenterCrop(24)(v2.Resize(32)(Image.fromarray(pixels)))
    np.testing.assert_array_equal(found, np.asarray(theirs).transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(60, 97), (97, 60), (50, 50)])
def test_the_short_side_keeps_a_mask_on_its_image(shape: tuple[int, int], tmp_path: Path) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = (y - shape[0] / 2 + 3) ** 2 + (x - shape[1] / 2 - 5) ** 2 < 100
    image = write(tmp_path / "a.png", np.repeat((inside * 255).astype(np.uint8)[..., None], 3, axis=2))
    sample = Sample(image, 1, write(tmp_path / "m.png", (inside * 255).astype(np.uint8)))
    geometry = Geometry(64, 48, "short_side")
    mask = decode_mask(sample, 64, None, geometry, 1)
    assert mask is not None
    assert mask.shape == (48, 48)
    assert np.mean((decode_image(image, geometry)[0] > 127) != mask) < 0.02
    native = decode_mask(sample, None, None, geometry, 1)
    assert native is not None
    assert native.shape == native_shape(sample, geometry) == (round(0.75 * min(shape)),) * 2
    assert blank_mask(sample, 64, None, geometry).shape == (48, 48)
