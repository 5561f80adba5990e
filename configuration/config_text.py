"""The resolved configuration as text: what --dry-run shows and a run's config.yaml holds."""

from collections.abc import Mapping

import yaml

_UNLIMITED = 10**9  # characters in a line of YAML: one key, one line


def config_text(values: Mapping[str, object], origin: Mapping[str, str]) -> str:
    """Return the resolved configuration as YAML, one key per line, with a comment where its value is from."""
    lines = [(_yaml_line(key, value), origin.get(key, "")) for key, value in values.items()]
    width = max((len(line) for line, source in lines if source), default=0)
    return "".join(f"{line:<{width}}  # {source}\n" if source else f"{line}\n" for line, source in lines)


def _yaml_line(key: str, value: object) -> str:
    text = yaml.safe_dump({key: _plain(value)}, default_flow_style=True, width=_UNLIMITED, allow_unicode=True)
    return text.strip()[1:-1]  # without the braces


def _plain(value: object) -> object:
    """Return the value in the types that YAML knows."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
