"""The README is short, and its tables say what the registration says."""

from collections.abc import Sequence

import pytest

from configuration import registration
from configuration.merge import read_layer
from configuration.options import OPTIONS
from tests.documents import METHODS, README, ROOT, code

LONGEST = 14_000  # bytes that one reads to the end
PICTURE_BYTES = 300_000


def names(title: str) -> list[str]:
    return [code(row[0])[0] for row in README.table(title)]


def test_it_is_read_to_the_end() -> None:
    assert README.path.stat().st_size <= LONGEST


def test_the_table_of_methods_names_the_rows_of_the_registration() -> None:
    assert sorted(names("`-m`")) == sorted(registration.MODELS)


def test_the_table_of_data_sets_names_the_rows_of_the_registration() -> None:
    assert sorted(names("`-d`")) == sorted(registration.DATASETS)


def test_the_table_of_settings_names_the_rows_of_the_registration() -> None:
    short = {option.key: option.names[1] for option in OPTIONS["settings (exactly one)"]}
    found = {row[0]: code(row[1])[0] for row in README.table("setting")}
    assert found == short


@pytest.mark.parametrize("row", README.table("`-m`"), ids=lambda row: row[0])
def test_a_method_has_the_settings_of_its_class(row: Sequence[str]) -> None:
    settings = registration.load(registration.MODELS[code(row[0])[0]]).settings
    left_out = [setting for setting in registration.SETTINGS if setting not in settings]
    most = "all" + (f" but {', '.join(left_out)}" if left_out else "")
    assert row[3] == (most if len(left_out) < len(settings) else ", ".join(settings))


@pytest.mark.parametrize("row", README.table("`-m`"), ids=lambda row: row[0])
def test_a_method_has_the_paper_of_its_section(row: Sequence[str]) -> None:
    section = " ".join(METHODS.sections[code(row[0])[0]].split())
    authors, *rest = row[2].split(", ")
    assert authors.removeprefix("this ") in section
    assert all(word in section for word in rest)


@pytest.mark.parametrize("row", README.table("`-d`"), ids=lambda row: row[0])
def test_a_data_set_has_the_classes_of_its_loader(row: Sequence[str]) -> None:
    name = code(row[0])[0]
    classes = registration.load(registration.DATASETS[name]).classes
    layer = read_layer(ROOT / "configuration", f"{registration.DATASET_FOLDER}/{name}.yaml")
    assert int(row[2]) == len(classes) == layer["num_task"].value


def test_it_leads_to_every_page() -> None:
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert pages <= set(README.links)


def test_the_pictures_are_small() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "docs").glob("picture*.png")) <= PICTURE_BYTES
