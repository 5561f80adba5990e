from pathlib import Path

import pytest

from configuration.config import load_config
from configuration.errors import UserError
from paradigms.method_factory import build_method


@pytest.mark.parametrize("model", ["patchcore", "padim", "stpm", "fastflow"])
def test_a_layer_that_is_no_map_is_refused_in_one_line(model: str, tmp_path: Path) -> None:
    words = ["-v", "-m", model, "-n", "net_tiny", "-d", "_example", "-g", "cpu", "-w", "none", "-wd"]
    config = load_config([*words, str(tmp_path), "--set", "_layers=[layer1, layer2, pooled]"])
    with pytest.raises(
        UserError, match=r"^--set _layers: _layers names pooled, which is no map; leave it out$"
    ):
        build_method(config, store=None)
