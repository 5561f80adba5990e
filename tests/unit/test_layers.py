"""Who may import whom: the table of CONTRIBUTING.md, folder by folder, and no circle anywhere."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ERRORS = "configuration.errors"
TEXT = "configuration.text"
ALLOWED: dict[str, tuple[str, ...]] = {  # besides the folder itself
    "configuration": (),
    "data_io/records.py": (ERRORS,),
    "dataset": ("data_io.records", ERRORS, TEXT),
    "augmentation": (),
    "loss_function": (),
    "optimizer": (),
    "models": (),
    "metric": (),
    "tools": (ERRORS, TEXT),
    "data_io": ("augmentation", "dataset.base", "configuration"),
    "arch": (
        *("models", "loss_function", "optimizer", "augmentation"),
        *("data_io.records", "configuration.config", ERRORS),
    ),
    "paradigms": (
        *("configuration", "data_io", "dataset", "augmentation", "loss_function", "optimizer", "models"),
        *("metric", "tools", "arch"),
    ),
    "main.py": ("configuration", "paradigms"),
}
ALLOWED["programs"] = (*ALLOWED["paradigms"], "paradigms")
LIBRARIES = {  # that a folder does not import
    "data_io/records.py": {"numpy", "PIL", "timm", "scipy"},
    "metric": {"torch"},
    "configuration": {"torch"},
}
FOLDERS = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
FILES = [Path("main.py")] + [
    path.relative_to(ROOT) for folder in sorted(FOLDERS) for path in sorted((ROOT / folder).rglob("*.py"))
]


def imports(path: Path) -> set[str]:
    """Return what a file imports, wherever in it, as module.name."""
    nodes = list(ast.walk(ast.parse((ROOT / path).read_text())))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    return path.as_posix() if path.as_posix() in ALLOWED else path.parts[0]


def module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def test_every_folder_has_a_line_in_the_table() -> None:
    assert {name for name in ALLOWED if "." not in name} == FOLDERS


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_only_what_its_folder_may(path: Path) -> None:
    found = imports(path)
    of_project = {name for name in found if name.split(".")[0] in {*FOLDERS, "main", "tests", "benchmarks"}}
    may = ALLOWED[room(path)] if room(path).endswith(".py") else (*ALLOWED[room(path)], room(path))
    stray = {name for name in of_project if not any(f"{name}.".startswith(f"{ok}.") for ok in may)}
    assert not stray
    if path != Path("configuration/device.py"):
        assert not {name.split(".")[0] for name in found} & LIBRARIES.get(room(path), set())


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = {module(path): path for path in FILES}
    graph = {
        name: {
            other
            for found in imports(path)
            for other in (found, found.rpartition(".")[0])
            if other in modules and other != name
        }
        for name, path in modules.items()
    }
    TopologicalSorter(graph).prepare()
