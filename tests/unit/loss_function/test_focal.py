import pytest
import torch

from loss_function.focal import focal_loss


@pytest.mark.parametrize(("likelihood", "expected"), [(0.9, 1.05354e-3), (0.5, 0.1732749)])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_the_loss_is_that_worked_by_hand(likelihood: float, expected: float, label: float) -> None:
    defective = likelihood if label else 1 - likelihood
    probability = torch.tensor([1 - defective, defective]).view(1, 2, 1, 1)
    found = focal_loss(probability, torch.full((1, 1, 1), label)).item()
    assert found == pytest.approx(expected, rel=5e-4)  # the smoothing of 1e-5 moves the fourth digit


def test_the_loss_is_a_mean_over_pixels_and_finite_at_the_ends() -> None:
    probability = torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]]])
    sure, wrong = (
        focal_loss(probability, torch.tensor([[[1.0, 0.0]]])),
        focal_loss(probability, torch.tensor([[[0.0, 1.0]]])),
    )
    assert sure.item() == pytest.approx(0, abs=1e-6)
    assert 9 < wrong.item() < 13, "minus the logarithm of twice the smoothing"
    half = focal_loss(probability, torch.tensor([[[1.0, 1.0]]]))
    assert half.item() == pytest.approx(wrong.item() / 2, rel=1e-3)
