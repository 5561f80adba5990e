import pytest
import torch
from torch import Tensor

from arch.prediction import Prediction, check
from data_io.records import ScoringBatch
from tests.loaders import random_images

BATCH = ScoringBatch(random_images(3, side=8), torch.arange(3))


@pytest.mark.parametrize("anomaly_map", [None, torch.zeros(3, 8, 8)])
def test_scores_of_every_image_and_maps_of_its_size_pass(anomaly_map: Tensor | None) -> None:
    check(Prediction(torch.zeros(3), anomaly_map), BATCH, "Method")


@pytest.mark.parametrize(
    "prediction",
    [
        Prediction(torch.zeros(2), None),
        Prediction(torch.zeros(3, 1), None),
        Prediction(torch.zeros(3), torch.zeros(3, 4, 8)),
    ],
)
def test_other_shapes_are_refused_by_name(prediction: Prediction) -> None:
    with pytest.raises(ValueError, match=r"Method: (image_score|anomaly_map) is \("):
        check(prediction, BATCH, "Method")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_never_becomes_a_metric(value: float) -> None:
    with pytest.raises(FloatingPointError, match="Method: image_score of this batch is not finite"):
        check(Prediction(torch.tensor([0, value, 0]), None), BATCH, "Method")
    with pytest.raises(FloatingPointError, match="Method: anomaly_map"):
        check(Prediction(torch.zeros(3), torch.full((3, 8, 8), value)), BATCH, "Method")
