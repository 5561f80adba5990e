"""Samples, tasks and files: what a seed and an identity depend on."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from configuration.errors import UserError
from data_io.records import Sample, Task, derive_seed, file_identity

TASK = Task(id=2, name="cable", setting="semi", step=1, seed=66)


def test_seeds_stay_the_same_in_every_release() -> None:
    assert derive_seed(66, "noise", "bottle") == 327157154431196125
    assert derive_seed(0) == 4761921975702974394
    assert TASK.generator("order 3").initial_seed() == derive_seed(66, "semi", 2, 1, "order 3")


def test_seeds_have_63_bits_and_depend_on_every_part() -> None:
    seeds = [derive_seed(seed, purpose) for seed in range(200) for purpose in ("noise", "shots")]
    assert len(set(seeds)) == 400
    assert 2**62 < max(seeds) < 2**63


def test_a_task_has_generators_of_its_own() -> None:
    tasks = [TASK, replace(TASK, id=3), replace(TASK, setting="noisy"), replace(TASK, step=0)]
    seeds = {task.generator("order").initial_seed() for task in (*tasks, replace(TASK, seed=67))}
    assert len({*seeds, TASK.generator("noise").initial_seed()}) == 6


def test_samples_are_ordered_by_path_and_know_all_their_masks() -> None:
    one, two = Path("1.png"), Path("2.png")
    assert sorted([Sample(two, 0), Sample(one, 1)]) == [Sample(one, 1), Sample(two, 0)]
    assert Sample(one, 0).mask_paths == ()
    assert Sample(one, 1, two).mask_paths == (two,)
    assert Sample(one, 1, (one, two)).mask_paths == (one, two)
    assert Sample(one, 0).kind == "good"


def test_a_file_that_is_replaced_has_another_identity(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"abc")
    os.utime(path, ns=(0, 10**18))
    assert file_identity(path) == (str(path), 3, 10**18)
    os.utime(path, ns=(0, 10**18 + 1000))
    assert file_identity(path) == (str(path), 3, 10**18 + 1000)
    path.unlink()
    with pytest.raises(UserError, match=r"a\.png: cannot be read \(No such file"):
        file_identity(path)


def test_one_file_has_one_identity_by_whatever_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"abc")
    monkeypatch.chdir(tmp_path)
    assert file_identity(Path("a.png")) == file_identity(tmp_path / "a.png")
