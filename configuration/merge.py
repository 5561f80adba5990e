"""Layers of keys: reading one from a YAML file, laying one over the other, naming what no file declares."""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from configuration.errors import UserError
from configuration.text import read_text

_Loader = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # the same loader in C, where PyYAML was built with it


_DEEPEST = 20  # values inside each other


@dataclass(frozen=True)
class Value:
    """A value of a key and where it comes from: a file under configuration/, or a flag."""

    value: Any
    origin: str

    @property
    def is_typed(self) -> bool:
        """Whether it was given on the command line."""
        return self.origin.startswith("-")

    def problem(self, key: str, message: str) -> str:
        """Return the line that tells what is wrong with this value of a key."""
        return f"{self.origin}: {message}" if self.is_typed else f"{self.origin}: '{key}' {message}"


Layer = Mapping[str, Value]


def read_layer(folder: Path, name: str) -> Layer:
    """Read one YAML file of plain keys.

    Args:
        folder: where `name` is relative to.
        name: path of the file as errors and origins shall call it.

    Raises:
        UserError: no such file, no YAML, a tag other than YAML's own, or a key that stands twice.
    """
    text = read_text(folder / name, "restore it", name)
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise UserError(*(f"{name}: {line}" for line in str(error).splitlines())) from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{name}: lines of the form 'key: value' are expected")
    return {key: Value(value, name) for key, value in content.items()}


def parse_yaml(text: str) -> object:
    """Return what a YAML text says, plain values only.

    Raises:
        ValueError: a syntax error, a tag that stands for an object or does not fit its value, a key that
            stands twice (a line for each), an alias, or values inside each other without end.
    """
    try:
        _refuse_endless(text)
        twice = sorted(_keys_that_stand_twice(yaml.compose(text, Loader=_Loader)))
        if twice:
            raise ValueError("\n".join(f"key '{key}' stands twice; keep one" for key in twice))
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(_yaml_problem(error)) from None
    except (AttributeError, TypeError, OverflowError) as error:  # what constructors of values say of others
        raise ValueError(f"a value does not fit its tag ({error})") from None


def _refuse_endless(text: str) -> None:
    """Refuse what a few lines can make larger than any memory, or deeper than any stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"the alias *{event.anchor} is not read; write its value out")
        if depth > _DEEPEST:
            raise ValueError(f"has more than {_DEEPEST} values inside each other")


def _yaml_problem(error: yaml.YAMLError) -> str:
    """Return a YAML error in one line, with its line number."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
    return f"{where}{error.problem}"


def merge(*layers: Layer) -> dict[str, Value]:
    """Lay the layers over each other; a later one is stronger."""
    return {key: value for layer in layers for key, value in layer.items()}


def by_net(value: object, nets: Iterable[str]) -> object:
    """Return the first of the nets' row of a table by net, else its row `default`; other values as they are.

    The row of timm/resnet18 is that of timm/resnet18.a1_in1k as well, unless this has its own.

    Raises:
        ValueError: the table has no row for any of the nets.
    """
    if not isinstance(value, dict):
        return value
    names = [name for net in nets for name in (net, net.partition(".")[0])]
    for name in (*names, "default"):
        if name in value:
            return value[name]
    raise ValueError(f"has no row for the net {' or '.join(filter(None, nets))}; add it, or a row 'default'")


def unknown_keys(layer: Layer, known: Iterable[str]) -> Iterator[str]:
    """Yield one line for each key of a layer that is not known."""
    names = list(known)
    for key, value in layer.items():
        if key not in names:
            yield f"{value.origin}: unknown key '{key}'{nearest(key, names)}"


def raise_all(problems: Iterable[str]) -> None:
    """Raise all problems as one error, a line each; none of them, none is raised."""
    lines = list(dict.fromkeys(problems))
    if lines:
        raise UserError(*lines)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the most similar name, or nothing where none is similar."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean '{found[0]}'?" if found else ""


def _keys_that_stand_twice(node: object) -> set[str]:
    if isinstance(node, yaml.SequenceNode):
        return {key for item in node.value for key in _keys_that_stand_twice(item)}
    if not isinstance(node, yaml.MappingNode):
        return set()
    keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
    deeper = {key for _, item in node.value for key in _keys_that_stand_twice(item)}
    return deeper | {key for key, number in keys.items() if number > 1}
