"""The tables: every row is somewhere, every file has a row, nothing is imported to know it."""

import subprocess
import sys

import pytest
from torch import nn

from configuration import registration
from configuration.errors import UserError
from configuration.merge import read_layer
from configuration.rows import Row
from models.backbones.table import backbone_rows
from tests.stub_house import House

ROOT = registration.ROOT


def test_the_project_s_own_tables_hold() -> None:
    registration.check_tables()


@pytest.mark.parametrize(
    ("folder", "key", "table"),
    [
        (registration.MODEL_FOLDER, "model", registration.MODELS),
        (registration.DATASET_FOLDER, "dataset", registration.DATASETS),
    ],
)
def test_every_yaml_file_has_a_row(folder: str, key: str, table: dict[str, Row]) -> None:
    found = {path.stem for path in (ROOT / "configuration" / folder).glob("*.yaml")}
    assert found == set(table)
    assert all(
        read_layer(ROOT / "configuration", f"{folder}/{name}.yaml")[key].value == name for name in found
    )


@pytest.mark.parametrize(
    ("folder", "table", "no_method"),
    [
        ("arch", registration.MODELS, {"base", "prediction", "runtime"}),
        ("dataset", registration.DATASETS, {"base", "folders", "mvtec_layout", "example_images"}),
    ],
)
def test_every_file_of_a_folder_has_a_row(folder: str, table: dict[str, Row], no_method: set[str]) -> None:
    files = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__", *no_method}
    assert files == {module.removeprefix(f"{folder}.") for module, _ in table.values()}


def test_every_net_of_a_row_is_the_backbone_or_the_class_of_its_name() -> None:
    backbones = {name for name in registration.NETS if registration.is_backbone(name)}
    assert backbones == set(backbone_rows())
    for name, row in registration.NETS.items():
        net = registration.load(row)
        assert backbone_rows()[name] is net if name in backbones else issubclass(net, nn.Module)


def test_a_row_that_points_nowhere_is_named(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    registration.check_tables()
    monkeypatch.setitem(registration.MODELS, "lost", ("stub_arch.lost", "Lost"))
    monkeypatch.setitem(registration.DATASETS, "twin", ("stub_dataset.bolts", "Bolts"))
    house.trained.write_text("model: other\n")
    with pytest.raises(UserError) as caught:
        registration.check_tables()
    where, folder = "configuration/registration.py: ", "configuration/"
    no_model, no_dataset = "is missing or has no line 'model:", "is missing or has no line 'dataset:"
    assert str(caught.value).splitlines() == [
        f"{where}MODELS['trained']: {folder}1_model_base/trained.yaml {no_model} trained'",
        f"{where}MODELS['lost']: stub_arch/lost.py has no Lost; write it or correct the row",
        f"{where}MODELS['lost']: {folder}1_model_base/lost.yaml {no_model} lost'",
        f"{where}DATASETS['twin']: {folder}3_dataset_base/twin.yaml {no_dataset} twin'",
        f"{where}DATASETS['twin']: the same row as 'bolts'; keep one name",
    ]


@pytest.mark.usefixtures("house")
def test_a_row_loads_its_class() -> None:
    assert registration.load(registration.MODELS["bank"]).__name__ == "Bank"


def test_backbones_are_told_from_nets() -> None:
    assert registration.is_backbone("resnet18")
    assert registration.is_backbone("timm/resnet10t")
    assert not registration.is_backbone("net_example")
    assert not registration.is_backbone("nothing")


def test_no_torch_is_needed_to_know_the_tables() -> None:
    program = "import sys, main; assert not {'torch', 'numpy', 'arch', 'dataset'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
