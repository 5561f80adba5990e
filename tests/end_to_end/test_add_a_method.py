"""The page docs/adding.md, performed to the letter: in a copy of the tree, and in a folder outside of it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import read_rows
from tests.documents import ADDING, ROOT, Block, code

INSIDE, SETTING, OUTSIDE = "A method and a data set", "A setting", "Outside of this tree"
NOT_COPIED = (".*", "__pycache__", "work_dir", "data")
DRAW = "from pathlib import Path; from tests.trees import write_tree; write_tree('bolts', Path('data/bolts'))"
CHECKS = (
    "tests/unit/test_readme.py",
    "tests/unit/test_documents.py",
    "tests/unit/configuration/test_registration.py",
    "tests/unit/test_layers.py",
)


def blocks(chapter: str) -> list[Block]:
    return [block for block in ADDING.blocks if block.chapter == chapter]


def commands(chapter: str) -> list[str]:
    shell = (block.text for block in blocks(chapter) if block.language == "sh")
    return [line for text in shell for line in text.splitlines()]


def is_new_file(block: Block) -> bool:
    is_text = block.language in ("python", "yaml", "markdown")
    return is_text and "at the end of" not in block.before.lower()


def perform(block: Block, root: Path) -> None:
    """Do what a block of the page says: write a new file, go on with one, or add lines to one."""
    path = root / code(block.before)[-1].removeprefix("~/")
    if is_new_file(block):
        assert not path.exists(), f"{path} is there already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
    elif block.language == "diff":
        path.write_text(with_additions(path.read_text(), block.text))
    else:
        path.write_text(f"{path.read_text()}\n\n{block.text}")


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


def run(root: Path, *words: str, **variables: str) -> None:
    environment = {
        key: value for key, value in os.environ.items() if key not in ("IMIAD_DATA", "IMIAD_EXTRA")
    }
    done = subprocess.run(
        words, cwd=root, env={**environment, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def typed(command: str) -> tuple[str, ...]:
    """Return the words that run a command as typed, with the interpreter of this test."""
    assert "python3 " in command
    return "bash", "-c", command.replace("python3 ", f"{sys.executable} ")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree in which every step of the page was done."""
    root = tmp_path_factory.mktemp("copy") / "im-iad"
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for block in blocks(INSIDE):
        if block.language != "sh":
            perform(block, root)
    run(root, sys.executable, "-c", DRAW)
    return root


def test_the_new_method_on_the_new_data_set_gives_its_row(extended: Path) -> None:
    (command,) = (command for command in commands(INSIDE) if "main.py" in command)
    run(extended, *typed(command))
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


def test_the_new_method_passes_what_all_methods_pass(extended: Path) -> None:
    (command,) = (command for command in commands(INSIDE) if "check_method" in command)
    run(extended, *typed(command))


def test_the_tests_of_a_finished_addition_pass(extended: Path) -> None:
    run(extended, sys.executable, "-m", "pytest", "-x", *CHECKS)
    miniature = ("tests/contract/test_every_dataset.py", "-k", "bolts or miniature")
    run(extended, sys.executable, "-m", "pytest", "-x", *miniature)


@pytest.fixture(scope="module")
def with_setting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with the new setting."""
    root = tmp_path_factory.mktemp("setting") / "im-iad"
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for block in blocks(SETTING):
        if block.language != "sh":
            perform(block, root)
    return root


def test_the_new_setting_gives_its_row(with_setting: Path) -> None:
    (command,) = commands(SETTING)
    run(with_setting, *typed(command))
    (row,) = read_rows(with_setting / "work_dir" / "results.csv")
    assert (row["setting"], row["n_train"]) == ("sparse", "20"), "every third of 60 images"
    assert row["setting_params"] == '{"sparse_every":3,"drawn":20}'
    assert float(row["image_auroc"]) > 0.6
    own = "work_dir/benchmark/sparse/_example/patchcore/task_0/result_every_3.csv"
    assert read_rows(with_setting / own) == [row]


def test_the_tests_of_a_finished_setting_pass(with_setting: Path) -> None:
    run(
        with_setting, sys.executable, "-m", "pytest", "-x", *CHECKS, "tests/unit/paradigms/test_provenance.py"
    )
    contract = ("tests/contract/test_every_method.py", "--method", "patchcore", "-k", "setting")
    run(with_setting, sys.executable, "-m", "pytest", "-x", *contract)


def outside() -> Iterator[tuple[str, Block]]:
    """Yield the place below the home folder and the block of every file that the last chapter asks for."""
    (listed,) = (block.text.split() for block in blocks(OUTSIDE) if not block.language)
    new = {code(block.before)[-1]: block for block in ADDING.blocks if is_new_file(block)}
    for place in listed:
        yield place.removeprefix("~/"), new.get(place) or new[place.removeprefix("~/private/")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, extended: Path) -> Path:
    """A home folder with private additions and data; this tree knows nothing of them."""
    root = tmp_path_factory.mktemp("home")
    for place, block in outside():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(block.text)
    shutil.copytree(extended / "data" / "bolts", root / "bolts")
    return root


def test_additions_outside_of_this_tree_give_their_row(home: Path) -> None:
    (command,) = (command for command in commands(OUTSIDE) if "main.py" in command)
    run(ROOT, *typed(f"{command} -g cpu -wd ~/work"), HOME=str(home))
    (row,) = read_rows(home / "work" / "results.csv")
    assert (row["model"], row["net"], row["dataset"]) == ("centroid", "net_centroid", "bolts")
    assert float(row["image_auroc"]) == 1, "the drawn defects are bright"


def test_a_method_outside_of_this_tree_passes_what_all_methods_pass(home: Path) -> None:
    (command,) = (command for command in commands(OUTSIDE) if "check_method" in command)
    run(ROOT, *typed(command), HOME=str(home))
