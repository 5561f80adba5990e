"""Who may import whom: what a folder imports of the project stands in this table and nowhere else."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ERRORS = "configuration.errors"
RECORDS = ("data_io.records", "configuration.config")
ALLOWED: dict[str, tuple[str, ...]] = {
    "data_io/records.py": (ERRORS,),
    "configuration": ("configuration",),
    "dataset": ("dataset", "data_io.records", ERRORS),
    "augmentation": ("augmentation",),
    "loss_function": ("loss_function",),
    "optimizer": ("optimizer",),
    "models": ("models",),
    "metric": ("metric",),
    "data_io": ("data_io", "augmentation", "dataset.base", "configuration.config", ERRORS),
    "arch": ("arch", "models", "loss_function", "optimizer", "augmentation", *RECORDS, ERRORS),
    "tools": ("tools", ERRORS),
}
PROJECT = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"main"}
LIBRARIES = {
    "data_io/records.py": {"numpy", "PIL", "timm", "scipy"},
    "metric": {"torch"},
    "configuration": {"torch"},
}
FILES = [
    path.relative_to(ROOT)
    for folder in sorted(PROJECT - {"main"})
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def imports(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse((ROOT / path).read_text())))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} if "." in node.module else {f"{node.module}.{a.name}" for a in node.names}
    return found


def is_program(path: Path) -> bool:
    return path.parts[0] == "tools" and "__main__" in (ROOT / path).read_text()


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_only_what_its_folder_may(path: Path) -> None:
    room = path.as_posix() if path.as_posix() in ALLOWED else path.parts[0]
    found = imports(path)
    if room in ALLOWED and not is_program(path):
        of_project = {name for name in found if name.split(".")[0] in PROJECT}
        stray = {n for n in of_project if not any(f"{n}.".startswith(f"{ok}.") for ok in ALLOWED[room])}
        assert not stray
    assert "main" not in {name.split(".")[0] for name in found}
    if path != Path("configuration/device.py"):
        assert not {name.split(".")[0] for name in found} & LIBRARIES.get(room, set())
