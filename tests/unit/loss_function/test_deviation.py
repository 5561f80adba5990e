import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from loss_function.deviation import CRITERIA, deviation_loss, drawn_deviation_loss

STANDARD = torch.tensor([-1.0, 1.0]) / math.sqrt(2)  # mean 0, standard deviation 1


@pytest.mark.parametrize(("score", "label", "expected"), [(2, 0, 2), (2, 1, 3), (7, 1, 0), (0, 0, 0)])
def test_the_loss_of_one_score_is_that_worked_by_hand(score: float, label: int, expected: float) -> None:
    loss = deviation_loss(torch.tensor([float(score)]), torch.tensor([label]), STANDARD)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_the_loss_of_a_batch_is_the_mean() -> None:
    loss = deviation_loss(torch.tensor([2.0, 2.0, 7.0, 0.0]), torch.tensor([0, 1, 1, 0]), STANDARD)
    assert loss.item() == pytest.approx(5 / 4)


def test_scores_are_measured_in_deviations_from_the_mean_of_the_references() -> None:
    loss = deviation_loss(torch.tensor([16.0]), torch.tensor([1]), 10 + 3 * STANDARD)
    assert loss.item() == pytest.approx(5 - 2, abs=1e-5)


def test_references_are_many_standard_normal_numbers_drawn_anew() -> None:
    torch.manual_seed(0)
    score, label = torch.tensor([2.0]), torch.tensor([0])
    losses = torch.stack([drawn_deviation_loss(score, label) for _ in range(50)])
    assert losses.mean().item() == pytest.approx(2, abs=0.02)
    assert 0.01 < losses.std().item() < 0.05, "about sqrt((1 + 2^2 / 2) / 5000)"


def test_the_alternatives_are_the_losses_of_logits() -> None:
    score, label = torch.tensor([0.5, 3.0, 1.0]), torch.tensor([0, 1, 1])
    right = torch.where(label == 1, torch.sigmoid(score), torch.sigmoid(-score))
    expected = F.binary_cross_entropy_with_logits(score, label.float())
    torch.testing.assert_close(CRITERIA["bce"](score, label), expected)
    torch.testing.assert_close(CRITERIA["focal"](score, label), (-((1 - right) ** 2) * right.log()).mean())


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("label", [torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool)])
def test_no_score_costs_nothing_and_has_a_gradient(name: str, label: Tensor) -> None:
    score = torch.zeros(0, requires_grad=True)
    loss = CRITERIA[name](score, label)
    loss.backward()
    assert loss.item() == 0
