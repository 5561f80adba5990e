"""Exit codes and what is printed, on the stub house."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from main import main
from tests.stub_house import House, stub_house


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with stub_house(tmp_path, monkeypatch) as built:
        yield built


def test_a_run_that_is_done_returns_0(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(house.vanilla) == 0
    assert capsys.readouterr() == ("ran bank\n", "")


def test_a_dry_run_runs_nothing(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert main((*house.vanilla, "--dry-run")) == 0
    out, err = capsys.readouterr()
    assert "ran bank" not in out
    assert "model: bank " in out
    assert err == ""


def test_wrong_use_returns_2(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert main((*house.vanilla, "--seed", "x")) == 2
    assert capsys.readouterr() == ("", "--seed: must be a whole number, not 'x'\n")
    assert main(("--list", "--bogus")) == 2


def test_an_interrupted_run_returns_130(house: House) -> None:
    assert main((*house.vanilla, "--seed", "130")) == 130
