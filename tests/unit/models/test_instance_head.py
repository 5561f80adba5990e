import torch

from models.common.image_pyramid import image_pyramid
from models.common.instance_head import InstanceHead
from tests.loaders import random_images


def test_the_largest_tenth_of_the_magnitudes_is_averaged() -> None:
    head = InstanceHead(channels=4, top_share=0.1)
    score = torch.arange(1.0, 197)[torch.randperm(196)].view(1, 14, 14)
    assert head.pool(score).item() == 187, "the mean of 178 to 196"
    assert head.pool(-score).item() == 187, "the sign does not matter"
    assert head.pool(score[:, :7, :7]).item() == score[:, :7, :7].flatten().topk(4).values.mean()
    assert head.pool(torch.tensor([[[3.0, -4.0]]])).item() == 4, "one at least"


def test_without_a_share_the_signed_mean_is_taken() -> None:
    head = InstanceHead(channels=4, top_share=0)
    assert head.pool(torch.tensor([[[3.0, -4.0], [1.0, 2.0]]])).item() == 0.5


def test_instances_are_a_linear_map_of_each_position() -> None:
    head = InstanceHead(channels=4, top_share=0.1)
    feature_map = torch.randn(2, 4, 3, 5)
    weight, bias = head.convolution.weight[0, :, 0, 0], head.convolution.bias
    assert bias is not None
    expected = torch.einsum("bchw,c->bhw", feature_map, weight) + bias
    torch.testing.assert_close(head(feature_map), expected)


def test_a_pyramid_halves_the_side_and_takes_every_second_pixel() -> None:
    image = random_images(2, side=20)
    levels = image_pyramid(image, 3)
    assert [tuple(level.shape[2:]) for level in levels] == [(20, 20), (10, 10), (5, 5)]
    assert torch.equal(levels[0], image)
    assert torch.equal(levels[1], image[:, :, ::2, ::2])
    assert [level.shape[2] for level in image_pyramid(image[:, :, :15], 2)] == [15, 7], "rounded down"
