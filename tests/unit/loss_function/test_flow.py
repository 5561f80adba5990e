import math

import pytest
import torch
from torch.distributions import Normal

from loss_function.flow import flow_loss


def test_the_loss_is_that_worked_by_hand() -> None:
    latents = [torch.ones(2, 3, 4, 5), torch.full((2, 1, 1, 1), 2.0)]
    log_det = torch.tensor([1.0, 3.0])
    assert flow_loss(latents[:1], torch.zeros(2)).item() == pytest.approx(0.5 * 3 * 4 * 5)
    assert flow_loss(latents, log_det).item() == pytest.approx(0.5 * 60 + 0.5 * 4 - 2)


def test_the_loss_is_the_likelihood_of_a_gaussian_up_to_its_constant() -> None:
    value = torch.tensor([0.3, -1.2, 4.0])
    latent = ((value - 1.5) / 0.7).view(3, 1, 1, 1)
    log_det = torch.full((3,), -math.log(0.7))
    expected = -Normal(1.5, 0.7).log_prob(value).mean() - 0.5 * math.log(2 * math.pi)
    assert flow_loss([latent], log_det).item() == pytest.approx(expected.item(), abs=1e-6)
