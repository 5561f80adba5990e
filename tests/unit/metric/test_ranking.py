"""The ranking metrics against scikit-learn and hand-worked cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from metric.evaluate import image_metrics
from metric.ranking import BLOCK, SORT_ALL_BELOW, Ranks, order_keys, pack, rank


def sklearn_metrics(score: np.ndarray, label: np.ndarray) -> dict[str, float]:
    precision, recall, _ = precision_recall_curve(label, score)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    return {
        "auroc": roc_auc_score(label, score),
        "ap": average_precision_score(label, score),
        "f1max": f1.max(),
    }


def slow_counts(normal: np.ndarray, anomalous: np.ndarray) -> list[np.ndarray]:
    value = np.sort(anomalous)
    return [
        len(value) - np.searchsorted(value, value, "left"),
        len(normal) - np.searchsorted(np.sort(normal), value, "left"),
        len(normal) - np.searchsorted(np.sort(normal), value, "right"),
    ]


def joined_counts(blocks: list[Ranks]) -> list[np.ndarray]:
    fields = ("true_positive", "false_positive", "normal_above")
    return [np.concatenate([getattr(block, name) for block in blocks]) for name in fields]


def test_hand_worked_case() -> None:
    score = np.array([0.1, 0.4, 0.35, 0.8], np.float32)
    found = image_metrics(score, np.array([0, 0, 1, 1]))
    assert found == pytest.approx({"auroc": 0.75, "ap": 1 / 2 + 1 / 2 * 2 / 3, "f1max": 0.8})


def test_all_scores_tied() -> None:
    found = image_metrics(np.full(4, 0.5, np.float32), np.array([0, 0, 0, 1]))
    assert found == pytest.approx({"auroc": 0.5, "ap": 0.25, "f1max": 0.4})


def test_separated_scores_are_perfect_and_reversed_ones_worst() -> None:
    label = np.array([0, 0, 1, 1, 1])
    score = np.arange(5, dtype=np.float32)
    assert image_metrics(score, label) == pytest.approx({"auroc": 1, "ap": 1, "f1max": 1})
    assert image_metrics(-score, label)["auroc"] == 0


def test_many_normal_scores_below_the_only_anomalous_one_leave_it_perfect() -> None:
    score = np.arange(BLOCK + 10, dtype=np.float32)
    label = (score == score.max()).astype(int)
    assert image_metrics(score, label) == pytest.approx({"auroc": 1, "ap": 1, "f1max": 1})
    assert image_metrics(-score, label)["auroc"] == 0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([-1e37, -2.5, -0.0, 0.0, 1e-40, 1.0, 1.5, 1e37]), st.booleans()), min_size=2
    )
)
def test_equals_scikit_learn_with_ties_and_extreme_values(pairs: list[tuple[float, bool]]) -> None:
    score = np.array([value for value, _ in pairs], np.float32)
    label = np.array([int(flag) for _, flag in pairs])
    if label.min() == label.max():
        assert image_metrics(score, label) == {}
    else:
        assert image_metrics(score, label) == pytest.approx(sklearn_metrics(score, label), abs=1e-12)


def test_keys_keep_order_and_equality() -> None:
    value = np.array([-3e38, -1, -1e-45, -0.0, 0.0, 1e-45, 1, 3e38], np.float32)
    key = order_keys(value).astype(np.int64)
    assert (np.sign(np.diff(key)) == [1, 1, 1, 0, 1, 1, 1]).all()


@pytest.mark.parametrize(
    "name",
    [
        "spread",
        "few values",
        "narrow",
        "both signs",
        "many",
        "many tied",
        "one anomalous",
        "outlier",
        "apart",
    ],
)
def test_counts_equal_a_search_in_all_scores(name: str) -> None:
    rng = np.random.default_rng(0)
    normal = rng.normal(10, 2, SORT_ALL_BELOW + 12345).astype(np.float32)
    anomalous = rng.normal(12, 2, 3 * BLOCK if "many" in name else 5000).astype(np.float32)
    if name in ("few values", "many tied"):
        np.floor(normal, out=normal)
        np.floor(anomalous, out=anomalous)
    elif name == "narrow":
        normal = np.float32(1e3) + normal / 1000
        anomalous = np.float32(1e3) + anomalous / 1000
    elif name == "both signs":
        normal -= 11
        anomalous -= 11
    elif name == "one anomalous":
        anomalous = normal[:1].copy()
    elif name == "outlier":
        anomalous[:2] = -3e38, 3e38
    elif name == "apart":
        anomalous += 1000
    blocks = list(rank(np.array_split(normal, 7), len(normal), pack(anomalous, 1)))
    for found, expected in zip(joined_counts(blocks), slow_counts(normal, anomalous), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_tags_stay_with_their_scores() -> None:
    rng = np.random.default_rng(0)
    anomalous = rng.permutation(1000).astype(np.float32)
    blocks = list(rank([np.zeros(3, np.float32)], 3, pack(anomalous, anomalous.astype(np.uint32) + 1)))
    np.testing.assert_array_equal(blocks[0].tag, np.arange(1, 1001))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("label", [0, 1])
def test_scores_that_are_not_finite_are_refused(value: float, label: int) -> None:
    score = np.array([0, 1, value], np.float32)
    with pytest.raises(ValueError, match="finite"):
        image_metrics(score, np.array([0, 1, label]))
