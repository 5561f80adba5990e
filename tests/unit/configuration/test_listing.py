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
