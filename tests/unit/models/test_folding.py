from typing import Any

import torch
from torch import nn

from models.common.folding import fold_norms, folded


def trained_net() -> Any:
    """Return convolutions whose norms have seen data of another mean and spread than they were made for."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 4, 2, 2, bias=False),
        nn.BatchNorm2d(4),
    )
    for seed in range(20):
        net(5 + 3 * torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(seed)))
    return net


@torch.no_grad()
def test_a_folded_copy_computes_the_same_without_norms() -> None:
    net = trained_net()
    copy = folded(net)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in copy.modules())
    image = 5 + 3 * torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(99))
    torch.testing.assert_close(copy(image), net.eval()(image), rtol=1e-5, atol=1e-5)


def test_the_net_itself_stays_trainable() -> None:
    net = trained_net()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    assert not any(parameter.requires_grad for parameter in folded(net).parameters())
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_a_norm_behind_something_else_stays() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))
    assert isinstance(folded(net)[2], nn.BatchNorm2d)


@torch.no_grad()
def test_a_norm_with_an_activation_keeps_it() -> None:
    net = trained_net()
    net[1].act = nn.ReLU6()  # as the norms of timm have
    net[1].forward = lambda values: net[1].act(nn.BatchNorm2d.forward(net[1], values))
    image = 5 + 3 * torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(99))
    expected = net.eval()(image)
    fold_norms(net)
    torch.testing.assert_close(net(image), expected, rtol=1e-5, atol=1e-5)
