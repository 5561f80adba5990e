"""The README says what the tables, the files and the flags say."""

import re
from collections.abc import Sequence

import pytest

from arch.base import ALL_SETTINGS
from configuration import registration
from configuration.merge import read_layer
from configuration.options import OPTIONS
from tests import readme
from tools.record_helper import COLUMNS

ROOT = readme.ROOT
FLAGS = {name for options in OPTIONS.values() for option in options for name in option.names}
FLAGS |= {"--set", "--list", "--dry-run", "--help"}
YAML_KEYS = {
    key for path in (ROOT / "configuration").glob("*/*.yaml") for key in read_layer(path.parent, path.name)
}
PICTURE_BYTES = 300_000


def names(title: str) -> list[str]:
    return [readme.code(row[0])[0] for row in readme.table(title)]


def test_the_table_of_methods_names_the_rows_of_the_registration() -> None:
    assert sorted(names("`-m`")) == sorted(registration.MODELS)


def test_the_table_of_nets_names_the_rows_of_the_registration() -> None:
    assert sorted(names("`-n`")) == sorted([*registration.NETS, "timm/<name>"])


def test_the_table_of_data_sets_names_the_rows_of_the_registration() -> None:
    assert sorted(names("`-d`")) == sorted(registration.DATASETS)


def test_the_table_of_settings_names_the_rows_of_the_registration() -> None:
    short = {option.key: option.names[1] for option in OPTIONS["settings (exactly one)"]}
    found = {row[0]: readme.code(row[1])[0] for row in readme.table("setting")}
    assert found == short


@pytest.mark.parametrize("row", readme.table("`-m`"), ids=lambda row: row[0])
def test_a_method_has_the_nets_and_settings_of_its_class(row: Sequence[str]) -> None:
    name = readme.code(row[0])[0]
    method = registration.load(registration.MODELS[name])
    nets = readme.code(row[3])
    default = read_layer(ROOT / "configuration", f"{registration.MODEL_FOLDER}/{name}.yaml")["net"].value
    assert nets[0] == default
    assert sorted(nets) == sorted(net.replace("*", "<name>") for net in method.nets)
    left_out = [setting for setting in ALL_SETTINGS if setting not in method.settings]
    most = "all" + (f" but {', '.join(left_out)}" if left_out else "")
    assert row[4] == (most if len(left_out) < len(method.settings) else ", ".join(method.settings))


@pytest.mark.parametrize("row", readme.table("`-d`"), ids=lambda row: row[0])
def test_a_data_set_has_the_classes_of_its_loader(row: Sequence[str]) -> None:
    name = readme.code(row[0])[0]
    classes = registration.load(registration.DATASETS[name]).classes
    layer = read_layer(ROOT / "configuration", f"{registration.DATASET_FOLDER}/{name}.yaml")
    assert int(row[2]) == len(classes) == layer["num_task"].value


def test_the_columns_are_those_of_the_results() -> None:
    assert tuple(name for row in readme.table("columns") for name in readme.code(row[0])) == COLUMNS


def test_every_flag_exists() -> None:
    shell = " ".join(readme.commands())
    words = [*shell.split(), *(word for span in readme.code(readme.prose()) for word in span.split())]
    found = {word for word in words if re.fullmatch(r"--?[a-z][\w-]*", word)}
    assert found <= FLAGS, "a flag that does not exist"


def test_every_key_exists() -> None:
    spans = [*readme.code(readme.prose()), *readme.commands()]
    overridden = {key for span in spans for key in re.findall(r"--set ([a-z_]+)=", span)}
    limits = {span for span in spans if re.fullmatch(r"[a-z]+(_[a-z]+)*_(mb|gb|size)", span)}
    assert overridden
    assert limits
    assert overridden | (limits - set(COLUMNS)) <= YAML_KEYS, "a key that no YAML file declares"


def test_every_link_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
        for line in readme.prose().splitlines()
        if line.startswith("#")
    }
    for target in re.findall(r"\]\(([^)]+)\)", readme.prose()):
        if target.startswith("#"):
            assert target[1:] in headings
        else:
            assert (ROOT / target).is_file(), target


def test_every_file_that_is_named_exists() -> None:
    paths = {span for span in readme.code(readme.prose()) if re.fullmatch(r"[\w./]+\.(py|md|yaml)", span)}
    added = {readme.code(block.before)[-1] for block in readme.blocks() if readme.code(block.before)}
    assert not {path for path in paths - added if not (ROOT / path).is_file()}


def test_the_pictures_are_small() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "docs").glob("picture*.png")) <= PICTURE_BYTES
