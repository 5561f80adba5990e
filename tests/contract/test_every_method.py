"""What every registered method keeps, tried on the generated data set with small nets."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from arch.base import ModelBase, Prediction, Runtime
from arch.kinds.gradient import GradientMethod
from configuration import registration
from configuration.config import RunConfig, load_config
from configuration.errors import UserError
from data_io.data_holder import DataHolder, Step
from data_io.records import ScoringBatch, view_of
from dataset._example import Example
from paradigms.method_factory import Built, build_method
from paradigms.step import fit
from tests.conftest import RunProgram

METHODS = sorted(registration.MODELS)
SETTING_WORDS = {
    "vanilla": ["-v", "-tid", "1"],
    "semi": ["-s", "-san", "4", "-tid", "1"],
    "fewshot": ["-f", "-fe", "2", "-fda", "-fnd", "2", "-tid", "1"],
    "continual": ["-c", "-tid", "1", "0"],
    "noisy": ["-z", "-nr", "0.1", "-tid", "1"],
    "transfer": ["-t", "-ttn", "4", "-tid", "1", "-vid", "0"],
}
ROWS = {"continual": 3, "transfer": 4}
SIDE = 128  # pixels
SMALL = {  # keys of some methods that make them quick
    "sampler_percentage": "0.01",
    "top_k": "2",
    "flow_steps": "2",
    "n_coupling_blocks": "2",
    "reconstructive_width": "8",
    "discriminative_width": "8",
}
BATCHES = {"favae": 8}  # images of a training batch; the widths of its decoder are fixed
LONG = {"draem": "it learns from scratch; test_draem.py trains it long enough"}  # not in two batches


def are_trained(methods: Sequence[str]) -> list[str]:
    """Return those of the methods that are trained by gradient descent."""
    return [
        name for name in methods if issubclass(registration.load(registration.MODELS[name]), GradientMethod)
    ]


def quick_words(model: str) -> list[str]:
    """Return the words that give a method small images, a net which needs no download, and little to do."""
    method_class = registration.load(registration.MODELS[model])
    net = "net_tiny" if "net_tiny" in method_class.nets else method_class.nets[0]
    small = {
        f"_{key}": value for key, value in SMALL.items() if key in method_class.Params.__dataclass_fields__
    }
    batch = {"train_batch_size": BATCHES[model]} if model in BATCHES else {}
    keys = {"data_size": SIDE, "data_crop_size": SIDE, **batch, **small}
    return ["-n", net, *(word for key, value in keys.items() for word in ("--set", f"{key}={value}"))]


def config_of(model: str, root: Path, work_dir: Path, *words: str, last: Sequence[str] = ()) -> RunConfig:
    setting = registration.load(registration.MODELS[model]).settings[0]
    common = ["-m", model, *quick_words(model), "-d", "_example", "-rp", str(root), "-wd", str(work_dir)]
    common += ["-w", "none", "-g", "cpu", "--debug"]
    return load_config([*(words or SETTING_WORDS[setting]), *common, *last])


def first_step(config: RunConfig, built: Built) -> Step:
    step = DataHolder(Example, config, built.method.needs).create().steps[0]
    return step.with_features(None if built.features is None else built.features.read)


def trained(config: RunConfig, **lent: Any) -> tuple[ModelBase, Step]:
    built = build_method(config, store=None)
    step = first_step(config, built)
    fit(step, built.method, Runtime(built.method.device, **lent))
    return built.method, step


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try every method, or the one that the command line names."""
    chosen = metafunc.config.getoption("--method")
    methods = METHODS if chosen is None else [chosen]
    if "model" in metafunc.fixturenames:
        metafunc.parametrize("model", methods, scope="module")
    if "trained_model" in metafunc.fixturenames:
        metafunc.parametrize("trained_model", are_trained(methods))


@pytest.fixture(scope="module")
def learned(
    model: str, example_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunConfig, ModelBase, Step]:
    config = config_of(model, example_root, tmp_path_factory.mktemp("work"))
    return config, *trained(config)


def first_batch(step: Step) -> ScoringBatch:
    return next(iter(step.tests[0].loader))


def test_scores_are_finite_raw_and_of_the_right_shape(learned: tuple[RunConfig, ModelBase, Step]) -> None:
    config, method, step = learned
    found = method.prediction(step.tests[0].loader)
    count = step.tests[0].loader.num_images
    assert found.image_score.shape == (count,)
    if config.run.model not in LONG:
        assert len(set(found.image_score.tolist())) > 10
    assert (found.anomaly_map is not None) == method.localizes
    if found.anomaly_map is not None:
        assert found.anomaly_map.shape == (count, SIDE, SIDE)
        assert len(set(found.anomaly_map[0].ravel().tolist())) > 100, "a map is not binary"


def test_one_shot_is_enough_for_scores_that_differ(model: str, example_root: Path, tmp_path: Path) -> None:
    if "fewshot" not in registration.load(registration.MODELS[model]).settings or are_trained([model]):
        pytest.skip("it is trained, or not made for few shots")
    keys = registration.load(registration.MODELS[model]).Params.__dataclass_fields__
    one_row = {"sampler_percentage": "1.0e-9", "min_coreset": "1"}
    words = [word for key in one_row.keys() & keys for word in ("--set", f"_{key}={one_row[key]}")]
    config = config_of(model, example_root, tmp_path, "-f", "-fe", "1", "-tid", "1", last=words)
    method, step = trained(config)
    found = method.prediction(step.tests[0].loader)
    assert found.anomaly_map is not None
    assert found.image_score.std() > 0.01 * found.anomaly_map.std(), "more than noise of rounding"


@pytest.mark.parametrize("side", [100, 130, 300])
def test_a_side_is_learnt_or_refused_before_training(
    model: str, side: int, example_root: Path, tmp_path: Path
) -> None:
    words = [word for key in ("data_size", "data_crop_size") for word in ("--set", f"{key}={side}")]
    size = 8 if model == "dra" else 2
    words += ["--set", f"train_batch_size={size}", "--set", "valid_batch_size=2"]
    setting = registration.load(registration.MODELS[model]).settings[0]
    refused = ""
    try:
        config = config_of(model, example_root, tmp_path, *SETTING_WORDS[setting], last=words)
        built = build_method(config, store=None)
    except UserError as error:
        refused = str(error)
    if refused:
        assert "data_crop_size" in refused or "pixels" in refused
        return
    step = first_step(config, built)
    fit(step, built.method, Runtime(built.method.device))
    found = built.method.prediction([first_batch(step)])
    assert found.image_score.shape == (2,)
    if found.anomaly_map is not None:
        assert found.anomaly_map.shape == (2, side, side)


def test_an_image_scores_the_same_alone_and_in_any_batch(learned: tuple[RunConfig, ModelBase, Step]) -> None:
    _, method, step = learned
    batch = first_batch(step)
    method.net.eval()
    whole = method.predict_batch(batch).image_score
    for rows in ([0], [3, 1], [5, 4, 3, 2, 1, 0, 0]):
        part = method.predict_batch(view_of(batch, batch.image[rows], batch.image_key[rows])).image_score
        torch.testing.assert_close(part, whole[rows], rtol=1e-4, atol=1e-5)


def test_what_stands_in_for_the_net_scores_as_the_net(learned: tuple[RunConfig, ModelBase, Step]) -> None:
    _, method, step = learned
    batch, net = first_batch(step), method.net
    found = method.prediction([batch])
    assert method.net is net
    with torch.set_grad_enabled(method.needs_grad):
        expected = method.predict_batch(batch)
    torch.testing.assert_close(
        torch.from_numpy(found.image_score), expected.image_score, rtol=1e-4, atol=1e-5
    )
    if expected.anomaly_map is not None:
        assert found.anomaly_map is not None
        spread = float(expected.anomaly_map.std())
        found_map = torch.from_numpy(found.anomaly_map)
        torch.testing.assert_close(found_map, expected.anomaly_map, rtol=1e-3, atol=0.02 * spread)


def test_a_stain_raises_the_score(learned: tuple[RunConfig, ModelBase, Step]) -> None:
    config, method, step = learned
    if config.run.model in LONG:
        pytest.skip(LONG[config.run.model])
    method.net.eval()
    batch = next(iter(step.train_loader.for_scoring()))
    clean = batch.image[:8]
    stained = clean.clone()
    stained[:, :, 50:70, 50:70] = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    scores = [
        method.predict_batch(view_of(batch, image, torch.arange(8) + offset)).image_score.mean()
        for image, offset in ((clean, 1000), (stained, 2000))
    ]
    assert scores[1] > scores[0]


def test_a_restored_state_scores_the_same(learned: tuple[RunConfig, ModelBase, Step]) -> None:
    config, method, step = learned
    restored = build_method(config, store=None).method
    restored.load_state_dict(method.state_dict())
    batch = first_batch(step)
    for each in (method, restored):
        each.net.eval()
    assert torch.equal(restored.predict_batch(batch).image_score, method.predict_batch(batch).image_score)


def test_the_same_seed_gives_the_same_scores(learned: tuple[RunConfig, ModelBase, Step]) -> None:
    config, method, step = learned
    again, _ = trained(config)
    batch = first_batch(step)
    for each in (method, again):
        each.net.eval()
    assert torch.equal(again.predict_batch(batch).image_score, method.predict_batch(batch).image_score)


def test_an_interrupted_training_goes_on_to_the_same_scores(
    trained_model: str, example_root: Path, tmp_path: Path
) -> None:
    config = config_of(trained_model, example_root, tmp_path)
    config = replace(config, train=replace(config.train, num_epochs=2, checkpoint_every=1))
    kept: list[dict[str, Any]] = []
    whole, step = trained(config, keep=lambda state: kept.append(deepcopy(state)))
    going_on, _ = trained(config, interrupted=kept[0])
    batch = first_batch(step)
    for each in (whole, going_on):
        each.net.eval()
    assert torch.equal(going_on.predict_batch(batch).image_score, whole.predict_batch(batch).image_score)


@pytest.fixture
def scored(model: str, monkeypatch: pytest.MonkeyPatch) -> list[ScoringBatch]:
    """All that a method is given to score, the first batch among it, which no timing counts."""
    method_class: type[ModelBase] = registration.load(registration.MODELS[model])
    seen: list[ScoringBatch] = []
    plain = method_class.predict_batch

    def spied(method: ModelBase, batch: ScoringBatch) -> Prediction:
        seen.append(batch)
        return plain(method, batch)

    monkeypatch.setattr(method_class, "predict_batch", spied)
    return seen


def test_every_setting_is_tried() -> None:
    assert set(SETTING_WORDS) == set(registration.SETTINGS), "give the words of the new setting"


@pytest.mark.parametrize("setting", SETTING_WORDS)
def test_every_declared_setting_runs_and_no_other(
    model: str,
    setting: str,
    run_program: RunProgram,
    scored: list[ScoringBatch],
    capsys: pytest.CaptureFixture[str],
) -> None:
    method_class: type[ModelBase] = registration.load(registration.MODELS[model])
    words = [*SETTING_WORDS[setting], "-m", model, *quick_words(model), "-d", "_example", "-w", "none"]
    if setting not in method_class.settings:
        with pytest.raises(AssertionError):
            run_program(*words, debug=True)
        assert method_class.setting_reason in capsys.readouterr().err
        return
    rows = run_program(*words, debug=True)
    assert len(rows) == ROWS.get(setting, 1)
    assert {row["setting"] for row in rows} == {setting}
    assert all(bool(row["pixel_auroc"]) == method_class.localizes for row in rows)
    assert {type(batch) for batch in scored} == {ScoringBatch}, "no labels, no masks"
    assert {name for batch in scored for name in vars(batch)} == {"image", "image_key", "features"}
