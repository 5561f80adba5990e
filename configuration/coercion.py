"""Checking a value of a YAML file or of the command line against the type that a record's field declares."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from configuration import registration
from configuration.errors import UserError
from configuration.merge import Layer, Value, by_net, nearest, raise_all, unknown_keys
from configuration.text import expanded


def coerced(
    layer: Layer, hints: Mapping[str, object], nets: Sequence[str]
) -> tuple[dict[str, Value], list[str]]:
    """Return the values of the keys that have a hint, each of its type, and one line per value that is not.

    Args:
        layer: values as YAML reads them; a table by net is looked up.
        hints: the type of each key.
        nets: the names that a table by net is asked for, in this order.
    """
    values: dict[str, Value] = {}
    problems: list[str] = []
    for key in (key for key in layer if key in hints):
        value = layer[key]
        base = Path.cwd() if value.is_typed else registration.ROOT
        problems += [value.problem(key, line) for line in _wrong_rows(value.value)]
        try:
            values[key] = Value(coerce(by_net(value.value, nets), hints[key], base), value.origin)
        except ValueError as error:
            problems.append(value.problem(key, str(error)))
    return values, problems


def _wrong_rows(value: object) -> Iterator[str]:
    """Yield a line per row of a table by net that belongs to no net."""
    for row in value if isinstance(value, dict) else ():
        if row not in (*registration.NETS, "default") and not str(row).startswith(registration.TIMM):
            yield f"has a row for '{row}', which is no net{nearest(str(row), registration.NETS)}"


def fill(record: type[Any], layer: Layer, prefix: str, nets: Sequence[str], file: str) -> Any:
    """Build the record of a method's or a data set's own keys; every key meets a field and every field a key.

    Args:
        record: a frozen dataclass; it may refuse values by a ValueError that names the field.
        layer: its keys, each a field's name with the prefix in front.
        prefix: "_", or the name of the data set and "_".
        nets: the names that a table by net is asked for, in this order.
        file: the YAML file that has to declare the keys.

    Raises:
        UserError: one line per problem.
    """
    types = get_type_hints(record)
    hints = {prefix + field.name: types[field.name] for field in fields(record)}
    values, problems = coerced(layer, hints, nets)
    missing = [f"{file}: key '{key}' is missing" for key in hints if key not in layer]
    raise_all([*unknown_keys(layer, hints), *problems, *missing])
    arguments = {key.removeprefix(prefix): value for key, value in values.items()}
    try:
        return record(**{name: value.value for name, value in arguments.items()})
    except ValueError as error:
        named = [value for name, value in arguments.items() if name in str(error)]
        origins = [value.origin for value in sorted(named, key=lambda value: not value.is_typed)]
        raise UserError(f"{next(iter(origins), file)}: {error}") from None


def coerce(value: object, hint: object, base: Path) -> object:
    """Return the value as the type says: lists become tuples, texts paths, whole numbers floats.

    Args:
        value: as YAML reads it.
        hint: int, float, bool, str, Path, Literal, tuple[X, ...], or a union of these and None.
        base: folder that a relative path starts from.

    Raises:
        ValueError: the value is not of that type; the message goes on after the name of the key.
    """
    if get_origin(hint) in (Union, UnionType):
        return _one_of(value, hint, base)
    if get_origin(hint) is Literal:
        return _literal(value, hint)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise _mismatch(value, hint)
        return tuple(coerce(item, get_args(hint)[0], base) for item in value)
    if hint is NoneType:
        if value is not None:
            raise _mismatch(value, hint)
        return None
    if hint is Path:
        if not isinstance(value, str) or value in ("", "None"):
            raise _mismatch(value, hint)
        return base / expanded(value)
    if not _FITS[hint](value):
        raise _mismatch(value, hint)
    return float(value) if hint is float else value  # type: ignore[arg-type]


_FITS: dict[object, Callable[[object], bool]] = {
    bool: lambda value: isinstance(value, bool),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool),
    float: lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
    ),
    str: lambda value: isinstance(value, str) and value != "None",
}

_WORDS: dict[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    Path: "a path",
    NoneType: "null",
}


def _one_of(value: object, hint: object, base: Path) -> object:
    for option in get_args(hint):
        try:
            return coerce(value, option, base)
        except ValueError:
            continue
    raise _mismatch(value, hint)


def _literal(value: object, hint: object) -> object:
    if any(value == choice and type(value) is type(choice) for choice in get_args(hint)):
        return value
    raise _mismatch(value, hint)


def _mismatch(value: object, hint: object) -> ValueError:
    return ValueError(f"must be {_in_words(hint)}, not {value!r}{_tip(value, hint)}")


def _in_words(hint: object) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_in_words(option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return " or ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return f"a list, each item {_in_words(get_args(hint)[0])}"
    return _WORDS[hint]


def _tip(value: object, hint: object) -> str:
    """Return the way out of the traps of YAML 1.1: None and 1e-3 are texts, off is a truth value."""
    if value == "None" and NoneType in get_args(hint):
        return "; write null"
    if get_origin(hint) is Literal:
        if isinstance(value, bool):
            return "; put on, off, yes and no in quotes"
        return nearest(str(value), map(str, get_args(hint)))
    if hint is float and isinstance(value, str):
        try:
            return f"; write {float(value):.1e}"
        except ValueError:
            return ""
    return ""
