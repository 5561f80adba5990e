"""Maps at the sizes of their masks, and the metrics of saturating defects."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configuration.errors import UserError
from data_io.decode import Geometry
from data_io.records import Sample
from dataset.base import Saturation
from paradigms.resizing import fit_maps, resized
from paradigms.saturated import saturated_metrics

RULES = {250: Saturation("missing", 8, relative=False), 236: Saturation("scratch", 1.0, relative=True)}

WHOLE = Geometry(1, 1)


def test_maps_of_the_right_size_are_left_alone() -> None:
    maps = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    assert fit_maps(maps, [np.zeros((8, 8), np.uint8), None, None]) is maps
    assert fit_maps(maps, [None, None, None]) is maps


def test_maps_are_resized_together_or_one_by_one() -> None:
    maps = np.random.default_rng(0).random((2, 8, 8), dtype=np.float32)
    same = fit_maps(maps, [np.zeros((16, 12), np.uint8), None])
    assert isinstance(same, np.ndarray)
    assert same.shape == (2, 16, 12)
    ragged = fit_maps(maps, [np.zeros((16, 12), np.uint8), np.zeros((5, 9), np.uint8)])
    assert [found.shape for found in ragged] == [(16, 12), (5, 9)]
    np.testing.assert_array_equal(ragged[0], same[0])


def test_a_map_without_a_mask_keeps_its_size() -> None:
    maps = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    found = fit_maps(maps, [np.zeros((16, 12), np.uint8), None, np.zeros((5, 9), np.uint8)])
    assert [each.shape for each in found] == [(16, 12), (8, 8), (5, 9)]
    np.testing.assert_array_equal(found[1], maps[1])


def test_resizing_keeps_a_ramp_straight() -> None:
    ramp = np.tile(np.arange(8, dtype=np.float32), (1, 8, 1))
    found = resized(ramp, (16, 16))[0, 0, 1:-1]
    np.testing.assert_allclose(np.diff(found), 0.5, atol=1e-6)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Two good images, one logical defect of 4 x 4 pixels, one structural one of 2 x 8; 24 x 32 pixels."""
    found = []
    boxes = {
        "good": None,
        "logical_anomalies": (slice(0, 4), slice(0, 4)),
        "structural_anomalies": (slice(8, 10), slice(0, 8)),
    }
    for index, kind in enumerate(("good", "good", "logical_anomalies", "structural_anomalies")):
        path, mask_path = tmp_path / f"{index}.png", None
        Image.new("RGB", (32, 24)).save(path)
        box = boxes[kind]
        if box is not None:
            mask = np.zeros((24, 32), np.uint8)
            mask[box] = 250 if kind == "logical_anomalies" else 236
            mask_path = tmp_path / f"{index}_mask.png"
            Image.fromarray(mask).save(mask_path)
        found.append(Sample(path, int(box is not None), mask_path, kind))
    return found


def perfect_maps(samples: list[Sample]) -> np.ndarray:
    maps = [np.zeros((24, 32), np.float32) for _ in samples]
    for found, sample in zip(maps, samples, strict=True):
        for path in sample.mask_paths:
            found[np.asarray(Image.open(path)) > 0] = 1
    return np.stack(maps)


def test_perfect_maps_reach_the_full_overlap(samples: list[Sample]) -> None:
    score = np.array([0.1, 0.2, 0.9, 0.15], np.float32)
    found = saturated_metrics(samples, score, perfect_maps(samples), RULES, geometry=WHOLE)
    assert found["logical_auroc"] == 1.0
    assert found["structural_auroc"] == 0.5
    assert found["mean_auroc"] == 0.75
    assert found["mean_spro_0.05"] == pytest.approx(1.0)


@pytest.mark.parametrize("row", [2, 3])
def test_a_kind_without_a_mask_has_no_overlap_and_no_part_in_the_mean(
    samples: list[Sample], row: int
) -> None:
    maps = perfect_maps(samples)
    samples[row] = replace(samples[row], mask_path=None)
    found = saturated_metrics(samples, np.zeros(4, np.float32), maps, RULES, geometry=WHOLE)
    other = "structural" if row == 2 else "logical"
    assert found["mean_spro_0.05"] == found[f"{other}_spro_0.05"] == pytest.approx(1.0)
    assert sum("spro_0.05" in name for name in found) == 2
    assert found["mean_auroc"] == 0.5


def test_half_of_a_defect_is_enough_where_it_saturates(samples: list[Sample]) -> None:
    maps = perfect_maps(samples)
    maps[2, :2] = 0  # 8 of 16 pixels are left, as many as saturate the logical defect
    maps[3, 8] = 0  # 8 of 16 pixels, half of the structural one
    score = np.zeros(4, np.float32)
    found = saturated_metrics(samples, score, maps, RULES, geometry=WHOLE)
    assert found["logical_spro_0.01"] == pytest.approx(1.0)
    assert found["structural_spro_0.01"] == pytest.approx(0.5, abs=0.01)


def test_every_kind_and_the_mean_have_every_limit(samples: list[Sample]) -> None:
    found = saturated_metrics(samples, np.zeros(4, np.float32), perfect_maps(samples), RULES, geometry=WHOLE)
    names = ["auroc", *(f"spro_{limit}" for limit in (0.01, 0.05, 0.1, 0.3, 1.0))]
    assert set(found) == {f"{kind}_{name}" for kind in ("logical", "structural", "mean") for name in names}


def test_the_mean_is_that_of_the_kinds(samples: list[Sample]) -> None:
    maps = perfect_maps(samples)
    maps[3] = 0
    found = saturated_metrics(samples, np.zeros(4, np.float32), maps, RULES, geometry=WHOLE)
    logical, structural, mean = (found[f"{kind}_spro_0.3"] for kind in ("logical", "structural", "mean"))
    assert logical == pytest.approx(1.0)
    assert structural == pytest.approx(0.15), "a constant map finds as many normal pixels as marked ones"
    assert mean == pytest.approx((1.0 + 0.15) / 2)


def test_each_mask_of_an_image_is_a_defect_unless_it_is_empty(samples: list[Sample], tmp_path: Path) -> None:
    second, empty = np.zeros((24, 32), np.uint8), np.zeros((24, 32), np.uint8)
    second[20:, 28:] = 236
    for name, mask in (("second.png", second), ("empty.png", empty)):
        Image.fromarray(mask).save(tmp_path / name)
    paths = (*samples[2].mask_paths, tmp_path / "second.png", tmp_path / "empty.png")
    maps = perfect_maps(samples)
    samples[2] = Sample(samples[2].path, 1, paths, samples[2].kind)
    found = saturated_metrics(samples, np.zeros(4, np.float32), maps, RULES, geometry=WHOLE)
    assert found["logical_spro_0.01"] == pytest.approx(0.5, abs=0.01), "one of two defects is found"


def test_maps_are_measured_at_the_size_of_what_the_crop_keeps(samples: list[Sample]) -> None:
    # The central half of 24 x 32 pixels holds rows 6 to 17, columns 8 to 23: none of either defect.
    cropped = saturated_metrics(
        samples, np.zeros(4, np.float32), np.ones((4, 6, 8), np.float32), RULES, Geometry(2, 1)
    )
    assert set(cropped) == {"logical_auroc", "structural_auroc", "mean_auroc"}
    coarse = perfect_maps(samples)[:, ::2, ::2]
    whole = saturated_metrics(samples, np.zeros(4, np.float32), coarse, RULES, geometry=WHOLE)
    assert whole["logical_spro_0.3"] == pytest.approx(1.0, abs=0.01)
    assert whole["structural_spro_0.3"] == pytest.approx(1.0, abs=0.01)


def test_methods_without_maps_have_aurocs_only(samples: list[Sample]) -> None:
    found = saturated_metrics(samples, np.zeros(4, np.float32), None, RULES, geometry=WHOLE)
    assert set(found) == {"logical_auroc", "structural_auroc", "mean_auroc"}


def test_a_grey_value_without_a_rule_is_named(samples: list[Sample]) -> None:
    with pytest.raises(UserError, match="grey value 236"):
        saturated_metrics(samples, np.zeros(4, np.float32), perfect_maps(samples), {250: RULES[250]}, WHOLE)
