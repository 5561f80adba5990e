"""All backbones by name: the rows in the modules of this package, and timm's models."""

import pkgutil
from functools import cache
from importlib import import_module

import models.backbones
from models.backbones.row import BackboneRow
from models.backbones.timm_nets import PREFIX, timm_row


def backbone_rows() -> dict[str, BackboneRow]:
    """Return name -> row; a module that a folder of one's own adds to this package counts as well.

    Raises:
        ValueError: a module of one's own cannot be imported.
    """
    return _rows_in(tuple(models.backbones.__path__))


@cache
def _rows_in(folders: tuple[str, ...]) -> dict[str, BackboneRow]:
    found: list[BackboneRow] = []
    for place in pkgutil.iter_modules(folders):
        name = f"{models.backbones.__name__}.{place.name}"
        try:
            values = vars(import_module(name)).values()
        except ImportError as error:
            raise ValueError(f"{name} cannot be imported ({error})") from error
        found += [value for value in values if isinstance(value, BackboneRow)]
    return {row.name: row for row in found}


def row_of(name: str) -> BackboneRow:
    """Return the row of a backbone.

    Raises:
        ValueError: there is no such backbone.
    """
    if name.startswith(PREFIX):
        return timm_row(name)
    rows = backbone_rows()
    if name not in rows:
        raise ValueError(f"no backbone is called '{name}'; there are {', '.join([*rows, 'timm/<model>'])}")
    return rows[name]
