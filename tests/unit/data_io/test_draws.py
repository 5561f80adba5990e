import random

import pytest

from configuration.errors import UserError
from data_io.draws import draw, floor_share, task_rng
from tests.unit.data_io.made_splits import make_split

SAMPLES = make_split("bottle", 20, 0, 0).train


def test_a_draw_takes_each_sample_at_most_once_and_all_when_asked_for_more() -> None:
    assert len(set(draw(SAMPLES, 7, random.Random(0)))) == 7
    assert sorted(draw(SAMPLES, 99, random.Random(0))) == sorted(SAMPLES)
    assert draw((), 3, random.Random(0)) == ()


def test_every_sample_is_equally_likely() -> None:
    counts = dict.fromkeys(SAMPLES, 0)
    for seed in range(2000):
        for sample in draw(SAMPLES, 5, task_rng(seed, "shots", "bottle")):
            counts[sample] += 1
    assert all(400 < count < 600 for count in counts.values())  # 500 expected, deviation 19


def test_a_generator_depends_on_seed_purpose_and_task_only() -> None:
    first = task_rng(66, "noise", "bottle").random()
    random.seed(5)
    assert task_rng(66, "noise", "bottle").random() == first
    others = [(67, "noise", "bottle"), (66, "shots", "bottle"), (66, "noise", "cable")]
    assert len({first, *(task_rng(*other).random() for other in others)}) == 4


def test_a_share_is_taken_of_the_number_as_typed() -> None:
    assert floor_share(0.29, 100) == 29  # 0.29 * 100 is 28.999999999999996 in floating point
    assert floor_share(0.75, 7) == 5
    assert floor_share(0.1, 209) == 20
    assert floor_share(1e-05, 99_999) == 0


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(UserError, match="-1 images"):
        draw(SAMPLES, -1, random.Random(0))
