"""Score the test sets of one step and measure the scores against the ground truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from arch.base import ModelBase, TaskPrediction
from data_io.data_holder import TestData
from data_io.decode import Pixels
from metric.evaluate import evaluate

Maps = NDArray[np.float32] | list[NDArray[np.float32]]


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
    for _, group in groupby(tests, key=lambda test: test.plan.task_id):
        task_tests = list(group)
        whole = task_tests[-1]  # the last test set of a task stands for the whole task
        prediction = method.prediction(whole.loader)
        row_of = {sample: row for row, sample in enumerate(whole.plan.samples)}
        for test in task_tests:
            rows = [row_of[sample] for sample in test.plan.samples]
            found.append(_evaluation(test, prediction, rows))
    return found


def _evaluation(test: TestData, prediction: TaskPrediction, rows: Sequence[int]) -> Evaluation:
    image_score = prediction.image_score[rows]
    image_label = np.array([sample.image_label for sample in test.plan.samples])
    maps = None
    if prediction.anomaly_map is not None:
        maps = fit_maps(prediction.anomaly_map[rows], test.ground_truth_mask)
    share = len(rows) / len(prediction.image_score)
    return Evaluation(
        test=test,
        image_score=image_score,
        anomaly_map=maps,
        metrics=evaluate(image_score, image_label, maps, test.ground_truth_mask),
        extra_metrics={},
        predict_seconds=prediction.seconds * share,
    )


def fit_maps(maps: NDArray[np.float32], masks: Sequence[Pixels | None]) -> Maps:
    """Resize (N, H, W) maps bilinearly to the sizes of their masks; a map without a mask stays as it is."""
    sizes = {mask.shape for mask in masks if mask is not None}
    if sizes <= {maps.shape[1:]}:
        return maps
    if len(sizes) == 1:
        return _resized(maps, sizes.pop())
    return [
        found if mask is None else _resized(found[None], mask.shape)[0]
        for found, mask in zip(maps, masks, strict=True)
    ]


def _resized(maps: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    tensor = F.interpolate(torch.from_numpy(maps)[:, None], size=size, mode="bilinear")[:, 0]
    return np.asarray(tensor.numpy(), np.float32)
