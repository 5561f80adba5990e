"""The documents say what the tables, the files and the flags say, and lead to each other."""

import re
from pathlib import Path

import pytest

from configuration import registration
from configuration.merge import read_layer
from configuration.options import OPTIONS
from models.backbones.table import backbone_rows
from tests.documents import ADDING, DOCUMENTS, MANUAL, METHODS, NETS, README, RESULTS, ROOT, Document, code
from tools.record_helper import COLUMNS

FOLDERS = ("programs", "benchmarks")  # of what is run by `python3 -m`
FLAGS = {name for options in OPTIONS.values() for option in options for name in option.names}
FLAGS |= {"--set", "--list", "--dry-run", "--help"}
PROGRAM_FLAGS = {
    flag
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    for flag in re.findall(r'"(--?[a-z][\w-]*)"', path.read_text(encoding="utf-8"))
}
YAML_FILES = sorted((ROOT / "configuration").glob("*/*.yaml"))
YAML_KEYS = {key for path in YAML_FILES for key in read_layer(path.parent, path.name)}
YAML_WORDS = {word for path in YAML_FILES for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}
KNOWN = {*YAML_WORDS, *COLUMNS, *registration.MODELS, *registration.NETS, *registration.DATASETS}
ADDED = {code(block.before)[-1] for block in ADDING.blocks if code(block.before)}

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=str)
every_page = pytest.mark.parametrize("page", MANUAL, ids=str)


def entry(section: str, title: str) -> str:
    """Return what a section of a method says behind a title in bold."""
    found = re.search(rf"^- \*\*{title}\*\*: (.+?)(?=^- |^$)", section, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no {title}"
    return " ".join(found[1].split())


def test_every_method_has_a_section_in_the_order_of_the_readme() -> None:
    assert list(METHODS.sections) == [code(row[0])[0] for row in README.table("`-m`")]


@pytest.mark.parametrize("name", registration.MODELS)
def test_a_section_names_the_nets_of_its_method_the_default_first(name: str) -> None:
    method = registration.load(registration.MODELS[name])
    nets = code(entry(METHODS.sections[name], "Nets").partition(";")[0])
    layer = read_layer(ROOT / "configuration", f"{registration.MODEL_FOLDER}/{name}.yaml")
    assert nets[0] == layer["net"].value
    assert sorted(nets) == sorted(net.replace("*", "<name>") for net in method.nets)


@pytest.mark.parametrize("row", README.table("`-m`"), ids=lambda row: row[0])
def test_a_section_names_the_settings_of_the_readme(row: list[str]) -> None:
    assert entry(METHODS.sections[code(row[0])[0]], "Settings") == row[3]


@pytest.mark.parametrize("name", registration.MODELS)
def test_a_section_names_keys_of_its_method(name: str) -> None:
    layer = read_layer(ROOT / "configuration", f"{registration.MODEL_FOLDER}/{name}.yaml")
    spans = [span for span in code(METHODS.sections[name]) if span not in registration.MODELS]
    keys = {found[1] for span in spans if (found := re.fullmatch(r"(_\w+)(?:[=:].*)?", span, re.DOTALL))}
    assert keys <= set(layer)


@pytest.mark.parametrize("name", registration.MODELS)
def test_a_section_says_what_was_measured(name: str) -> None:
    section = METHODS.sections[name]
    assert "| measured |" in section or "not measured" in section


def test_the_table_of_nets_names_the_rows_of_the_registration() -> None:
    found = [code(row[0])[0] for row in NETS.table("`-n`")]
    assert sorted(found) == sorted([*registration.NETS, "timm/<name>"])


def test_a_backbone_has_the_licence_of_its_row() -> None:
    found = {code(row[0])[0]: row[3] for row in NETS.table("`-n`")}
    assert {name: found[name] for name in backbone_rows()} == {
        name: row.licence for name, row in backbone_rows().items()
    }


def test_the_columns_are_those_of_the_results() -> None:
    assert tuple(name for row in RESULTS.table("columns") for name in code(row[0])) == COLUMNS


@every_document
def test_every_flag_exists(document: Document) -> None:
    words = [word for part in (*document.commands, *document.spans) for word in part.split()]
    found = {word for word in words if re.fullmatch(r"--?[a-z][\w-]*", word)}
    invented = {"--sparse", "-y"} if document == ADDING else set()
    assert found <= FLAGS | PROGRAM_FLAGS | invented, "a flag that does not exist"


@every_document
def test_every_key_that_is_set_exists(document: Document) -> None:
    parts = [*document.spans, *document.commands]
    invented = {"sparse_every"} if document == ADDING else set()
    found = {key for part in parts for key in re.findall(r"--set ([a-z_]\w*)=", part)}
    assert found <= YAML_KEYS | invented


@every_page
def test_every_name_exists(page: Document) -> None:
    parts = [*page.spans, *page.commands]
    found = {part for part in parts if re.fullmatch(r"_?[a-z0-9]+(_[a-z0-9]+)+", part)}
    assert found <= KNOWN, "neither a key, a value, a column, a method, a net nor a data set"


def test_the_pages_name_keys_columns_and_flags() -> None:
    spans = {span for page in MANUAL for span in page.spans}
    assert {"cache_limit_gb", "image_auroc", "--dry-run"} <= spans


@every_document
def test_every_link_leads_somewhere(document: Document) -> None:
    for link in document.links:
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        path = (document.path.parent / target).resolve() if target else document.path
        assert path.is_file(), link
        if anchor:
            assert anchor in Document(path.relative_to(ROOT).as_posix()).anchors, link


@every_document
def test_every_file_that_is_named_exists(document: Document) -> None:
    paths = {span for span in document.spans if re.fullmatch(r"\w[\w./]*/[\w./]+\.(py|md|yaml|txt)", span)}
    assert not {path for path in paths - ADDED if not (ROOT / path).is_file()}


@every_document
def test_every_program_that_is_named_exists(document: Document) -> None:
    parts = " ".join([*document.commands, *document.spans])
    modules = set(re.findall(rf"(?<![\w/])((?:{'|'.join((*FOLDERS, 'tools'))})\.\w+)", parts))
    assert not {name for name in modules if not is_module(name)}


def is_module(name: str) -> bool:
    path = ROOT / Path(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
