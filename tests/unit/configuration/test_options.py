"""The words of the command line: every inherited flag, exact names, nothing dropped."""

import re
import shlex
from pathlib import Path

import pytest

from configuration.command_line import parse
from configuration.errors import UserError
from configuration.merge import Value
from configuration.options import OPTIONS

SPEC = Path(__file__).resolve().parents[3] / "../shared/spec"
NAMES = {name: option for options in OPTIONS.values() for option in options for name in option.names}


@pytest.mark.skipif(
    not SPEC.is_dir(), reason="the description of the inherited flags is not beside the checkout"
)
def test_every_inherited_flag_has_its_long_and_short_form_and_type() -> None:
    rows = re.findall(
        r"^\| (--[\w-]+) \| (-?\w*) ?\| (\w+)(, 1\.\.n)? \|", (SPEC / "cli.md").read_text(), re.MULTILINE
    )
    assert len(rows) == 39
    for long, short, kind, many in rows:
        option = NAMES[long]
        assert not short or short in option.names, long
        assert (option.metavar == "") == (kind == "flag"), long
        assert option.many == bool(many), long
        if kind in ("int", "float") and not many:
            assert option.kind.__name__ == kind, long


@pytest.mark.skipif(not SPEC.is_dir(), reason="the users' commands are not beside the checkout")
def test_every_command_of_the_users_is_understood() -> None:
    commands = (SPEC / "commands.txt").read_text().splitlines()
    for command in commands:
        request = parse(shlex.split(command)[2:])
        assert (request.problems, len(request.settings)) == ((), 1), command


def test_no_name_and_no_key_is_given_away_twice() -> None:
    options = [option for group in OPTIONS.values() for option in group]
    assert len(NAMES) == sum(len(option.names) for option in options)
    with_value = [option.key for option in options if option.metavar]
    assert len(set(with_value)) == len(with_value)


def test_values_have_their_kind_and_their_flag() -> None:
    values = parse(
        [
            "-v",
            "-fe",
            "4",
            "-nr",
            "0",
            "-tid",
            "3",
            "all",
            "-g",
            "-1",
            "--gpu-id=cpu",
            "-fat",
            "flip",
            "scale",
            "-so",
        ]
    ).values
    assert values["fewshot_exm"] == Value(4, "--fewshot-exm")
    assert values["noisy_ratio"] == Value(0.0, "--noisy-ratio")
    assert values["train_task_id"] == Value([3, "all"], "--train-task-id")
    assert values["gpu_id"] == Value("cpu", "--gpu-id"), "the last one counts"
    assert values["fewshot_aug_type"] == Value(["flip", "scale"], "--fewshot-aug-type")
    assert values["semi_overlap"] == Value(True, "--semi-overlap")
    assert parse(["-g", "-1"]).values["gpu_id"] == Value(-1, "--gpu-id")


def test_settings_are_collected_in_the_order_of_the_table() -> None:
    assert parse(["-z", "--vanilla", "-z"]).settings == ("vanilla", "noisy")
    assert parse([]).settings == ()


def test_set_reads_yaml() -> None:
    values = parse(["--set", "a=[1, x]", "--set", "b=null", "--set", "c=a=b", "--set", "a=3"]).values
    assert {key: value.value for key, value in values.items()} == {"a": 3, "b": None, "c": "a=b"}
    assert values["a"].origin == "--set a"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--vanila", "--vanila: no such flag; did you mean '--vanilla'?"),
        ("--vani", "--vani: no such flag"),
        ("-sa 3", "-sa: no such flag"),
        ("-g1", "-g1: no such flag"),
        ("-tid=3", "-tid: no such flag"),
        ("patchcore", "'patchcore' belongs to no flag"),
        ("--set x", "--set x: write --set KEY=VALUE"),
        ("--set model=x", "--set model: no key of a YAML file; use --model"),
        ("--set x=[1", "--set x: '[1' is no YAML value"),
        ("--set seed=3 --seed 4", "--set seed: --seed sets it too; keep one"),
    ],
)
def test_a_word_without_sense_is_a_problem(words: str, problem: str) -> None:
    problems = parse(words.split()).problems
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_an_unknown_flag_takes_its_values_along() -> None:
    request = parse(["-v", "--bogus", "1", "2", "--seed", "3"])
    assert len(request.problems) == 1
    assert request.values["seed"].value == 3


def test_questions_are_told_from_runs() -> None:
    for words, answers in (
        (["--list"], (True, False)),
        (["--dry-run"], (False, True)),
        (["-v"], (False, False)),
    ):
        request = parse(words)
        assert (request.wants_list, request.wants_dry_run) == answers
        assert request.values == {}


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_names_every_flag(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse([word])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: main.py SETTING -m NAME -d NAME")
    assert all(name in shown for name in (*NAMES, "--set KEY=VALUE", "--list", "--dry-run"))


def test_the_epochs_of_a_transfer_are_those_of_its_second_step() -> None:
    assert parse(["-t", "-ne", "3"]).values == {"transfer_num_epochs": Value(3, "--num-epochs")}
    assert parse(["-c", "-ne", "3"]).values == {"num_epochs": Value(3, "--num-epochs")}


def test_a_flag_without_its_value_is_refused() -> None:
    with pytest.raises(UserError, match="expected one argument"):
        parse(["-v", "--seed"])
