"""What there is to choose from, as text; sources are read, not imported, so that the answer comes at once."""

import ast
import re
from collections.abc import Sequence

from configuration import registration
from configuration.rows import Row

_BACKBONE = "backbone"


def tables() -> str:
    """Return the registered methods, nets, data sets and settings as aligned tables.

    Raises:
        UserError: a row of the tables points nowhere.
    """
    registration.check_tables()
    models = [
        (name, _key(registration.MODEL_FOLDER, name, "net"), *_docstring(row))
        for name, row in registration.MODELS.items()
    ]
    carriers = {
        _key(registration.MODEL_FOLDER, name, "net")
        for name in registration.MODELS
        if _key(registration.MODEL_FOLDER, name, "_backbone")
    }
    nets = [(name, *_net(name, row, name in carriers)) for name, row in registration.NETS.items()]
    nets.append((f"{registration.TIMM}<name>", _BACKBONE, "any timm model that gives feature maps"))
    datasets = [
        (name, _key(registration.DATASET_FOLDER, name, "num_task"), _docstring(row)[0])
        for name, row in registration.DATASETS.items()
    ]
    settings = [(f"--{name}", row.meaning) for name, row in registration.SETTINGS.items()]
    return "\n\n".join(
        (
            _table(("METHOD (-m)", "default net", "what it does", "source"), models),
            _table(("NET (-n)", "kind", "what it is; a backbone also serves -bb"), nets),
            _table(("DATA SET (-d)", "tasks", "what it is"), datasets),
            _table(("SETTING", "what is done"), settings),
        )
    )


def _key(folder: str, name: str, key: str) -> str:
    """Return what a YAML file says of a key; "" where it says nothing."""
    layer = registration.layer(f"{folder}/{name}.yaml")
    return str(layer[key].value) if key in layer else ""


def _net(name: str, row: Row, carries_backbone: bool) -> tuple[str, str]:
    """Return what kind of net a row names, and what it is."""
    if not registration.is_backbone(name):
        return "own", _docstring(row)[0] + "; -bb chooses its backbone" * carries_backbone
    meanings = (
        keyword.value.value
        for node in _source(row).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _names(node) == [row[1]]
        for keyword in node.value.keywords
        if keyword.arg == "meaning" and isinstance(keyword.value, ast.Constant)
    )
    return _BACKBONE, str(next(meanings, ""))


def _names(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def _source(row: Row) -> ast.Module:
    return ast.parse(registration.source(row).read_text(encoding="utf-8"))


def _docstring(row: Row) -> tuple[str, str]:
    """Return the first line of a module's docstring and its source, up to the year and without the title."""
    text = ast.get_docstring(_source(row)) or ""
    source = re.search(r"Source: (.+?\b(?:19|20)\d\d\b(?!\.\d))", " ".join(text.split()))
    reference = re.sub(r'"[^"]*",? ?', "", source[1]) if source else ""
    return text.partition("\n")[0].rstrip("."), reference


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of equal length with their columns aligned, under the header and a rule."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = (header, ["-" * width for width in widths], *rows)
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
