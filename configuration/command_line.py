"""Sorting the words of a command line by the keys that they set."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from configuration import registration
from configuration.errors import UserError
from configuration.merge import Value, nearest, parse_yaml
from configuration.options import FLAG_ONLY, OPTIONS


@dataclass(frozen=True)
class Request:
    """What was typed.

    Args:
        values: key -> value, from the flags and --set.
        settings: the setting flags given.
        wants_list: --list was given.
        problems: one line for each word that makes no sense.
    """

    values: Mapping[str, Value]
    settings: tuple[str, ...]
    wants_list: bool
    wants_dry_run: bool
    problems: tuple[str, ...]


def parse(argv: Sequence[str]) -> Request:
    """Sort the words of the command line; where a flag is given twice, the last one counts.

    Raises:
        UserError: a flag lacks its value.
        SystemExit: --help was given and has been answered.
    """
    words, problems = _without_unknown_flags(argv)
    namespace, strays = _parser().parse_known_args(words)
    given = vars(namespace)
    overrides, override_problems = _overrides(given.pop("set", []))
    actions = {name: given.pop(name, False) for name in ("list", "dry_run")}
    flags = {key: _value(key, found) for key, found in given.items()}
    settings = tuple(name for name in registration.SETTINGS if name in flags)
    for name in settings:
        for key, other in registration.SETTINGS[name].flag_keys.items():
            flags |= {other: flags.pop(key)} if key in flags else {}
    problems += [*map(_stray, strays), *override_problems]
    problems += [
        f"{overrides[key].origin}: {flags[key].origin} sets it too; keep one"
        for key in overrides
        if key in flags
    ]
    return Request(
        values={
            **overrides,
            **{key: value for key, value in flags.items() if key not in registration.SETTINGS},
        },
        settings=settings,
        wants_list=actions["list"],
        wants_dry_run=actions["dry_run"],
        problems=tuple(problems),
    )


def _stray(word: str) -> str:
    hint = f"; repeat the flag: --set {word}" if "=" in word else ""
    return f"{word!r} belongs to no flag{hint}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="main.py",
        usage="main.py SETTING -m NAME -d NAME [-n NAME] [-tid ID ...] [more flags]",
        description="IM-IAD: train and test an anomaly detection method on industrial images.",
        formatter_class=partial(argparse.HelpFormatter, max_help_position=32, width=110),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for title, options in OPTIONS.items():
        group = parser.add_argument_group(title)
        for option in options:
            if option.metavar:
                group.add_argument(
                    *option.names,
                    dest=option.key,
                    nargs="+" if option.many else None,
                    metavar=option.metavar,
                    help=option.meaning,
                )
            else:
                constant = Value(option.constant, option.names[0])
                group.add_argument(
                    *option.names, dest=option.key, action="store_const", const=constant, help=option.meaning
                )
    parser.add_argument(
        "--set", action="append", metavar="KEY=VALUE", help="override any key of the YAML files; repeatable"
    )
    parser.add_argument(
        "--list", action="store_true", help="show models, nets, data sets and settings, and stop"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show the configuration with the origin of every value, and stop",
    )
    return parser


def _without_unknown_flags(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words without the flags that are not there, and a line for each; argparse would guess."""
    known = {name for options in OPTIONS.values() for option in options for name in option.names}
    known |= {"--set", "--list", "--dry-run", "--help", "-h"}
    kept: list[str] = []
    problems: list[str] = []
    is_kept = True
    for word in argv:
        name = word.split("=")[0]
        if name.startswith("-") and not name[1:2].isdigit():
            is_kept = name in known and (name == word or name.startswith("--"))
            if not is_kept:
                problems.append(f"{name}: no such flag{nearest(name, known)}")
        if is_kept:
            kept.append(word)
    return kept, problems


def _value(key: str, found: Value | str | list[str]) -> Value:
    """Return what a flag sets; a word that its kind cannot read stays a text, for the type check to name."""
    if isinstance(found, Value):
        return found
    option = next(option for options in OPTIONS.values() for option in options if option.key == key)
    words = [_read(option.kind, word) for word in ([found] if isinstance(found, str) else found)]
    return Value(words if option.many else words[0], option.names[0])


def _read(kind: Callable[[str], object], word: str) -> object:
    try:
        return kind(word)
    except ValueError:
        return word


def _overrides(words: Sequence[str]) -> tuple[dict[str, Value], list[str]]:
    values: dict[str, Value] = {}
    problems: list[str] = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            problems.append(f"--set {word}: write --set KEY=VALUE")
        elif key in FLAG_ONLY:
            problems.append(f"--set {key}: no key of a YAML file; use --{key}")
        else:
            try:
                values[key] = Value(parse_yaml(text), f"--set {key}")
            except ValueError as error:
                problems.append(f"--set {key}: {text!r} is no YAML value ({error})")
    return values, problems
