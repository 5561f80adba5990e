from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.backbones.backbone import Backbone
from programs.train_net_tiny.__main__ import main
from programs.train_net_tiny.generated_images import (
    fractal_noise,
    generate_image,
    grating,
    leaves,
    strokes,
    tiles,
)
from programs.train_net_tiny.imitation import LAYERS, GeneratedBatches, adopt_statistics, imitation_loss
from tests.loaders import batch_of
from tools.weights import find_weights

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "checkpoints/net_tiny.safetensors"
REAL_WEIGHTS = ROOT / "../shared/weights/resnet18_imagenet_conv1_to_layer3.safetensors"
needs_real_weights = pytest.mark.skipif(
    not REAL_WEIGHTS.exists(), reason="needs the real ResNet-18 weights in the shared folder"
)


@pytest.mark.parametrize("field", [fractal_noise, grating, leaves, strokes, tiles])
def test_fields_fill_the_range_of_grey(field: object) -> None:
    assert callable(field)
    for seed in range(5):
        values = field(40, np.random.default_rng(seed))
        assert values.shape == (40, 40)
        assert values.min() >= 0
        assert values.max() <= 1
        assert values.std() > 0


def test_generated_images_are_colourful_varied_and_repeatable() -> None:
    images = np.stack([generate_image(32, np.random.default_rng(seed)) for seed in range(40)])
    assert images.shape == (40, 32, 32, 3)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert np.ptp(images.mean(axis=(1, 2, 3))) > 0.3
    assert np.mean(np.ptp(images.mean(axis=(1, 2)), axis=1) > 0.05) > 0.3, "some must have a hue"
    assert np.array_equal(images[7], generate_image(32, np.random.default_rng(7)))


def test_batches_depend_on_seed_and_index_only() -> None:
    batches = GeneratedBatches(8, seed=1)
    assert torch.equal(batches[3], GeneratedBatches(4, seed=1)[3])
    assert not torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], GeneratedBatches(8, seed=2)[0])


def test_loss_is_in_units_of_the_teachers_variance() -> None:
    teacher = {"layer1": torch.zeros(2, 3, 4, 4), "layer2": torch.ones(2, 5, 2, 2)}
    deviation = {"layer1": torch.full((3, 1, 1), 2.0), "layer2": torch.full((5, 1, 1), 0.5)}
    student = {"layer1": teacher["layer1"] + 2.0, "layer2": teacher["layer2"] - 1.0}
    assert imitation_loss(student, teacher, deviation).item() == pytest.approx((1.0 + 4.0) / 2)


def test_shipped_weights_are_small_and_whole() -> None:
    assert SHIPPED.stat().st_size < 4e6
    state, described = find_weights("net_tiny", "", "imagenet", [SHIPPED.parent])
    assert described == "imagenet"
    assert state is not None
    assert not Backbone("net_tiny", LAYERS).load_weights(state, partial=False)


@pytest.mark.weights
@needs_real_weights
def test_shipped_weights_imitate_resnet18_on_new_images() -> None:
    teacher = Backbone("resnet18", LAYERS)
    teacher.load_weights(load_file(REAL_WEIGHTS), partial=False)
    student = Backbone("net_tiny", LAYERS)
    student.load_weights(load_file(SHIPPED), partial=False)
    image = torch.cat([GeneratedBatches(2, seed=12345)[index] for index in range(2)])
    target, found = teacher.freeze().extract(batch_of(image)), student.freeze().extract(batch_of(image))
    for layer in LAYERS:
        error = (found[layer] - target[layer]).square().sum()
        spread = (target[layer] - target[layer].mean(dim=(0, 2, 3), keepdim=True)).square().sum()
        assert error < 0.6 * spread, layer


def test_student_starts_with_the_teachers_statistics() -> None:
    torch.manual_seed(0)
    student = Backbone("net_tiny", LAYERS)
    mean = {layer: torch.full((width, 1, 1), 1.0) for layer, width in student.channels.items()}
    deviation = {layer: 0.2 * value for layer, value in mean.items()}
    adopt_statistics(student, mean, deviation)
    for feature in student(torch.rand(8, 3, 64, 64)).values():
        torch.testing.assert_close(
            feature.mean(dim=(0, 2, 3)), torch.ones(feature.shape[1]), rtol=0, atol=0.01
        )
        torch.testing.assert_close(
            feature.std(dim=(0, 2, 3)), torch.full((feature.shape[1],), 0.2), rtol=0.1, atol=0
        )


def test_training_writes_whole_weights_that_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("programs.train_net_tiny.imitation.STATISTICS_BATCHES", 1)
    monkeypatch.setattr("programs.train_net_tiny.imitation.BATCH_SIZES", ((32, 4),))
    torch.manual_seed(0)
    save_file(Backbone("resnet18", LAYERS).trunk.state_dict(), tmp_path / "teacher.safetensors")
    states = []
    for steps in ("1", "3"):
        out = tmp_path / "new" / f"{steps}.safetensors"
        main(
            ["--teacher-weights", str(tmp_path / "teacher.safetensors"), "--steps", steps, "--out", str(out)]
        )
        states.append(load_file(out))
        assert not Backbone("net_tiny", LAYERS).load_weights(states[-1], partial=False)
    assert all(value.dtype == torch.float16 and value.isfinite().all() for value in states[1].values())
    assert not torch.equal(states[0]["layer3.0.0.weight"], states[1]["layer3.0.0.weight"])
