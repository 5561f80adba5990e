"""PatchCore on the real MTD images with real ResNet-18 weights, where a checkout has them beside it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from main import main
from tests.conftest import read_rows

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
IMAGES = SHARED / "data" / "mtd"
WEIGHTS = SHARED / "weights" / "resnet18_imagenet_conv1_to_layer3.safetensors"

pytestmark = [
    pytest.mark.data,
    pytest.mark.weights,
    pytest.mark.skipif(not (IMAGES.is_dir() and WEIGHTS.is_file()), reason=f"no MTD or weights in {SHARED}"),
]

Run = Callable[..., list[dict[str, str]]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a method on the small split; one work folder, so that features are read once."""
    work_dir = tmp_path_factory.mktemp("work")

    def run_words(*words: str) -> list[dict[str, str]]:
        data = ["-d", "mtd", "-dp", str(IMAGES), "--set", "mtd_split=small"]
        net = ["-n", "resnet18", "-w", str(WEIGHTS), "-g", "cpu"]
        assert main([*words, *data, *net, "-wd", str(work_dir), "--no-vis"]) == 0
        return read_rows(work_dir / "results.csv")

    return run_words


@pytest.mark.parametrize(
    ("model", "image_auroc", "pixel_auroc"), [("patchcore", 0.79, 0.71), ("_patchcore", 0.80, 0.72)]
)
def test_patchcore_reaches_what_its_peers_reach(
    run: Run, model: str, image_auroc: float, pixel_auroc: float
) -> None:
    row = run("-v", "-m", model, "-sp", "0.01")[-1]
    assert (row["n_train"], row["n_test"], row["n_test_anomalous"]) == ("100", "160", "100")
    assert float(row["image_auroc"]) > image_auroc
    assert float(row["pixel_auroc"]) > pixel_auroc
    assert float(row["pixel_aupro"]) > 0.69


def test_a_second_run_extracts_nothing_and_gives_the_same(run: Run) -> None:
    first, second = run("-v", "-m", "patchcore", "-sp", "0.01"), run("-v", "-m", "patchcore", "-sp", "0.01")
    assert second[-1]["cache"] == "warm"
    assert second[-1]["image_auroc"] == first[-1]["image_auroc"]
    assert second[-1]["pixel_aupro"] == first[-1]["pixel_aupro"]
