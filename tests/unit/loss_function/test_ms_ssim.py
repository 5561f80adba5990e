import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import convolve2d
from torch import Tensor

from loss_function.ms_ssim import WEIGHTS, ms_ssim, scale_weights, similarities

RANGE = 4.7579


def images(seed: int, side: int = 192) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(2, 3, side // 8, side // 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return smooth + 0.2 * torch.randn(2, 3, side, side, generator=generator)


def window() -> NDArray[np.float64]:
    bell = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    plane = np.outer(bell, bell)
    return np.asarray(plane / plane.sum())


def plain_similarity(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Return the means of SSIM and of its contrast part for two channels, by the published formula."""
    first, second = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(convolve2d(values, window(), mode="valid"))

    variance_x, variance_y = mean(x * x) - mean(x) ** 2, mean(y * y) - mean(y) ** 2
    contrast = (2 * (mean(x * y) - mean(x) * mean(y)) + second) / (variance_x + variance_y + second)
    luminance = (2 * mean(x) * mean(y) + first) / (mean(x) ** 2 + mean(y) ** 2 + first)
    return float((luminance * contrast).mean()), float(contrast.mean())


def plain_ms_ssim(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        full, contrast = plain_similarity(x, y)
        product *= max(full if scale == 4 else contrast, 0) ** weight
        side = len(x) // 2
        x, y = (values.reshape(side, 2, side, 2).mean((1, 3)) for values in (x, y))
    return product


def test_the_score_is_that_of_the_formula() -> None:
    first = images(0)
    second = first + 0.5 * images(1)
    found = ms_ssim(similarities(first, second, RANGE), 192)
    for image in range(2):
        channels = zip(first[image].double().numpy(), second[image].double().numpy(), strict=True)
        expected = np.mean([plain_ms_ssim(x, y) for x, y in channels])
        assert 0.2 < expected < 0.98
        assert found[image].item() == pytest.approx(expected, abs=1e-5)


def test_equal_images_are_fully_similar_and_others_are_less() -> None:
    image = images(0)
    scores = [
        ms_ssim(similarities(image, image + strength * images(1), RANGE), 192) for strength in (0.0, 0.2, 1.0)
    ]
    torch.testing.assert_close(scores[0], torch.ones(2))
    assert (scores[0] > scores[1]).all()
    assert (scores[1] > scores[2]).all()


def test_opposite_images_have_a_finite_gradient() -> None:
    image = images(0)
    opposite = (-image).requires_grad_()
    score = ms_ssim(similarities(image, opposite, RANGE), 192)
    score.sum().backward()
    assert (score < 0.05).all()
    assert torch.isfinite(opposite.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize(("side", "count"), [(256, 5), (176, 5), (175, 4), (128, 4), (64, 3), (11, 1)])
def test_scales_are_those_at_which_the_window_fits(side: int, count: int) -> None:
    weights = scale_weights(side)
    assert len(weights) == count
    assert sum(weights) == pytest.approx(sum(WEIGHTS))
    assert count < 5 or weights == pytest.approx(WEIGHTS)


def test_images_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 10 pixels are smaller than the window of 11"):
        scale_weights(10)


def test_mixed_precision_leaves_the_similarity_as_it_is() -> None:
    first, second = images(0, side=64), images(1, side=64)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = ms_ssim(similarities(first, second, RANGE), 64)
    assert torch.equal(mixed, ms_ssim(similarities(first, second, RANGE), 64))
