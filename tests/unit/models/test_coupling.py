import pytest
import torch
from torch import Tensor

from models.common.coupling import (
    ChannelPermutation,
    atan_clamp,
    couple,
    scale_channels,
    tanh_clamp,
    uncouple,
)

CLAMPS = {"tanh": tanh_clamp(2.0), "atan": atan_clamp(3.0)}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_log_scales_stay_within_the_bound() -> None:
    raw = torch.cat([torch.linspace(-1e6, 1e6, 101), torch.linspace(-3, 3, 101)]).double()
    assert CLAMPS["tanh"](raw).abs().max() <= 2.0
    assert CLAMPS["atan"](raw).abs().max() < 2.998
    assert (CLAMPS["atan"](raw).abs() > 2.9).any(), "the bound is nearly reached"


@pytest.mark.parametrize(("clamp", "slope"), [("tanh", 2.0), ("atan", 0.636)])
def test_clamps_have_the_published_slope_at_0(clamp: str, slope: float) -> None:
    raw = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    CLAMPS[clamp](raw).sum().backward()
    assert raw.grad is not None
    assert raw.grad.item() == pytest.approx(slope)


def test_a_coupling_is_that_worked_by_hand() -> None:
    moved = torch.tensor([1.0, -2.0]).view(1, 1, 1, 2)
    raw = torch.tensor([[0.5, 0.0], [3.0, 4.0]]).view(1, 2, 1, 2)
    coupled, log_det = couple(moved, raw, lambda log_scale: 2 * log_scale)
    torch.testing.assert_close(coupled.flatten(), torch.tensor([torch.e + 3, -2.0 + 4]))
    assert log_det.tolist() == [1.0]


@pytest.mark.parametrize("clamp", CLAMPS)
def test_couplings_are_undone_and_have_the_log_determinant_of_their_jacobian(clamp: str) -> None:
    moved, raw = random(1, 2, 2, 3), random(1, 4, 2, 3, seed=1)
    coupled, log_det = couple(moved, raw, CLAMPS[clamp])
    torch.testing.assert_close(uncouple(coupled, raw, CLAMPS[clamp]), moved, rtol=0, atol=1e-12)
    jacobian = torch.autograd.functional.jacobian(lambda x: couple(x, raw, CLAMPS[clamp])[0], moved)
    expected = torch.linalg.slogdet(jacobian.view(12, 12)).logabsdet
    assert log_det.item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("clamp", CLAMPS)
def test_the_gradients_written_by_hand_are_those_of_the_differences(clamp: str) -> None:
    moved, raw = random(2, 3, 2, 2).requires_grad_(), random(2, 6, 2, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, r: couple(x, r, CLAMPS[clamp]), (moved, raw))
    permutation = ChannelPermutation(3)
    assert torch.autograd.gradcheck(permutation, (moved,))
    scale, offset = (random(3, seed=2).abs() + 0.1).requires_grad_(), random(3, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, g, o: scale_channels(x.clone(), g, o), (moved, scale, offset))


def test_half_precision_of_a_subnet_does_not_reach_the_latents() -> None:
    coupled, log_det = couple(random(1, 2, 2, 2).float(), random(1, 4, 2, 2).bfloat16(), CLAMPS["tanh"])
    assert coupled.dtype == log_det.dtype == torch.float32


def test_a_permutation_is_the_convolution_by_its_matrix_bit_for_bit_and_is_undone() -> None:
    torch.manual_seed(0)
    permutation, feature_map = ChannelPermutation(7), random(2, 7, 3, 4).float()
    matrix = torch.eye(7)[permutation.order]
    permuted = permutation(feature_map)
    assert torch.equal(permuted, torch.nn.functional.conv2d(feature_map, matrix[:, :, None, None]))
    assert torch.equal(permutation.inverse(permuted), feature_map)
    assert not torch.equal(permuted, feature_map)


def test_the_seed_decides_the_permutation() -> None:
    def order(seed: int) -> list[int]:
        torch.manual_seed(seed)
        found: list[int] = ChannelPermutation(50).order.tolist()
        return found

    assert order(1) == order(1) != order(2)
