"""The tables of --list."""

from configuration.listing import tables
from tests.stub_house import House


def test_every_name_stands_in_the_list_with_what_it_is(house: House) -> None:
    path = house.root / "stub_arch/methods.py"
    source = 'Source: Roth et al., "Towards Total Recall", CVPR 2022.'
    path.write_text(path.read_text().replace("Stubs of two methods.", f"Stubs: two.\n\n{source}\n", 1))
    lines = tables().splitlines()
    assert "bank         resnet18     Stubs: two    Roth et al., CVPR 2022" in lines
    assert "trained      net_trained  Stubs: two    Roth et al., CVPR 2022" in lines
    assert any(line.split()[:2] == ["bolts", "3"] for line in lines)
    assert any(line.startswith("timm/<name>") for line in lines)
    assert any(line.startswith("--transfer ") for line in lines)


def test_columns_are_aligned_under_a_rule(house: House) -> None:
    house.bolts.write_text(house.bolts.read_text().replace("num_task: 3\n", ""))
    methods, nets, datasets, settings = tables().split("\n\n")
    assert datasets.splitlines() == [
        "DATA SET (-d)  tasks  what it is",
        "-------------  -----  -------------",
        "bolts                 Bolts: a stub",
    ]
    assert methods.splitlines()[0] == "METHOD (-m)  default net  what it does          source"
    assert nets.splitlines()[2].startswith("resnet18            backbone")
    assert settings.splitlines()[2] == "--vanilla    train on all normal images of a task"
    assert nets.splitlines()[-1] == "timm/<name>         backbone  any timm model that gives feature maps"
    assert "\nnet_trained         own  " in nets


def test_a_module_that_says_nothing_has_an_empty_cell(house: House) -> None:
    path = house.root / "stub_dataset/bolts.py"
    path.write_text(path.read_text().replace('"""Bolts: a stub."""', ""))
    assert tables().split("\n\n")[2].splitlines()[-1] == "bolts          3"
