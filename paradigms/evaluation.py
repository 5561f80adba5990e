"""Score the test sets of one step and measure the scores against the ground truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arch.base import ModelBase, TaskPrediction
from data_io.data_holder import TestData
from metric.evaluate import evaluate
from paradigms.resizing import Maps, fit_maps
from paradigms.saturated import saturated_metrics
from tools.progress import progress


@dataclass(frozen=True)
class Evaluation:
    """The scores of one test set and what they are worth.

    Args:
        test: the test set.
        image_score: (N,) float32.
        anomaly_map: N maps of their masks' sizes; None from methods without maps.
        metrics: name -> value, None where a metric does not exist.
        extra_metrics: those that only some data sets have.
        predict_seconds: time of the scoring alone.
    """

    test: TestData
    image_score: NDArray[np.float32]
    anomaly_map: Maps | None
    metrics: dict[str, float | None]
    extra_metrics: dict[str, float | None]
    predict_seconds: float

    @property
    def image_label(self) -> NDArray[np.int64]:
        """Return the (N,) labels, 0 or 1."""
        return np.array([sample.image_label for sample in self.test.plan.samples])


def evaluate_tests(method: ModelBase, tests: Sequence[TestData]) -> list[Evaluation]:
    """Return one evaluation per test set; a task of several categories is scored once."""
    found = []
    for whole in (test for test in tests if test.plan.is_whole):
        prediction = method.prediction(progress(whole.loader, "predict", len(whole.loader)))
        row_of = {sample: row for row, sample in enumerate(whole.plan.samples)}
        for test in (test for test in tests if test.plan.task_id == whole.plan.task_id):
            rows = [row_of[sample] for sample in test.plan.samples]
            found.append(_evaluation(test, _part(prediction, rows)))
    return found


def _part(prediction: TaskPrediction, rows: Sequence[int]) -> TaskPrediction:
    maps = prediction.anomaly_map
    return TaskPrediction(
        image_score=prediction.image_score[rows],
        anomaly_map=None if maps is None else maps[rows],
        seconds=prediction.seconds * len(rows) / len(prediction.image_score),
    )


def _evaluation(test: TestData, prediction: TaskPrediction) -> Evaluation:
    samples = test.plan.samples
    scores, maps = prediction.image_score, prediction.anomaly_map
    image_label = np.array([sample.image_label for sample in samples])
    fitted = None if maps is None else fit_maps(maps, test.ground_truth_mask)
    extra: dict[str, float | None] = {}
    if test.saturation is not None:
        extra = saturated_metrics(samples, scores, maps, test.saturation, test.geometry)
    return Evaluation(
        test=test,
        image_score=scores,
        anomaly_map=fitted,
        metrics=evaluate(scores, image_label, fitted, test.ground_truth_mask),
        extra_metrics=extra,
        predict_seconds=prediction.seconds,
    )
