"""What every registered method keeps on a GPU; skipped where there is none."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from arch.base import ModelBase
from configuration import registration
from data_io.data_holder import Step
from main import main
from paradigms.method_factory import build_method
from tests.conftest import read_rows
from tests.contract.test_every_method import (
    METHODS,
    ROWS,
    SETTING_WORDS,
    are_trained,
    config_of,
    first_step,
    quick_words,
    trained,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
GPU = "cuda:0"


@pytest.fixture
def full_precision() -> Iterator[None]:
    """Convolutions without TF32, which keeps 10 of the 23 bits behind the point."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def on_gpu(model: str, root: Path, work_dir: Path) -> tuple[ModelBase, Step]:
    config = config_of(model, root, work_dir)
    return trained(replace(config, run=replace(config.run, device=GPU)))


@pytest.mark.parametrize("model", METHODS)
def test_the_same_seed_gives_the_same_scores(model: str, example_root: Path, tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        method, step = on_gpu(model, example_root, tmp_path)
        assert next(iter(step.train_loader)).image.device == torch.device(GPU)
        assert {value.device for value in method.state_dict().values()} == {torch.device(GPU)}
        found.append(method.prediction(step.tests[0].loader))
    assert np.isfinite(found[0].image_score).all()
    assert np.array_equal(found[0].image_score, found[1].image_score)
    maps = [each.anomaly_map for each in found if each.anomaly_map is not None]
    assert len(maps) == (2 if method.localizes else 0)
    assert all(np.array_equal(maps[0], each) for each in maps)


@pytest.mark.usefixtures("full_precision")
@pytest.mark.parametrize("model", METHODS)
def test_what_was_learned_on_the_cpu_scores_the_same_on_the_gpu(
    model: str, example_root: Path, tmp_path: Path
) -> None:
    config = config_of(model, example_root, tmp_path)
    method, step = trained(config)
    gpu_config = replace(config, run=replace(config.run, device=GPU))
    built = build_method(gpu_config, store=None)
    moved = built.method
    moved.load_state_dict(method.state_dict())
    moved.net.to(GPU)
    gpu_step = first_step(gpu_config, built)
    expected = method.prediction(step.tests[0].loader)
    found = moved.prediction(gpu_step.tests[0].loader)
    spread = expected.image_score.std()
    np.testing.assert_allclose(found.image_score, expected.image_score, rtol=1e-3, atol=1e-2 * spread)
    if method.localizes:
        assert found.anomaly_map is not None
        assert expected.anomaly_map is not None
        spread = expected.anomaly_map.std()
        np.testing.assert_allclose(found.anomaly_map, expected.anomaly_map, rtol=1e-2, atol=5e-2 * spread)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
@pytest.mark.parametrize("model", are_trained(METHODS))
def test_training_in_mixed_precision_gives_finite_scores(
    model: str, amp: str, example_root: Path, tmp_path: Path
) -> None:
    rows = run_debug(example_root, tmp_path, *SETTING_WORDS[_first_setting(model)], model=model, amp=amp)
    assert rows[0]["amp"] == amp
    assert float(rows[0]["image_auroc"]) >= 0


@pytest.mark.parametrize("setting", SETTING_WORDS)
def test_every_setting_keeps_its_images_on_the_gpu(setting: str, example_root: Path, tmp_path: Path) -> None:
    model = "dra" if setting == "semi" else "patchcore"
    rows = run_debug(example_root, tmp_path, *SETTING_WORDS[setting], model=model, amp="off")
    assert len(rows) == ROWS.get(setting, 1)
    assert all(row["device"] == GPU and float(row["peak_gpu_memory_mb"]) > 1 for row in rows)
    (log,) = (tmp_path / "debug" / "runs").glob("*/run.log")
    assert "kept in: device" in log.read_text()


def _first_setting(model: str) -> str:
    method_class: type[ModelBase] = registration.load(registration.MODELS[model])
    return method_class.settings[0]


def run_debug(root: Path, work_dir: Path, *words: str, model: str, amp: str) -> list[dict[str, str]]:
    common = ["-m", model, *quick_words(model), "-d", "_example", "-w", "none", "-rp", str(root)]
    where = ["-wd", str(work_dir), "-g", "0", "--amp", amp, "--no-vis", "--debug"]
    assert main([*words, *common, *where]) == 0
    return read_rows(work_dir / "debug" / "results.csv")
