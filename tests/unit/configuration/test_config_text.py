from pathlib import Path

import yaml

from configuration.config_text import config_text


def test_the_configuration_reads_back_and_names_its_origins() -> None:
    values = {
        "model": "patchcore",
        "_lr": {"resnet18": 1e-5},
        "tasks": (0, 1),
        "root": Path("data/x"),
        "epochs": None,
        "note": "yes: # no",
    }
    text = config_text(values, {"model": "command line", "_lr": "1_model_base/patchcore.yaml"})
    assert yaml.safe_load(text) == {**values, "tasks": [0, 1], "root": "data/x"}
    assert text.splitlines()[0].startswith("model: patchcore ")
    assert text.splitlines()[0].endswith("  # command line")
    assert len(text.splitlines()) == len(values)
