"""What there is to choose from, as text; sources are read, not imported, so that the answer comes at once."""

import ast
import re
from collections.abc import Sequence

from configuration import registration
from configuration.merge import read_layer


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
    nets = [(name, kind, meaning) for name, (kind, meaning) in registration.NETS.items()]
    nets.append(
        (f"{registration.TIMM}<name>", registration.BACKBONE, "any timm model that gives feature maps")
    )
    datasets = [
        (name, _key(registration.DATASET_FOLDER, name, "num_task"), _docstring(row)[0])
        for name, row in registration.DATASETS.items()
    ]
    settings = [(f"--{name}", meaning) for name, meaning in registration.SETTINGS.items()]
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
    layer = read_layer(registration.ROOT / "configuration", f"{folder}/{name}.yaml")
    return str(layer[key].value) if key in layer else ""


def _docstring(row: registration.Row) -> tuple[str, str]:
    """Return the first line of a module's docstring and its source, up to the year and without the title."""
    path = registration.ROOT / (row[0].replace(".", "/") + ".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
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
