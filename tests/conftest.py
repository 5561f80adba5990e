"""What several tests share: small data on disk, and runs of the real program in this process."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from dataset._example import Example
from main import main

Rows = list[dict[str, str]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the contract tests be pointed at one method, one's own included."""
    parser.addoption("--method", help="the only method that tests/contract/test_every_method.py tries")


RunProgram = Callable[..., Rows]


@pytest.fixture(scope="session")
def example_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the generated data set, made once."""
    root = tmp_path_factory.mktemp("data")
    Example(root / "_example").prepare()
    return root


@pytest.fixture
def run_program(example_root: Path, tmp_path: Path) -> RunProgram:
    """Run the command line on the CPU in `tmp_path`, expect success, and return the rows of results.csv."""

    def run(*words: str, debug: bool = False) -> Rows:
        common = ["-rp", str(example_root), "-wd", str(tmp_path), "-g", "cpu", "--no-vis"]
        assert main([*words, *common, *(["--debug"] if debug else [])]) == 0
        return read_rows(tmp_path / "debug" / "results.csv" if debug else tmp_path / "results.csv")

    return run


def read_rows(path: Path) -> Rows:
    """Return the rows of a CSV file by column."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
