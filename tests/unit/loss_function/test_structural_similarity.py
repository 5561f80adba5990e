import math

import pytest
import torch
from torch import Tensor

from loss_function.structural_similarity import structural_similarity_loss


def random_images(seed: int, side: int = 48) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_an_image_is_like_itself() -> None:
    image = random_images(0)
    assert structural_similarity_loss(image, image).item() == pytest.approx(0, abs=1e-6)


def test_constants_differ_by_their_luminance_inside() -> None:
    """The sum over an image of side n is a n^2 + b n + c; a is the value where no window meets the border."""
    total = []
    for side in (40, 60, 80):
        low, high = torch.full((1, 1, side, side), 0.2).double(), torch.full((1, 1, side, side), 0.4).double()
        total.append((1 - structural_similarity_loss(low, high).item()) * side**2)
    assert (total[0] - 2 * total[1] + total[2]) / (2 * 20**2) == pytest.approx(0.80010, abs=1e-5)


def plain_similarity(first: Tensor, second: Tensor) -> float:
    """The formula as it is written, window by window, over one (H, W) channel with zeros around it."""
    offset = torch.arange(11) - 5
    weight = torch.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 1.5**2)).double()
    weight /= weight.sum()
    padded = [torch.nn.functional.pad(image.double(), [5] * 4) for image in (first, second)]
    values = []
    for row in range(first.shape[0]):
        for column in range(first.shape[1]):
            a, b = (image[row : row + 11, column : column + 11] for image in padded)
            mean_a, mean_b = float((weight * a).sum()), float((weight * b).sum())
            variance_a = float((weight * (a - mean_a) ** 2).sum())
            variance_b = float((weight * (b - mean_b) ** 2).sum())
            covariance = float((weight * (a - mean_a) * (b - mean_b)).sum())
            luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
            values.append(luminance * (2 * covariance + 9e-4) / (variance_a + variance_b + 9e-4))
    return math.fsum(values) / len(values)


def test_the_loss_is_that_of_the_formula() -> None:
    first, second = random_images(0, side=14), random_images(1, side=14)
    values = [plain_similarity(a, b) for a, b in zip(first.flatten(0, 1), second.flatten(0, 1), strict=True)]
    found = structural_similarity_loss(first, second).item()
    assert found == pytest.approx(1 - math.fsum(values) / len(values), abs=1e-5)


def test_the_gradient_leads_to_the_target() -> None:
    target, image = random_images(0), random_images(1).requires_grad_()
    optimizer = torch.optim.Adam([image], lr=0.05)
    losses = []
    for _ in range(60):
        loss = structural_similarity_loss(image, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.9
    assert losses[-1] < 0.2


@pytest.mark.parametrize(("low", "high", "value_range"), [(0, 1, 1.0), (-1, 1, 2.0), (0, 200, 255.0)])
def test_the_range_of_values_can_be_read_off_the_image(low: float, high: float, value_range: float) -> None:
    image, target = low + (high - low) * random_images(0), low + (high - low) * random_images(1)
    image[0, 0, 0, :2] = torch.tensor([low, high]).float()
    found, expected = (structural_similarity_loss(image, target, extent) for extent in ("auto", value_range))
    torch.testing.assert_close(found, expected)
