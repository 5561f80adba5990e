import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from configuration.errors import UserError
from tools.run_folder import RunFolder, StepFiles


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path: Path) -> None:
    runs = [RunFolder.create(tmp_path) for _ in range(50)]
    assert len({run.run_id for run in runs}) == 50
    assert all(run.path.parent == tmp_path / "runs" and run.path.is_dir() for run in runs)
    assert runs[0].run_id[:8] == runs[0].started_at[:10].replace("-", "")


def test_a_run_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        RunFolder.create(tmp_path)


def test_the_split_names_what_each_step_used(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path)
    steps = [
        StepFiles(
            0, "noisy", {"noisy_ratio": 0.1}, 3, ["a/1.png"], {3: ["a/2.png"], 5: ["b/2.png", "b/3.png"]}
        )
    ]
    run.save_split(steps)
    assert json.loads((run.path / "split.json").read_text()) == {
        "steps": [
            {
                "step": 0,
                "setting": "noisy",
                "setting_params": {"noisy_ratio": 0.1},
                "train_task": 3,
                "train": ["a/1.png"],
                "test": {"3": ["a/2.png"], "5": ["b/2.png", "b/3.png"]},
            }
        ]
    }


def test_scores_read_back_exactly(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path)
    score = np.random.default_rng(0).lognormal(0, 20, 200).astype(np.float32)
    names = [f"class, a/test/{number:03d}.png" for number in range(200)]
    for step in range(2):
        run.append_scores(step, 4, 7, names, np.arange(200) % 2, score)
    with (run.path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 400
    assert [row["path"] for row in rows[:200]] == names
    np.testing.assert_array_equal(np.array([row["image_score"] for row in rows[200:]], np.float32), score)
    assert {(row["step"], row["train_task"], row["valid_task"]) for row in rows} == {
        ("0", "4", "7"),
        ("1", "4", "7"),
    }
    assert [row["label"] for row in rows[:3]] == ["0", "1", "0"]


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9, 0.0])
@pytest.mark.parametrize(("kind", "precision"), [("float16", 2**-10), ("float32", 0.0)])
def test_maps_of_any_scale_keep_the_precision_of_their_kind(
    tmp_path: Path, scale: float, kind: str, precision: float
) -> None:
    run = RunFolder.create(tmp_path)
    anomaly_map = (scale * np.random.default_rng(0).standard_normal((3, 5, 4))).astype(np.float32)
    run.save_maps(1, 2, anomaly_map, np.dtype(kind))
    with np.load(run.path / "maps/step_1_task_2.npz") as file:
        stored, factor = file["anomaly_map"], file["scale"]
    assert stored.dtype == kind
    atol = scale * 1e-6 if precision else 0
    np.testing.assert_allclose(stored * factor, anomaly_map, rtol=precision, atol=atol)


def test_the_log_holds_what_was_logged_inside_the_block(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path)
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    with run.log():
        logging.getLogger("a.b").info("inside %d", 1)
    logging.getLogger("a.b").warning("outside")
    text = (run.path / "run.log").read_text()
    assert text.endswith(" INFO a.b: inside 1\n")
    assert "outside" not in text
    assert (root.level, root.handlers) == before


def test_a_log_on_a_full_disk_does_not_spill_tracebacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, a disk that is always full")
    run = RunFolder(tmp_path, "")
    (tmp_path / "run.log").symlink_to("/dev/full")
    with run.log():
        logging.getLogger("a").info("lost")
    assert "Traceback" not in capsys.readouterr().err


def test_what_a_killed_run_was_writing_goes_when_it_goes_on(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path)
    (run.path / "maps").mkdir()
    left = [run.path / ".checkpoint.0123abcd.pt", run.path / "maps/.step_0_task_0.89abcdef.npz"]
    kept = [run.path / "scores.csv", run.path / ".lock", run.path / ".notes.mine.txt"]
    for path in (*left, *kept):
        path.write_text("")
    RunFolder.reopen(run.path, run.started_at, 0)
    assert [path.exists() for path in (*left, *kept)] == [False, False, True, True, True]
