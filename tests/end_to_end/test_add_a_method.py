"""The README's chapter "How to add a method or a data set", performed to the letter in a copy of the tree."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import readme
from tests.conftest import read_rows

NOT_COPIED = (".*", "__pycache__", "work_dir", "data")
DRAW = "from pathlib import Path; from tests.trees import write_tree; write_tree('bolts', Path('data/bolts'))"
CHECKS = (
    "tests/unit/test_readme.py",
    "tests/unit/configuration/test_registration.py",
    "tests/unit/test_layers.py",
)


def perform(block: readme.Block, root: Path) -> None:
    """Do what a block of the chapter says: write a new file, go on with one, or add lines to one."""
    path = root / readme.code(block.before)[-1]
    if block.language == "diff":
        path.write_text(with_additions(path.read_text(), block.text))
    elif "at the end of" in block.before.lower():
        path.write_text(f"{path.read_text()}\n\n{block.text}")
    else:
        assert not path.exists(), f"{path} is there already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)


def with_additions(text: str, hunk: str) -> str:
    """Return the text with each line of the hunk that has a plus added below the line above it."""
    lines = text.splitlines()
    place = 0
    for line in hunk.splitlines():
        if line.startswith("+"):
            lines.insert(place, line[1:])
        else:
            place = next(i for i, known in enumerate(lines) if is_line(known, line[1:]))
        place += 1
    return "\n".join(lines) + "\n"


def is_line(line: str, wanted: str) -> bool:
    """Return whether this is the wanted line; dots stand for the rest of it."""
    return line.startswith(wanted[:-1]) if wanted.endswith("…") else line == wanted


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree in which every step of the chapter was done."""
    root = tmp_path_factory.mktemp("copy") / "im-iad"
    shutil.copytree(readme.ROOT, root, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for block in chapter():
        if block.language != "sh":
            perform(block, root)
    return root


def chapter() -> list[readme.Block]:
    return [block for block in readme.blocks() if block.chapter == readme.CHAPTER]


def run(root: Path, *words: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "IMIAD_DATA"}
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_new_method_on_the_new_data_set_gives_its_row(extended: Path) -> None:
    run(extended, "-c", DRAW)
    (block,) = [block for block in chapter() if block.language == "sh"]
    interpreter, *words = block.text.split()
    assert interpreter == "python3"
    run(extended, *words)
    (row,) = read_rows(extended / "work_dir" / "results.csv")
    assert (row["model"], row["net"], row["dataset"]) == ("centroid", "net_centroid", "bolts")
    assert (row["train_category"], row["n_train"], row["n_test"], row["n_test_anomalous"]) == (
        "hex",
        "5",
        "7",
        "4",
    )
    assert float(row["image_auroc"]) == 1, "the drawn defects are bright"
    assert float(row["pixel_auroc"]) > 0.9
    assert list(extended.glob("work_dir/runs/*/vis/task_0/hex/bent_*.png"))


def test_the_tests_of_a_finished_addition_pass(extended: Path) -> None:
    run(extended, "-m", "pytest", "-x", *CHECKS)
    run(extended, "-m", "pytest", "-x", "tests/contract/test_every_dataset.py", "-k", "bolts or miniature")
