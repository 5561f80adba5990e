import pytest
import torch
from torch import Tensor

from models.common.nearest import NearestNeighbours


def brute_force(query: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    distance = (query.double()[:, None] - bank.double()).square().sum(2)
    found = distance.sort(dim=1, stable=True)
    return found.values[:, :k].float(), found.indices[:, :k]


def rows(count: int, width: int, seed: int, mean: float = 0.0) -> Tensor:
    return mean + torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("k", [1, 2, 9, 50])
@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_search_equals_brute_force(k: int, mean: float) -> None:
    bank, query = rows(300, 40, 0, mean), rows(1500, 40, 1, mean)
    distance, index = NearestNeighbours(bank).search(query, k)
    expected_distance, expected_index = brute_force(query, bank, k)
    assert float((index == expected_index).float().mean()) > 0.999  # two that agree to 1e-7 may change places
    torch.testing.assert_close(distance, expected_distance, rtol=1e-5, atol=0)


@pytest.mark.parametrize("native", [True, False])
def test_near_ties_far_below_the_rounding_of_bfloat16_are_decided_rightly(native: bool) -> None:
    bank = rows(64, 32, 0).repeat_interleave(4, 0) + 1e-4 * rows(256, 32, 1)
    query = rows(500, 32, 2)
    search = NearestNeighbours(bank)
    if not native:
        search.rough = search.rough[:0]
    distance, index = search.search(query)
    expected_distance, expected_index = brute_force(query, bank, 1)
    torch.testing.assert_close(distance, expected_distance, rtol=2e-6, atol=0)
    assert float((index == expected_index).float().mean()) > 0.99


def test_outliers_in_bank_and_query_change_nothing() -> None:
    bank, query = rows(200, 16, 0), rows(300, 16, 1)
    bank[7] *= 1000
    query[5] *= 1000
    distance, index = NearestNeighbours(bank).search(query)
    expected_distance, expected_index = brute_force(query, bank, 1)
    assert torch.equal(index, expected_index)
    torch.testing.assert_close(distance, expected_distance, rtol=1e-5, atol=0)


@pytest.mark.parametrize("k", [1, 3])
def test_rows_of_the_bank_are_at_distance_exactly_zero(k: int) -> None:
    bank = rows(100, 64, 0, mean=100.0)
    distance, index = NearestNeighbours(bank).search(bank, k)
    assert torch.equal(index[:, 0], torch.arange(100))
    assert float(distance[:, 0].abs().max()) == 0.0


def test_equal_rows_of_the_bank_give_the_first() -> None:
    bank = torch.zeros(2000, 8)
    distance, index = NearestNeighbours(bank).search(torch.ones(10, 8))
    assert index.flatten().tolist() == [0] * 10
    assert distance.flatten().tolist() == [8.0] * 10


@pytest.mark.parametrize("k", [1, 5])
def test_chunks_change_nothing(k: int) -> None:
    bank, query = rows(300, 20, 0), rows(100, 20, 1)
    whole = NearestNeighbours(bank).search(query, k)
    pieces = NearestNeighbours(bank, chunk_bytes=4 * 300 * 7).search(query, k)
    assert torch.equal(whole[1], pieces[1])
    assert torch.equal(whole[0], pieces[0])


def test_bank_is_all_that_is_saved_and_any_size_can_be_loaded() -> None:
    saved = NearestNeighbours(rows(30, 6, 0))
    loaded = NearestNeighbours(torch.empty(0, 6))
    assert list(saved.state_dict()) == ["bank"]
    loaded.load_state_dict(saved.state_dict())
    query = rows(10, 6, 1)
    assert torch.equal(loaded.search(query, 2)[0], saved.search(query, 2)[0])
    saved.bank.zero_()
    assert float(loaded.bank.abs().sum()) > 0, "the loaded bank is a copy"


def test_growing_bank_never_raises_a_distance() -> None:
    bank, query = rows(50, 6, 0), rows(40, 6, 1)
    search = NearestNeighbours(bank)
    before = search.search(query)[0]
    search.replace(torch.cat([bank, rows(50, 6, 2)]))
    assert bool((search.search(query)[0] <= before).all())


@pytest.mark.parametrize("k", [0, 4])
def test_more_neighbours_than_rows_are_refused(k: int) -> None:
    with pytest.raises(ValueError, match="3 rows"):
        NearestNeighbours(rows(3, 2, 0)).search(rows(1, 2, 1), k)


def test_mixed_precision_finds_the_same_neighbours() -> None:
    generator = torch.Generator().manual_seed(3)
    bank = 10 + 0.01 * torch.randn(300, 8, generator=generator)  # near each other: no short list in 16 bits
    query = 10 + 0.01 * torch.randn(50, 8, generator=generator)
    memory = NearestNeighbours(bank)
    for k in (1, 3):
        expected = memory.search(query, k)
        with torch.autocast("cpu", torch.bfloat16):
            found = memory.search(query, k)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
