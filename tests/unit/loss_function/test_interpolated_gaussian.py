import math

import pytest
import torch
from torch import Tensor

from loss_function.interpolated_gaussian import Reconstruction, critic_loss, gaussian_error

RANGE = 4.7579


def images(side: int = 192, seed: int = 0) -> Tensor:
    image = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed))
    return (image - 0.5) * RANGE


def test_the_error_of_a_code_grows_from_0_at_the_centre_to_1() -> None:
    centre = torch.tensor([1.0, -2.0])
    code = centre + torch.tensor([[0.0, 0.0], [1.2, 1.6], [9.0, 9.0]])  # squared distances 0, 4 and 162
    error = gaussian_error(code, centre, torch.tensor(4.0))
    assert error[0].item() == 0
    assert error[1].item() == pytest.approx(1 - 1 / math.e, abs=1e-6)
    assert 0.99 < error[2].item() <= 1


def test_the_critic_is_compared_with_each_images_own_share() -> None:
    share = torch.tensor([0.1, 0.4])
    assert critic_loss(share, share, torch.zeros(2), "paired").item() == 0
    assert critic_loss(share, share, torch.zeros(2), "broadcast").item() == pytest.approx(0.045)
    assert critic_loss(share, share, torch.tensor([1.0, 3.0]), "paired").item() == pytest.approx(5)


def test_a_perfect_reconstruction_has_no_error_and_none_exceeds_1() -> None:
    image = images()
    perfect, worst = Reconstruction(image, image, RANGE), Reconstruction(image, -image, RANGE)
    torch.testing.assert_close(perfect.error(), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(perfect.map("centred"), torch.zeros(2, 192, 192), atol=1e-4, rtol=0)
    assert ((worst.error() > 0.5) & (worst.error() <= 1)).all()


def test_a_constant_difference_counts_by_its_share() -> None:
    image = torch.zeros(1, 3, 64, 64)
    restored = torch.full((1, 3, 64, 64), 0.5 * RANGE)
    first = (0.01 * RANGE) ** 2
    luminance = first / ((0.5 * RANGE) ** 2 + first)  # of the last scale; contrasts are equal
    weight = 0.3001 / (0.0448 + 0.2856 + 0.3001) * 1.0001
    expected = 0.85 * (1 - luminance**weight) + 0.15 * 0.5
    assert Reconstruction(image, restored, RANGE).error().item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("corner", [(0, 0), (90, 40), (184, 184)])
def test_the_map_peaks_where_images_differ(corner: tuple[int, int]) -> None:
    image = images()
    restored = image.clone()
    row, column = corner
    restored[:, :, row : row + 8, column : column + 8] *= -1
    anomaly_map = Reconstruction(image, restored, RANGE).map("centred")
    for peak in anomaly_map.flatten(1).argmax(1).tolist():
        assert abs(peak // 192 - (row + 3.5)) <= 8
        assert abs(peak % 192 - (column + 3.5)) <= 8


def test_the_authors_map_moves_things_outwards() -> None:
    image = torch.zeros(1, 3, 192, 192)
    restored = image.clone()
    restored[:, :, 32:40, 92:100] = 1.0  # in the upper half
    centres = []
    for registration in ("centred", "stretched"):
        anomaly_map = Reconstruction(image, restored, RANGE).map(registration)[0]
        weight = (anomaly_map - 0.5 * anomaly_map.max()).relu().sum(1)
        centres.append(float((weight * torch.arange(192)).sum() / weight.sum()))
    assert centres[0] == pytest.approx(35.5, abs=2)
    assert centres[1] < centres[0] - 3
