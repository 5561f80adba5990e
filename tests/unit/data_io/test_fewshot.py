import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configuration.errors import UserError
from data_io.records import Split
from data_io.settings.fewshot import take_shots
from tests.unit.data_io.made_splits import PROPERTY, SEEDS, make_split, splits


@PROPERTY
@given(splits(), st.integers(1, 40), SEEDS)
def test_the_shots_are_that_many_different_training_images(split: Split, num_shots: int, seed: int) -> None:
    few = take_shots(split, num_shots, random.Random(seed))
    assert len(set(few.train)) == len(few.train) == min(num_shots, len(split.train))
    assert set(few.train) <= set(split.train)
    assert few.test == split.test


@PROPERTY
@given(splits(), st.integers(1, 40), st.integers(1, 40), SEEDS)
def test_shots_are_nested(split: Split, num_shots: int, other: int, seed: int) -> None:
    less, more = (take_shots(split, k, random.Random(seed)).train for k in sorted((num_shots, other)))
    assert more[: len(less)] == less


def test_the_seed_decides_which_images_are_shots() -> None:
    split = make_split("bottle", num_train=100, num_good=0, num_bad=0)
    drawn = [take_shots(split, 4, random.Random(seed)).train for seed in range(50)]
    assert drawn == [take_shots(split, 4, random.Random(seed)).train for seed in range(50)]
    assert len(set(drawn)) == 50


@pytest.mark.parametrize("num_shots", [0, -3])
def test_training_on_nothing_is_refused(num_shots: int) -> None:
    with pytest.raises(UserError, match="fewshot_exm"):
        take_shots(make_split("bottle", 3, 0, 0), num_shots, random.Random(0))
