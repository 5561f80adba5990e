"""Maps at the sizes of their masks, and the metrics of saturating defects."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configuration.errors import UserError
from data_io.records import Sample
from dataset.base import Saturation
from paradigms.resizing import fit_maps, resized
from paradigms.saturated import saturated_metrics

RULES = {250: Saturation("missing", 8, relative=False), 236: Saturation("scratch", 1.0, relative=True)}


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
    found = saturated_metrics(samples, score, perfect_maps(samples), RULES, share=1.0)
    assert found["logical_auroc"] == 1.0
    assert found["structural_auroc"] == 0.5
    assert found["mean_auroc"] == 0.75
    assert found["mean_spro_0.05"] == pytest.approx(1.0)


def test_half_of_a_defect_is_enough_where_it_saturates(samples: list[Sample]) -> None:
    maps = perfect_maps(samples)
    maps[2, :2] = 0  # 8 of 16 pixels are left, as many as saturate the logical defect
    maps[3, 8] = 0  # 8 of 16 pixels, half of the structural one
    score = np.zeros(4, np.float32)
    found = saturated_metrics(samples, score, maps, RULES, share=1.0)
    assert found["logical_spro_0.01"] == pytest.approx(1.0)
    assert found["structural_spro_0.01"] == pytest.approx(0.5, abs=0.01)


def test_methods_without_maps_have_aurocs_only(samples: list[Sample]) -> None:
    found = saturated_metrics(samples, np.zeros(4, np.float32), None, RULES, share=1.0)
    assert set(found) == {"logical_auroc", "structural_auroc", "mean_auroc"}


def test_a_grey_value_without_a_rule_is_named(samples: list[Sample]) -> None:
    with pytest.raises(UserError, match="grey value 236"):
        saturated_metrics(samples, np.zeros(4, np.float32), perfect_maps(samples), {250: RULES[250]}, 1.0)
