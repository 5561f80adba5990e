"""SoftPatch: weights by hand and by scikit-learn, what is barred, and PatchCore where nothing is noise."""

import pytest
import torch
from sklearn.neighbors import LocalOutlierFactor
from torch import Tensor

from arch.kinds.memory_bank import MemoryBankMethod
from configuration.config import load_config
from configuration.errors import UserError
from data_io.records import Task
from models.softpatch import outlier_weight as module
from models.softpatch.net_softpatch import SoftPatchNet
from models.softpatch.outlier_weight import (
    gaussian_weight,
    local_outlier_factor,
    nearest_weight,
    outlier_weight,
)
from paradigms.method_factory import build_method
from tests.loaders import MadeLoader, batch_of, scoring, train

SIDE = 64  # pixels
GRID = SIDE // 8  # cells of layer2


def line(*values: float) -> Tensor:
    """One group of points on a line."""
    return torch.tensor(values, dtype=torch.float64)[None, :, None]


def random_points(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_lof(points: Tensor, k: int) -> list[float]:
    """The formula as it is written, point by point."""
    near = [
        sorted((float((a - b).norm()), j) for j, b in enumerate(points) if j != i)[:k]
        for i, a in enumerate(points)
    ]
    density = [k / sum(max(near[b][-1][0], distance) for distance, b in row) for row in near]
    return [sum(density[b] for _, b in row) / k / density[i] for i, row in enumerate(near)]


def test_factors_worked_out_by_hand() -> None:
    expected = torch.tensor([[0.875, 4 / 3, 0.875, 4.9583333]], dtype=torch.float64)
    torch.testing.assert_close(local_outlier_factor(line(0, 1, 2, 10), 2), expected)


def test_factors_are_those_of_the_formula_and_of_scikit_learn() -> None:
    points = random_points(4, 30, 6)
    found = local_outlier_factor(points, 5)
    for group, row in zip(points, found, strict=True):
        assert row.tolist() == pytest.approx(plain_lof(group, 5), rel=1e-8)
        model = LocalOutlierFactor(n_neighbors=5).fit(group.numpy())
        assert row.tolist() == pytest.approx(-model.negative_outlier_factor_, rel=1e-8)


def test_points_that_are_all_equally_far_are_inliers() -> None:
    simplex = torch.eye(6, dtype=torch.float64)[None]
    torch.testing.assert_close(local_outlier_factor(simplex, 3), torch.ones(1, 6, dtype=torch.float64))


def test_factors_do_not_depend_on_scale_place_and_direction() -> None:
    points = random_points(3, 20, 4)
    rotation = torch.linalg.qr(random_points(4, 4, seed=1)).Q
    torch.testing.assert_close(
        local_outlier_factor(100 * points @ rotation + 7, 5), local_outlier_factor(points, 5)
    )


def test_equal_points_are_inliers_in_single_precision() -> None:
    points = torch.full((1, 9, 128), 30.0) + random_points(1, 1, 128).float()
    assert local_outlier_factor(points, 5).tolist() == [[1.0] * 9]
    points[0, 4] += 1
    assert int(local_outlier_factor(points, 5).argmax()) == 4


def test_nearest_by_hand() -> None:
    torch.testing.assert_close(nearest_weight(line(0, 1, 4)), line(2, 2, 4)[:, :, 0])


def test_gaussian_by_hand() -> None:
    expected = line(1 + 2 / 4.01**0.5, 1, 1 + 2 / 4.01**0.5)[:, :, 0]
    torch.testing.assert_close(gaussian_weight(line(0, 2, 4)), expected)


@pytest.mark.parametrize("count", [6, 40])
def test_gaussian_is_the_mahalanobis_distance(count: int) -> None:
    points = random_points(1, count, 12)
    covariance = points[0].T.cov() + 0.01 * torch.eye(12, dtype=torch.float64)
    centred = points[0] - points[0].mean(0)
    expected = 1 + (centred @ covariance.inverse() * centred).sum(1).sqrt()
    torch.testing.assert_close(gaussian_weight(points)[0], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", ["lof", "lof_gpu", "nearest", "gaussian"])
def test_each_position_is_weighed_by_itself(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    feature = random_points(7, 5, 3)
    whole = outlier_weight(feature, method, 4)
    monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    torch.testing.assert_close(outlier_weight(feature, method, 4), whole)
    torch.testing.assert_close(outlier_weight(feature[:, 2:3], method, 4), whole[:, 2:3])


def test_few_images() -> None:
    assert outlier_weight(random_points(1, 5, 3), "gaussian", 5).tolist() == [[1.0] * 5]
    assert outlier_weight(random_points(2, 5, 3), "lof", 5).tolist() == [[1.0] * 5] * 2
    three = random_points(3, 5, 3)
    assert torch.equal(outlier_weight(three, "lof", 5), outlier_weight(three, "lof", 2))


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="lof_cpu"):
        outlier_weight(random_points(4, 5, 3), "lof_cpu", 5)


def net(
    memory: list[float], weight: list[float], reweight: str = "none", squared: bool = False
) -> SoftPatchNet:
    built = SoftPatchNet(lambda maps: maps[0].reshape(-1, 1), 1, squared, reweight, 2)
    built.remember(torch.tensor(memory)[:, None], append=False, weight=torch.tensor(weight))
    return built


def test_distances_count_by_the_weight_of_the_nearest_row() -> None:
    queries = [torch.tensor([[[[2.0, 8.0]]]])]
    image_score, patch_score = net([0.0, 10.0], [1.0, 3.0], squared=True)(queries)
    assert patch_score.flatten().tolist() == [4, 12]
    assert image_score.tolist() == [12]


def test_the_weight_multiplies_the_re_weighted_image_score() -> None:
    queries = [torch.tensor([[[[3.0, 8.0]]]])]
    plain = net([0.0, 10.0], [1.0, 1.0], "paper")([queries[0][..., 1:]])[0]
    torch.testing.assert_close(net([0.0, 10.0], [1.0, 3.0], "paper")(queries)[0], 3 * plain)


def test_weights_are_appended_replaced_and_restored_with_their_rows() -> None:
    built, restored = net([0.0, 10.0], [1.0, 3.0]), net([5.0], [1.0])
    built.remember(torch.tensor([[20.0]]), append=True)
    assert built.weight.tolist() == [1, 3, 1]
    restored.load_state_dict(built.state_dict())
    assert restored.weight.tolist() == [1, 3, 1]
    built.remember(torch.tensor([[4.0]]), append=False, weight=torch.tensor([2.0]))
    assert built.weight.tolist() == [2]


def trained(image: Tensor, model: str, *changes: str, setting: str = "-v -tid 1") -> MemoryBankMethod:
    """A method with a random net_tiny that has learned these images."""
    words = f"{setting} -m {model} -n net_tiny -d _example -w none -g cpu --debug".split()
    config = load_config([*words, *(word for change in changes for word in ("--set", change))])
    built = build_method(config, store=None).method
    assert isinstance(built, MemoryBankMethod)
    train(
        built,
        MadeLoader(image, batch_size=-(-len(image) // 2)),
        Task(1, "task", config.run.setting, 0, seed=0),
    )
    return built


def score(built: MemoryBankMethod, image: Tensor) -> Tensor:
    return built.predict_batch(scoring(built, image, torch.arange(len(image)))).image_score


def rows_of(built: MemoryBankMethod, image: Tensor) -> Tensor:
    """The (N, P, D) patch features of images."""
    rows = built.net.embedding(list(built.backbone.extract(batch_of(image)).values()))
    return rows.view(len(image), GRID**2, -1)


def pictures(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def stained(image: Tensor, row: int) -> Tensor:
    """A copy with one image that has a bright corner."""
    copy = image.clone()
    copy[row, :, :8, :8] = torch.tensor([5.0, 0.0, 5.0])[:, None, None]
    return copy


@pytest.mark.parametrize("sampler", ["approx_greedy_coreset", "greedy_coreset", "identity"])
@pytest.mark.parametrize(
    ("count", "changes"), [(6, ["_threshold=0.0", "_soft_weight_flag=false"]), (2, ["_threshold=0.15"])]
)
def test_without_noise_it_is_patchcore_bit_for_bit(sampler: str, count: int, changes: list[str]) -> None:
    image = pictures(count)
    plain = trained(image, "patchcore", f"_sampler_name={sampler}")
    weighted = sampler.replace("approx", "weighted")
    for name in {sampler, weighted}:
        soft = trained(image, "softpatch", f"_sampler_name={name}", *changes)
        assert torch.equal(soft.net.memory.bank, plain.net.memory.bank)
        assert torch.equal(score(soft, pictures(3, seed=1)), score(plain, pictures(3, seed=1)))


@pytest.mark.parametrize("setting", ["-f -fe 4 -fda -tid 1", "-f -fe 4 -ffa -tid 1"])
def test_augmented_shots_are_not_weighed(setting: str) -> None:
    image = pictures(4)
    soft, plain = trained(image, "softpatch", setting=setting), trained(image, "patchcore", setting=setting)
    assert torch.equal(soft.net.memory.bank, plain.net.memory.bank)
    assert soft.state_dict()["weight"].unique().tolist() == [1]


def test_exactly_the_share_above_the_threshold_is_barred() -> None:
    image = pictures(8)
    soft = trained(image, "softpatch", "_sampler_name=identity")
    count = 8 * GRID**2
    assert len(soft.net.memory.bank) == int((count - 1) * 0.85) + 1
    equal = trained(image[:1].expand(8, -1, -1, -1), "softpatch", "_sampler_name=identity")
    assert len(equal.net.memory.bank) == count, "of equal weights none is above the threshold"


@pytest.mark.parametrize("denoise", ["remove", "zero"])
def test_no_barred_patch_is_remembered_or_with_zero_the_first_pick_alone(denoise: str) -> None:
    image = stained(pictures(8), 3)
    kept = trained(image, "softpatch", "_sampler_name=identity").net.memory.bank
    soft = trained(image, "softpatch", f"_denoise={denoise}")
    bank = soft.net.memory.bank
    assert len(bank) == int(8 * GRID**2 * 0.1)
    is_barred = (bank[:, None] != kept).any(2).all(1)
    assert is_barred.nonzero().flatten().tolist() == ([] if denoise == "remove" else [0])


def test_a_planted_patch_is_barred_and_its_like_scores_higher_than_under_patchcore() -> None:
    image = pictures(1) + 0.05 * pictures(10, seed=2)
    noisy = stained(image, 4)
    soft, plain = (trained(noisy, model, "_sampler_percentage=0.5") for model in ("softpatch", "patchcore"))
    rows = rows_of(soft, noisy)
    weight = outlier_weight(rows, "lof", 5)
    assert int(weight[:, 0].argmax()) == 4
    assert not bool((soft.net.memory.bank == rows[4, 0]).all(1).any())
    test = stained(pictures(1) + 0.05 * pictures(1, seed=3), 0)
    assert score(soft, test) > 2 * score(plain, test)


def test_the_same_seed_gives_the_same_memory() -> None:
    first, second = (trained(pictures(5), "softpatch").state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert (first["weight"] > 0).all()
    assert len(first["weight"].unique()) > 1


@pytest.mark.parametrize("change", ["_threshold=1.0", "_threshold=-0.1", "_lof_k=0"])
def test_keys_out_of_range_are_refused(change: str) -> None:
    with pytest.raises(UserError, match=change.split("=")[0]):
        trained(pictures(1), "softpatch", change)
