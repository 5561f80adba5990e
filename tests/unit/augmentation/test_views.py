import torch

from augmentation.views import draw_views
from tests.loaders import random_images


def test_a_view_is_the_image_shifted_a_little_with_its_border_repeated() -> None:
    ramp = torch.linspace(0.25, 0.75, 100).expand(8, 3, 100, 100).clone()  # grey, brighter to the right
    views = draw_views(ramp, torch.Generator().manual_seed(0))
    assert views.shape == ramp.shape
    assert (views.diff(dim=3) >= -1e-6).all(), "shifted, and colours changed, but in their order"
    border = (views.diff(dim=3).abs() < 1e-6).all(dim=(1, 2)).sum(1)
    assert 0 < border.max() <= 5, "5 % of the side at most"
    assert len(set(border.tolist())) > 2, "every view has its own shift"


def test_views_differ_and_repeat_with_their_seed() -> None:
    image = random_images(1).expand(4, -1, -1, -1)
    first, again = (draw_views(image, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert all(not torch.equal(first[0], other) for other in first[1:])
    assert first.min() >= 0
    assert first.max() <= 1
