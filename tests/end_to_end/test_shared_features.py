"""Methods that read the same backbone pay for it once."""

import pytest
from torch import Tensor

from data_io.records import ScoringBatch
from models.backbones.backbone import Backbone
from tests.conftest import RunProgram

SIDE = ["--set", "data_size=64", "--set", "data_crop_size=64"]
METHODS = {
    "patchcore": ["-sp", "0.05"],
    "softpatch": ["-sp", "0.05"],
    "spade": ["--set", "_global_feature=layer3", "--set", "_top_k=2"],
    "cfa": ["-ne", "1"],
    "simplenet": ["-ne", "1"],
    "stpm": ["-ne", "1"],
}


def test_after_the_first_method_the_others_run_no_backbone(
    run_program: RunProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Backbone.extract
    seen: list[int] = []

    def counted(backbone: Backbone, batch: ScoringBatch) -> dict[str, Tensor]:
        seen.append(len(batch.image))
        return plain(backbone, batch)

    monkeypatch.setattr(Backbone, "extract", counted)
    common = ["-v", "-n", "net_tiny", "-d", "_example", "-tid", "0", *SIDE]
    run_program(*common, "-m", "padim")
    assert sum(seen) == 60 + 50, "every training and test image once"
    seen.clear()
    for method, words in METHODS.items():
        (row,) = [row for row in run_program(*common, "-m", method, *words) if row["model"] == method]
        assert row["cache"] == "warm"
    assert not seen
