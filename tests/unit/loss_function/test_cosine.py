import pytest
import torch
from torch import Tensor

from loss_function.cosine import cosine_distance, flattened_loss, pixel_loss

LOSSES = pytest.mark.parametrize("loss", [flattened_loss, pixel_loss])
SHAPES = [(3, 4, 8, 8), (3, 6, 4, 4), (3, 8, 2, 2)]


def maps(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def orthogonal(feature_map: Tensor) -> Tensor:
    """Turn pairs of channels by 90 degrees, at every position and so in the whole."""
    first, second = feature_map[:, ::2], feature_map[:, 1::2]
    return torch.stack([-second, first], dim=2).flatten(1, 2)


@LOSSES
def test_equal_opposite_and_orthogonal_maps_have_the_losses_of_their_angles(loss: object) -> None:
    teacher = maps()
    for student, expected in (
        (teacher, 0.0),
        ([-m for m in teacher], 6.0),
        ([orthogonal(m) for m in teacher], 3.0),
        ([7 * m for m in teacher], 0.0),
    ):
        assert loss(teacher, student).item() == pytest.approx(expected, abs=1e-5)  # type: ignore[operator]


def test_one_cosine_of_the_map_differs_from_one_per_position() -> None:
    teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2)  # (1, 0) and (0, 1) at two positions
    student = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2)
    assert pixel_loss([teacher], [student]).item() == pytest.approx(0, abs=1e-6)
    assert flattened_loss([teacher], [student]).item() == pytest.approx(1 - 3 / 10**0.5, abs=1e-6)


def test_a_map_of_zeros_is_orthogonal_to_all_and_has_a_gradient() -> None:
    student = torch.zeros(1, 4, 2, 2, requires_grad=True)
    distance = cosine_distance(torch.ones(1, 4, 2, 2), student, (1,))
    assert torch.equal(distance, torch.ones(1, 2, 2))
    distance.sum().backward()
    assert torch.isfinite(student.grad).all()  # type: ignore[arg-type]


def test_long_vectors_in_half_precision_are_compared_in_float32() -> None:
    feature = torch.rand(1, 64, 64, 64).bfloat16()
    assert flattened_loss([feature], [feature]).abs().item() < 1e-5
