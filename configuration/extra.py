"""A folder of one's own, outside of this tree and of the same layout: rows, files and modules to add."""

import ast
import os
from importlib import import_module
from pathlib import Path

from configuration.errors import UserError
from configuration.rows import Row
from configuration.text import expanded

VARIABLE = "IMIAD_EXTRA"
TABLES = ("MODELS", "DATASETS", "NETS")  # that such a folder may add rows to
PACKAGES = (  # whose modules such a folder may add to
    *("arch", "arch.kinds", "augmentation", "dataset", "loss_function", "metric"),
    *("models", "models.backbones", "models.common", "optimizer"),
)
ROWS_FILE = "configuration/registration.py"
_PLAIN = (ast.Assign, ast.AnnAssign, ast.Expr, ast.Import, ast.ImportFrom)  # statements of a file of tables


def extra_folder() -> Path | None:
    """Return the folder that the environment names; None where it names none."""
    found = os.environ.get(VARIABLE)
    if not found:
        return None
    try:
        return expanded(found).absolute()
    except ValueError:
        return Path(found).absolute()  # which is not there, as `extra_rows` says


def extra_rows(folder: Path) -> dict[str, dict[str, Row]]:
    """Return the rows of a folder by table; its tables are read as literals, and nothing of it is run.

    Raises:
        UserError: there is no such file, or it is no table of (module, name) rows.
    """
    path = folder / ROWS_FILE
    try:
        module = ast.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"${VARIABLE}: cannot read {path} ({error.strerror}); write it or unset the variable"
        ) from None
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path}: no Python that can be read ({error}); mend it") from None
    rows: dict[str, dict[str, Row]] = {title: {} for title in TABLES}
    for node in module.body:
        if not isinstance(node, _PLAIN) or (
            isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
        ):
            raise UserError(
                f"{path}: line {node.lineno} is more than a table, which alone is read; remove it"
            )
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names = [target.id for target in targets if isinstance(target, ast.Name) and target.id in rows]
        for name in names:
            rows[name] |= _literal_rows(path, name, getattr(node, "value", None))
    return rows


def _literal_rows(path: Path, title: str, node: ast.expr | None) -> dict[str, Row]:
    try:
        found = ast.literal_eval(node or "{}")
    except (ValueError, TypeError, SyntaxError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(
        isinstance(key, str) and _is_row(row) for key, row in found.items()
    ):
        raise UserError(f'{path}: {title} must be a table of rows like "name": ("module", "what is in it")')
    return found


def _is_row(row: object) -> bool:
    return isinstance(row, tuple) and len(row) == 2 and all(isinstance(part, str) for part in row)


def reach_modules(folder: Path) -> None:
    """Let the packages of this tree find the modules of the folder as well."""
    for package in PACKAGES:
        place = folder / package.replace(".", "/")
        if place.is_dir():
            paths = import_module(package).__path__
            if str(place) not in paths:
                paths.append(str(place))
