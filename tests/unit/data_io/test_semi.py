import random
from dataclasses import replace
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configuration.errors import UserError
from data_io.records import Split
from data_io.settings.semi import add_labelled_anomalies
from tests.unit.data_io.made_splits import PROPERTY, SEEDS, make_split, splits


@PROPERTY
@given(splits(), st.integers(0, 12), st.booleans(), SEEDS)
def test_exactly_the_number_asked_for_is_added_up_to_the_cap(
    split: Split, count: int, overlap: bool, seed: int
) -> None:
    semi = add_labelled_anomalies(split, count, overlap, random.Random(seed))
    num_anomalies = sum(sample.image_label for sample in split.test)
    added = semi.train[len(split.train) :]
    assert len(set(added)) == len(added) == min(count, floor(0.75 * num_anomalies))
    assert all(sample.image_label == 1 and sample.mask_path for sample in added)
    assert set(added) & set(semi.test) == (set(added) if overlap else set())
    assert set(semi.test) == set(split.test) - (set() if overlap else set(added))


@PROPERTY
@given(splits(), st.integers(0, 12), st.integers(0, 12), SEEDS)
def test_labelled_anomalies_are_nested(split: Split, count: int, other: int, seed: int) -> None:
    less, more = (
        add_labelled_anomalies(split, value, False, random.Random(seed)).train
        for value in sorted((count, other))
    )
    assert more[: len(less)] == less


def test_a_class_without_anomalies_gives_none() -> None:
    split = make_split("bottle", num_train=9, num_good=5, num_bad=0)
    assert add_labelled_anomalies(split, 5, False, random.Random(0)) == split


def test_anomalies_of_one_kind_are_tested_on_the_others() -> None:
    made = make_split("bottle", num_train=9, num_good=5, num_bad=9)
    good = tuple(sample for sample in made.test if sample.image_label == 0)
    anomalies = [sample for sample in made.test if sample.image_label == 1]
    cracks = tuple(replace(sample, kind="crack") for sample in anomalies[:4])
    holes = tuple(replace(sample, kind="hole") for sample in anomalies[4:])
    split = Split(made.train, (*cracks, *good, *holes))
    for count, drawn in ((2, 2), (10, 3)):
        semi = add_labelled_anomalies(split, count, False, random.Random(0), kind="crack")
        assert {sample.kind for sample in semi.train[9:]} == {"crack"}
        assert len(semi.train) == 9 + drawn
        assert semi.test == (*good, *holes)
    with pytest.raises(UserError, match=r"semi_kind dent: .* found \['crack', 'hole'\]"):
        add_labelled_anomalies(split, 2, False, random.Random(0), kind="dent")
    with pytest.raises(UserError, match="this kind of defect and another"):
        add_labelled_anomalies(Split(made.train, cracks), 2, False, random.Random(0), kind="crack")
