"""The real main.py: help, list, wrong words, dry run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import read_rows

ROOT = Path(__file__).resolve().parents[2]
DRY = ("-v", "-m", "patchcore", "-d", "mvtec2d", "-tid", "0", "-g", "cpu", "--dry-run")


def run(*words: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "IMIAD_DATA"}
    command = [sys.executable, str(ROOT / "main.py"), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_help_names_every_flag_group() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("--vanilla, -v", "--sampler-percentage", "--set KEY=VALUE", "--dry-run", "patchcore"):
        assert word in done.stdout


def test_list_shows_all_tables() -> None:
    done = run("--list")
    assert (done.returncode, done.stderr) == (0, "")
    names = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert names >= {
        "patchcore",
        "_example",
        "resnet18",
        "timm/<name>",
        "mvtec2d",
        "folder",
        "--vanilla",
        "--transfer",
    }


@pytest.mark.parametrize(
    ("words", "problems"),
    [
        (
            ("-v", "-m", "patchcor", "-d", "mvtec2d"),
            ["--model patchcor: no such method; did you mean 'patchcore'?"],
        ),
        (
            ("-v", *DRY[1:], "--nett", "x", "--set", "sead=3"),
            ["--nett: no such flag; did you mean '--net'?", "--set sead: "],
        ),
        ((*DRY, "-tid", "99"), ["--train-task-id: no task 99; choose from 0 to 14"]),
        ((*DRY, "-g", "0,1"), ["--gpu-id: must be a whole number or cpu, not '0,1'"]),
        ((*DRY, "-ne", "3"), ["--num-epochs: patchcore has no use for it"]),
        ((*DRY, "-f"), ["--vanilla --fewshot: give exactly one of"]),
        (DRY[1:], ["no setting: give exactly one of"]),
        ((*DRY, "-p", "f2d"), ["--paradigm f2d: not built yet; use c2d"]),
    ],
)
def test_wrong_use_is_a_line_per_problem_and_nothing_else(
    tmp_path: Path, words: tuple[str, ...], problems: list[str]
) -> None:
    done = run(*words, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == len(problems)
    for line, problem in zip(lines, problems, strict=True):
        assert line.startswith(problem)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", ["--list", " ".join(DRY)])
def test_a_reader_that_goes_is_no_error(words: str) -> None:
    command = ["bash", "-c", f"set -o pipefail; {sys.executable} main.py {words} | true"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_output_that_cannot_be_written_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "main.py", "--list"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"free some space" in done.stderr


def test_debug_shows_where_an_error_comes_from() -> None:
    done = run("-v", "-m", "patchcor", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_a_dry_run_shows_every_value_with_its_origin_and_writes_nothing(tmp_path: Path) -> None:
    done = run(*DRY, "-sp", "0.05", "-wd", "out", "--set", "vis_num=3", "-g", "97", folder=tmp_path)
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1, "a GPU that is not there is one line"
    values = yaml.safe_load(done.stdout)
    assert (values["setting"], values["_sampler_percentage"], values["vis_num"]) == ("vanilla", 0.05, 3)
    origins = {line.split(":")[0]: line.partition("# ")[2] for line in done.stdout.splitlines()}
    assert origins["_sampler_percentage"] == "--sampler-percentage"
    assert origins["_patch_size"] == "1_model_base/patchcore.yaml"
    assert not list(tmp_path.iterdir())


WITHOUT_POSIX = """
import runpy, sys
sys.modules["fcntl"] = sys.modules["resource"] = None
sys.path.insert(0, ".")
runpy.run_path("main.py", run_name="__main__")
"""


@pytest.mark.parametrize(
    "words", [["--help"], ["--list"], ["-v", "-m", "patchcore", "-n", "net_tiny", "--no-vis"]]
)
def test_it_runs_without_the_modules_that_windows_lacks(
    words: list[str], example_root: Path, tmp_path: Path
) -> None:
    if len(words) > 1:
        words = [*words, "-d", "_example", "-rp", str(example_root), "-wd", str(tmp_path), "-g", "cpu"]
    command = [sys.executable, "-W", "ignore:only soft file lock", "-c", WITHOUT_POSIX, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(words) == 1 or len(read_rows(tmp_path / "results.csv")) == 1


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.5, 0.7, 1.0])
def test_an_interrupt_while_it_starts_is_one_line(seconds: float, example_root: Path, tmp_path: Path) -> None:
    words = [
        "-v",
        "-m",
        "patchcore",
        "-n",
        "net_tiny",
        "-d",
        "_example",
        "-rp",
        str(example_root),
        "-g",
        "cpu",
    ]
    start = "import signal, runpy, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    start += (
        "sys.path.insert(0, '.'); print('begun', flush=True); runpy.run_path('main.py', run_name='__main__')"
    )
    command = [sys.executable, "-c", start, *words, "-wd", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (130, "interrupted\n")
