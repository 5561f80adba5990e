"""Which images of a task are drawn."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_io.records import Sample
from paradigms.gallery import _pictures


@pytest.fixture
def evaluation() -> SimpleNamespace:
    scores = np.array([0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6], np.float32)
    labels = np.array([0, 1, 1, 0, 0, 1, 1, 0])
    samples = [Sample(Path(f"{row}.png"), int(label)) for row, label in enumerate(labels)]
    plan = SimpleNamespace(samples=samples, task_id=0)
    loader = SimpleNamespace(
        pixels=lambda _row: SimpleNamespace(permute=lambda *_: SimpleNamespace(cpu=lambda: 0))
    )
    test = SimpleNamespace(plan=plan, ground_truth_mask=[None] * 8, loader=loader)
    return SimpleNamespace(test=test, anomaly_map=None, image_score=scores, image_label=labels)


def drawn(evaluation: SimpleNamespace, number: int, seed: int = 66) -> list[tuple[str, str]]:
    config = SimpleNamespace(output=SimpleNamespace(vis_num=number), run=SimpleNamespace(seed=seed))
    return [(found.name, found.remark) for found in _pictures(evaluation, config)]  # type: ignore[arg-type]


def test_the_worst_errors_come_first_and_then_a_seeded_choice(evaluation: SimpleNamespace) -> None:
    assert drawn(evaluation, 4)[:2] == [
        ("good_3", "number 1 of the highest scores of normal images"),
        ("good_2", "number 1 of the lowest of anomalous images"),
    ]
    assert [remark for _, remark in drawn(evaluation, 4)[2:]] == ["", ""]
    assert [name for name, _ in drawn(evaluation, 8)[:4]] == ["good_3", "good_2", "good_7", "good_6"]
    assert sorted(name for name, _ in drawn(evaluation, 100)) == [f"good_{row}" for row in range(8)]
    assert drawn(evaluation, 6) == drawn(evaluation, 6)
    assert len({tuple(drawn(evaluation, 6, seed)) for seed in range(9)}) > 1
    assert drawn(evaluation, 0) == []
