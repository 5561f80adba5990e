from collections.abc import Iterator

import pytest
import torch

from models._example.net_example import LOG_SCALE, ExampleNet


@pytest.fixture
def net() -> Iterator[ExampleNet]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads cost more than they give on nets this small
    torch.manual_seed(0)
    yield ExampleNet(width=4, code_channels=2)
    torch.set_num_threads(num_threads)


def test_error_and_scale_have_the_shape_of_the_image(net: ExampleNet) -> None:
    image = torch.rand(3, 3, 24, 40)
    error, log_scale = net(image)
    assert error.shape == log_scale.shape == image.shape
    assert (error >= 0).all()
    assert LOG_SCALE[0] <= log_scale.min() <= log_scale.max() <= LOG_SCALE[1]


def test_the_loss_is_that_of_a_laplace_distribution(net: ExampleNet) -> None:
    image = torch.rand(2, 3, 16, 16)
    error, log_scale = net(image)
    density = torch.distributions.Laplace(torch.zeros(()), torch.exp(log_scale)).log_prob(error)
    expected = -density.mean() - torch.tensor(2.0).log()
    torch.testing.assert_close(net.negative_log_likelihood(image), expected)


def test_sides_that_are_no_multiple_of_8_are_refused(net: ExampleNet) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        net(torch.rand(1, 3, 20, 16))


def test_after_training_what_was_never_seen_is_a_larger_relative_error(net: ExampleNet) -> None:
    stripes = (torch.arange(32) % 8 < 4).float().expand(8, 3, 32, 32) * 0.5 + 0.02 * torch.rand(8, 3, 32, 32)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        net.negative_log_likelihood(stripes).backward()
        optimizer.step()
    odd = stripes[:1].clone()
    odd[:, :, 8:16, 8:16] = 0.9
    with torch.no_grad():
        error, log_scale = net(odd)
    relative = (error * torch.exp(-log_scale)).mean(dim=1)[0]
    outside = torch.cat([relative[:, 24:], relative[24:].T])
    assert relative[8:16, 8:16].mean() > 3 * outside.mean()
