"""A folder of one's own: its rows are literals, and what is wrong with it is one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from configuration.errors import UserError
from configuration.extra import extra_rows
from configuration.registration import ROOT


def folder_with(root: Path, text: str) -> Path:
    path = root / "configuration" / "registration.py"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return root


def test_rows_are_read_and_nothing_is_run(tmp_path: Path) -> None:
    models = 'MODELS = {"mine": ("arch.mine", "Mine")}'
    nets = 'NETS: dict[str, tuple[str, str]] = {"net": ("models.net", "Net")}'
    lines = ["import no_such_module", models, nets]
    rows = extra_rows(folder_with(tmp_path, "\n".join(lines)))
    assert rows == {
        "MODELS": {"mine": ("arch.mine", "Mine")},
        "DATASETS": {},
        "NETS": {"net": ("models.net", "Net")},
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("MODELS = {", "no Python that can be read"),
        ("MODELS = dict(mine=1)", "MODELS must be a table of rows"),
        ('DATASETS = {"mine": "arch.mine"}', "DATASETS must be a table of rows"),
        ('NETS = [("a", "b")]', "NETS must be a table of rows"),
        ('MODELS = {["a"]: ("b", "c")}', "MODELS must be a table of rows"),
        ('MODELS = {}\nMODELS.update(a=("b", "c"))', "line 2 is more than a table"),
        ("raise SystemExit", "line 1 is more than a table"),
    ],
)
def test_what_is_no_table_is_named(text: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=line) as caught:
        extra_rows(folder_with(tmp_path, text))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def listed(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "main.py", "--list"],
        cwd=ROOT,
        env={"IMIAD_EXTRA": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_folder_that_is_not_there_a_name_that_is_taken_and_a_lost_row_are_one_line_each(
    tmp_path: Path,
) -> None:
    missing = listed(tmp_path / "nowhere")
    assert missing.returncode == 2
    (line,) = missing.stderr.splitlines()
    assert line.startswith("$IMIAD_EXTRA: cannot read ")
    rows = 'MODELS = {"patchcore": ("arch.mine", "Mine"), "lost": ("arch.lost", "Lost")}'
    folder = folder_with(tmp_path / "extra", rows)
    found = listed(folder)
    place = f"{folder}/configuration/registration.py: MODELS"
    assert found.stderr.splitlines() == [
        f"{place}['patchcore']: the name is taken; choose another",
        f"{place}['lost']: arch/lost.py has no Lost; write it or correct the row",
        f"{place}['lost']: configuration/1_model_base/lost.yaml is missing or has no line 'model: lost'",
    ]
    assert found.returncode == 2
