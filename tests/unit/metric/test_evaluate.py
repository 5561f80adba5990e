"""Which images count for which metrics, and which metrics exist."""

import numpy as np
import pytest

from metric.evaluate import METRICS, evaluate

IMAGE = METRICS[:3]
PIXEL = METRICS[3:]


@pytest.fixture
def test_set() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    mask = np.zeros((6, 8, 9), np.uint8)
    mask[3:, 2:5, 3:6] = 255
    return {
        "image_score": rng.random(6).astype(np.float32),
        "image_label": np.array([0, 0, 0, 1, 1, 1]),
        "anomaly_map": (rng.random(mask.shape) + (mask > 0)).astype(np.float32),
        "ground_truth_mask": mask,
    }


def test_all_metrics_are_fractions(test_set: dict[str, np.ndarray]) -> None:
    found = evaluate(**test_set)
    assert tuple(found) == METRICS
    assert all(value is not None and 0 <= value <= 1 for value in found.values())


def test_every_metric_of_a_hand_worked_test_set() -> None:
    # Normal pixels 0, 1, 2, 3, 0, 1 and marked ones 4 and 2, each a region. AUPRO: overlap 1/2 from the first
    # pixel on, and a ramp to 1 between the rates 1/6 and 1/3, cut at 0.3.
    maps = [np.array([row], np.float32) for row in ([0, 1], [2, 3], [0, 4], [1, 2])]
    masks = [np.array([row], np.uint8) for row in ([0, 0], [0, 0], [0, 255], [0, 255])]
    assert evaluate([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], maps, masks) == pytest.approx(
        {
            "image_auroc": 3 / 4,
            "image_ap": 5 / 6,
            "image_f1max": 4 / 5,
            "pixel_auroc": 10.5 / 12,
            "pixel_ap": 3 / 4,
            "pixel_f1max": 2 / 3,
            "pixel_aupro": (0.5 * 0.3 + 0.5 * 3 * (0.3 - 1 / 6) ** 2) / 0.3,
        }
    )


def test_scores_that_differ_beyond_float32_are_tied() -> None:
    close = np.array([1.0, 1.0 + 1e-9])
    found = evaluate(close, [0, 1], close[:, None, None], np.array([[[0]], [[1]]]))
    assert (found["image_auroc"], found["pixel_auroc"]) == (0.5, 0.5)


def test_ragged_boolean_input_is_the_same_as_arrays(test_set: dict[str, np.ndarray]) -> None:
    lists = {
        "anomaly_map": [scores.astype(np.float16).astype(np.float32) for scores in test_set["anomaly_map"]],
        "ground_truth_mask": [mask > 0 for mask in test_set["ground_truth_mask"]],
    }
    test_set["anomaly_map"] = test_set["anomaly_map"].astype(np.float16)
    assert evaluate(**(test_set | lists)) == evaluate(**test_set)


@pytest.mark.parametrize("unknown", [None, np.zeros((8, 9), np.uint8)])
def test_unknown_pixels_are_left_out_of_the_pixel_metrics_only(
    test_set: dict[str, np.ndarray], unknown: np.ndarray | None
) -> None:
    masks = [*test_set["ground_truth_mask"][:5], unknown]
    found = evaluate(**(test_set | {"ground_truth_mask": masks}))
    without = evaluate(**{name: value[:5] for name, value in test_set.items()})
    whole = evaluate(**test_set)
    assert [found[name] for name in PIXEL] == [without[name] for name in PIXEL]
    assert [found[name] for name in IMAGE] == [whole[name] for name in IMAGE]


def test_without_maps_there_are_image_metrics_only(test_set: dict[str, np.ndarray]) -> None:
    found = evaluate(test_set["image_score"], test_set["image_label"], None, None)
    assert all(found[name] is not None for name in IMAGE)
    assert all(found[name] is None for name in PIXEL)


def test_normal_images_alone_have_no_metric(test_set: dict[str, np.ndarray]) -> None:
    assert set(evaluate(**{name: value[:3] for name, value in test_set.items()}).values()) == {None}


def test_anomalous_images_alone_have_pixel_metrics_only(test_set: dict[str, np.ndarray]) -> None:
    found = evaluate(**{name: value[3:] for name, value in test_set.items()})
    assert all(found[name] is None for name in IMAGE)
    assert all(found[name] is not None for name in PIXEL)


def test_empty_test_set_has_no_metric() -> None:
    assert set(evaluate([], [], [], []).values()) == {None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_label": np.array([0, 1])}, "image_label"),
        ({"image_label": np.zeros((6, 1)), "image_score": np.zeros((6, 1))}, r"must both be \(N,\)"),
        ({"image_label": np.array([0, 0, 0, 1, 1, 2])}, "0 or 1"),
        ({"image_label": np.array([0, 0, 0, 0, 1, 1])}, "image 3 is normal"),
        ({"ground_truth_mask": None}, "one entry"),
        ({"ground_truth_mask": [None] * 6}, "image 0 is normal"),
        ({"ground_truth_mask": np.zeros((5, 8, 9), np.uint8)}, "one entry"),
        ({"ground_truth_mask": np.zeros((6, 9, 8), np.uint8)}, "image 0"),
        ({"ground_truth_mask": np.zeros((6, 72)), "anomaly_map": np.zeros((6, 72))}, r"must be \(H, W\)"),
        ({"image_score": np.array([0, 0, 0, 1, 1, np.nan])}, "finite"),
        ({"image_score": np.full(6, np.nan), "image_label": np.zeros(6)}, "finite"),
        ({"anomaly_map": np.full((6, 8, 9), np.inf, np.float32)}, "finite"),
    ],
)
def test_input_that_does_not_fit_is_refused(
    test_set: dict[str, np.ndarray], change: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(**(test_set | change))
