"""SPADE's net by hand, and its block-wise search against the plain formula."""

import pytest
import torch
from torch import Tensor

from models.spade.net_spade import SPADENet, nearest_distance, patch_rows


def normal(*shape: int, seed: int = 0, mean: float = 0.0) -> Tensor:
    return mean + torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def remembered(
    pooled: Tensor, feature_maps: list[Tensor], top_k: int = 50, kappa: int = 1, squared: bool = False
) -> SPADENet:
    built = SPADENet(len(feature_maps), top_k, kappa, squared)
    built.remember(pooled, [patch_rows(maps) for maps in feature_maps], append=False)
    return built


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def levels(count: int, seed: int = 0) -> list[Tensor]:
    return [normal(count, 3, 8, 6, seed=seed), normal(count, 5, 4, 3, seed=seed + 100)]


def plain_distance(query: Tensor, gallery: Tensor, k: int) -> Tensor:
    distance: Tensor = torch.linalg.vector_norm(query.double()[:, None] - gallery.double(), dim=2)
    return distance.topk(min(k, len(gallery)), largest=False).values.float()


@pytest.mark.parametrize(
    ("top_k", "squared", "score"),
    [(2, False, 1.5), (9, False, 4.0), (2, True, 2.5), (1, False, 1.0)],
)
def test_image_score_by_hand(top_k: int, squared: bool, score: float) -> None:
    built = remembered(column(0, 3, 10), [torch.zeros(3, 1, 2, 2)], top_k, squared=squared)
    image_score, _ = built(column(1), [torch.zeros(1, 1, 2, 2)])
    assert image_score.tolist() == pytest.approx([score])


@pytest.mark.parametrize(("kappa", "squared"), [(1, False), (1, True), (2, False), (2, True), (9, False)])
def test_patch_score_by_hand(kappa: int, squared: bool) -> None:
    built = remembered(column(0), [torch.tensor([[[[0.0, 1], [2, 3]]]])], kappa=kappa, squared=squared)
    _, (found,) = built(column(0), [torch.tensor([[[[0.0, 5], [2.5, 1]]]])])
    nearest = torch.tensor([[[0.0, 1, 2, 3], [2, 3, 4, 5]], [[0.5, 0.5, 1.5, 2.5], [0, 1, 1, 2]]])
    expected = nearest.square() if squared else nearest
    torch.testing.assert_close(found[0], expected[..., :kappa].mean(-1))


def test_only_patches_of_the_nearest_images_count() -> None:
    built = remembered(column(0, 10), [torch.tensor([1.0, 7.0]).view(2, 1, 1, 1)], top_k=1)
    _, (found,) = built(column(1, 9), [torch.tensor([7.0, 7.0]).view(2, 1, 1, 1)])
    assert found.flatten().tolist() == [6.0, 0.0]


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("mean", [0.0, 30.0])
@pytest.mark.parametrize(("queries", "gallery_rows"), [(3, 2500), (600, 1025)])
def test_blocks_of_products_give_the_plain_distances(
    k: int, mean: float, queries: int, gallery_rows: int
) -> None:
    query, gallery = normal(queries, 8, seed=1, mean=mean), normal(gallery_rows, 8, mean=mean)
    found = nearest_distance(query, gallery, k)
    torch.testing.assert_close(found, plain_distance(query, gallery, k), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [1, 99, 2049])
def test_the_last_row_of_the_gallery_is_used(count: int) -> None:
    gallery = normal(count, 8)
    assert nearest_distance(gallery[-1:], gallery, 1).item() == 0


def test_a_training_image_is_at_distance_exactly_zero() -> None:
    pooled, feature_maps = normal(4, 7, mean=5.0), [10 + maps for maps in levels(4)]
    image_score, patch_scores = remembered(pooled, feature_maps, top_k=1)(pooled, feature_maps)
    assert image_score.tolist() == [0] * 4
    assert all(float(score.abs().max()) == 0 for score in patch_scores)


def test_distances_run_over_the_channels() -> None:
    train, test = levels(6), levels(2, seed=1)
    built = remembered(normal(6, 7), train)
    _, found = built(normal(2, 7, seed=1), test)
    assert [score.shape for score in found] == [(2, 8, 6), (2, 4, 3)]
    for score, maps, known in zip(found, test, train, strict=True):
        gallery = known.permute(0, 2, 3, 1).reshape(-1, known.shape[1])
        query = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
        expected = plain_distance(query, gallery, 1).view(score.shape)
        torch.testing.assert_close(score, expected, rtol=1e-5, atol=1e-5)


def test_neither_the_order_of_channels_nor_of_gallery_positions_matters() -> None:
    train, test = [normal(5, 6, 4, 4)], [normal(2, 6, 4, 4, seed=1)]
    pooled, query = normal(5, 7), normal(2, 7, seed=1)
    _, (expected,) = remembered(pooled, train)(query, test)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    _, (found,) = remembered(pooled, [train[0][:, order]])(query, [test[0][:, order]])
    torch.testing.assert_close(found, expected)
    _, (found,) = remembered(pooled, [train[0].flip(2).mT])(query, test)
    torch.testing.assert_close(found, expected)


def test_a_shift_by_whole_cells_shifts_the_scores() -> None:
    train, test = levels(5), levels(1, seed=1)
    built, query = remembered(normal(5, 7), train), normal(1, 7, seed=1)
    _, fixed = built(query, test)
    _, moved = built(query, [test[0].roll(4, dims=2), test[1].roll(2, dims=2)])
    torch.testing.assert_close(moved[0], fixed[0].roll(4, dims=1))
    torch.testing.assert_close(moved[1], fixed[1].roll(2, dims=1))


def test_further_training_images_never_raise_a_score() -> None:
    built, test, query = remembered(normal(3, 7), levels(3)), levels(2, seed=1), normal(2, 7, seed=1)
    _, before = built(query, test)
    built.remember(normal(2, 7, seed=2), [patch_rows(maps) for maps in levels(2, seed=2)], append=True)
    _, after = built(query, test)
    assert len(built.pooled) == 5
    assert [len(gallery) for gallery in built.galleries] == [5, 5]
    assert all((a <= b).all() for a, b in zip(after, before, strict=True))
    built.top_k = 1
    nearest = built(query, test)[0]
    built.remember(normal(9, 7, seed=3), [patch_rows(maps) for maps in levels(9, seed=3)], append=True)
    assert (built(query, test)[0] <= nearest).all()


def test_a_new_task_replaces_the_one_before() -> None:
    built, test, query = remembered(normal(3, 7), levels(3)), levels(2, seed=1), normal(2, 7, seed=1)
    second = normal(2, 7, seed=2), levels(2, seed=2)
    built.remember(second[0], [patch_rows(maps) for maps in second[1]], append=False)
    found, expected = built(query, test), remembered(*second)(query, test)
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(a, b) for a, b in zip(found[1], expected[1], strict=True))


@pytest.mark.parametrize("shots", [1, 2, 4])
def test_fewer_shots_than_neighbours_are_all_used(shots: int) -> None:
    pooled, query = normal(shots, 7), normal(2, 7, seed=1)
    image_score, _ = remembered(pooled, levels(shots), top_k=5)(query, levels(2, seed=1))
    torch.testing.assert_close(image_score, torch.cdist(query, pooled).mean(1))


def test_images_that_are_all_the_same_have_finite_scores() -> None:
    same = [torch.ones(4, 3, 8, 6), torch.zeros(4, 5, 4, 3)]
    image_score, patch_scores = remembered(torch.ones(4, 7), same)(torch.ones(2, 7), levels(2))
    assert image_score.tolist() == [0, 0]
    assert all(score.isfinite().all() for score in patch_scores)


def test_a_restored_net_scores_the_same() -> None:
    built, restored = remembered(normal(3, 7), levels(3)), SPADENet(2, 50, 1, squared=False)
    restored.load_state_dict(built.state_dict())
    query, test = normal(2, 7, seed=1), levels(2, seed=1)
    assert torch.equal(restored(query, test)[0], built(query, test)[0])
    assert torch.equal(restored(query, test)[1][1], built(query, test)[1][1])
