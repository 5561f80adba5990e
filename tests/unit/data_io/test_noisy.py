import random
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configuration.errors import UserError
from data_io.records import Split
from data_io.settings.noisy import add_noise
from tests.unit.data_io.made_splits import PROPERTY, SEEDS, make_split, splits

RATIOS = st.sampled_from([0, 0.05, 0.1, 0.15, 0.2, 0.5, 1.0, 3.0])


@pytest.fixture
def split() -> Split:
    return make_split("bottle", num_train=20, num_good=8, num_bad=12)


def test_noise_is_anomalous_and_leaves_the_test_images(split: Split) -> None:
    noisy = add_noise(split, ratio=0.5, overlap=False, rng=random.Random(0))
    moved = set(noisy.train) - set(split.train)
    assert moved, "a ratio of 0.5 must move something"
    assert {sample.image_label for sample in moved} == {1}
    assert moved.isdisjoint(noisy.test)


@PROPERTY
@given(splits(), RATIOS, st.booleans(), SEEDS)
def test_exactly_the_number_asked_for_is_added_up_to_the_cap(
    split: Split, ratio: float, overlap: bool, seed: int
) -> None:
    noisy = add_noise(split, ratio, overlap, random.Random(seed))
    num_anomalies = sum(sample.image_label for sample in split.test)
    added = noisy.train[len(split.train) :]
    assert noisy.train[: len(split.train)] == split.train
    assert len(set(added)) == len(added) == min(floor(ratio * len(split.train)), floor(0.75 * num_anomalies))
    assert set(added) <= {sample for sample in split.test if sample.image_label == 1}


@PROPERTY
@given(splits(), RATIOS, SEEDS)
def test_the_test_set_loses_the_noise_unless_overlap_says_so(split: Split, ratio: float, seed: int) -> None:
    apart = add_noise(split, ratio, False, random.Random(seed))
    both = add_noise(split, ratio, True, random.Random(seed))
    assert apart.train == both.train
    assert both.test == split.test
    assert set(apart.train).isdisjoint(apart.test)
    assert apart.test == tuple(sample for sample in split.test if sample not in apart.train)


@PROPERTY
@given(splits(), RATIOS, RATIOS, SEEDS)
def test_noise_is_nested(split: Split, ratio: float, other: float, seed: int) -> None:
    less, more = (
        add_noise(split, value, False, random.Random(seed)).train for value in sorted((ratio, other))
    )
    assert more[: len(less)] == less


def test_the_seed_decides_which_images_are_drawn(split: Split) -> None:
    drawn = [frozenset(add_noise(split, 0.3, False, random.Random(seed)).train) for seed in range(50)]
    assert drawn == [frozenset(add_noise(split, 0.3, False, random.Random(seed)).train) for seed in range(50)]
    assert len(set(drawn)) > 40  # of 924 possible ones


def test_the_cap_is_a_parameter(split: Split) -> None:
    for cap, expected in ((0.25, 3), (0.75, 9), (1.0, 12)):
        assert len(add_noise(split, 1.0, False, random.Random(0), cap).train) == 20 + expected


def test_a_negative_ratio_is_refused(split: Split) -> None:
    with pytest.raises(UserError, match="at least 0"):
        add_noise(split, -0.1, False, random.Random(0))
