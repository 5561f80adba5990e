"""Every command of the README and its pages, run with small data, random weights and a small net."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from configuration import registration
from dataset.mvtec2d import MVTec2D
from main import main
from tests.conftest import read_rows
from tests.documents import MANUAL, ROOT
from tests.trees import Size, write_tree

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
COMMANDS = sorted({line for page in MANUAL for line in page.commands})
RUNS = [line for line in COMMANDS if line.startswith("python3 main.py ")]
PROGRAMS = [line for line in COMMANDS if line.startswith("python3 -m ")]
OTHERS = sorted(set(COMMANDS) - {*RUNS, *PROGRAMS})
CATEGORIES = {"mvtec2d": MVTec2D.classes, "coad": None, "folder": None, "mtd": None}
SIZE = Size(train=10, good=2, bad=2)
SMALL = [word for key in ("data_size", "data_crop_size", "mask_size") for word in ("--set", f"{key}=64")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, example_root: Path) -> dict[str, Path]:
    """The folder of every data set that a command names."""
    root = tmp_path_factory.mktemp("data")
    trees = {name: write_tree(name, root / name, SIZE, some) for name, some in CATEGORIES.items()}
    return {**trees, "_example": example_root / "_example"}


def after(words: list[str], flag: str, default: str = "") -> str:
    return words[words.index(flag) + 1] if flag in words else default


def small_net(words: list[str]) -> list[str]:
    """Return the words that put net_tiny in the place of a larger backbone."""
    layer = registration.layer(f"{registration.MODEL_FOLDER}/{after(words, '-m')}.yaml")
    net = after(words, "-n", str(layer["net"].value))
    return ["-n", "net_tiny"] if registration.is_backbone(net) else []


@pytest.mark.parametrize("line", RUNS)
def test_a_run_gives_its_rows(line: str, data: dict[str, Path], tmp_path: Path) -> None:
    _, _, *words = shlex.split(line)
    small = [*small_net(words), *SMALL, "-dp", str(data[after(words, "-d")]), "-w", "none", "-g", "cpu"]
    assert main([*words, *small, "-wd", str(tmp_path), "--debug", "--no-vis"]) == 0
    if "--dry-run" in words:
        assert not list(tmp_path.iterdir())
        return
    rows = read_rows(tmp_path / "debug" / "results.csv")
    assert {row["model"] for row in rows} == {after(words, "-m")}
    assert {row["dataset"] for row in rows} == {after(words, "-d")}
    assert all(row["image_auroc"] for row in rows)


@pytest.mark.parametrize("line", PROGRAMS)
def test_a_program_answers(
    line: str, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, name, *words = shlex.split(line)
    sheet = tmp_path / "sheet.png"
    place = {"programs.show_augmentation": ["-o", str(sheet)], "programs.check_data": []}[name]
    is_package = (ROOT / name.replace(".", "/")).is_dir()
    program = import_module(f"{name}.__main__" if is_package else name)
    assert program.main([*words, "-dp", str(data[after(words, "-d")]), *place]) == 0
    if place:
        assert sheet.is_file()
    else:
        assert "0 faults" in capsys.readouterr().out


@pytest.mark.parametrize("line", OTHERS)
def test_another_command_is_there(line: str) -> None:
    command, *words = shlex.split(line)
    if command == "make":
        assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in words)
    else:
        assert (command, *words) == ("source", ".venv/bin/activate")
        assert re.search(r"^VENV := \.venv$", MAKEFILE, re.MULTILINE)
