from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.common.backbone import Backbone
from tools.generated_images import fractal_noise, generate_image, grating, leaves, strokes, tiles
from tools.train_net_tiny import LAYERS, GeneratedBatches, feature_statistics, imitation_loss, main
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
    state, described = find_weights("net_tiny", "imagenet", [SHIPPED.parent])
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
    target, found = teacher.freeze().extract(image), student.freeze().extract(image)
    for layer in LAYERS:
        error = (found[layer] - target[layer]).square().sum()
        spread = (target[layer] - target[layer].mean(dim=(0, 2, 3), keepdim=True)).square().sum()
        assert error < 0.6 * spread, layer


@pytest.mark.slow
@pytest.mark.weights
@needs_real_weights
def test_training_brings_the_maps_closer(tmp_path: Path) -> None:
    for steps in (1, 40):
        words = ["--teacher-weights", str(REAL_WEIGHTS), "--steps", str(steps)]
        main([*words, "--out", str(tmp_path / f"{steps}.safetensors")])
    teacher = Backbone("resnet18", LAYERS)
    teacher.load_weights(load_file(REAL_WEIGHTS), partial=False)
    batches = GeneratedBatches(32, seed=9)
    deviation = feature_statistics(teacher.freeze(), batches)[1]
    losses = []
    for steps in (1, 40):
        student = Backbone("net_tiny", LAYERS)
        student.load_weights(load_file(tmp_path / f"{steps}.safetensors"), partial=False)
        image = batches[0]
        losses.append(imitation_loss(student.freeze().extract(image), teacher.extract(image), deviation))
    assert losses[1] < 0.8 * losses[0]
