"""Run a method of anomalib on the files of a split; started by the benchmarks in an environment of its own.

Usage: python -m benchmarks.peer METHOD SPLIT.json ROOT WEIGHTS SEED KEY=VALUE...; prints one line of JSON.
Keys: batch_size, num_epochs, share (of the patches that PatchCore's coreset keeps), paced (whether every
batch waits for a line of standard input).
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from anomalib.models.image.cfa.loss import CfaLoss
from anomalib.models.image.cfa.torch_model import CfaModel
from anomalib.models.image.csflow import torch_model as csflow_model
from anomalib.models.image.csflow.loss import CsFlowLoss
from anomalib.models.image.fastflow.loss import FastflowLoss
from anomalib.models.image.fastflow.torch_model import FastflowModel
from anomalib.models.image.padim.torch_model import PadimModel
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from anomalib.models.image.reverse_distillation.anomaly_map import AnomalyMapGenerationMode
from anomalib.models.image.reverse_distillation.loss import ReverseDistillationLoss
from anomalib.models.image.reverse_distillation.torch_model import ReverseDistillationModel
from anomalib.models.image.stfpm.loss import STFPMLoss
from anomalib.models.image.stfpm.torch_model import STFPMModel
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.pacing import paced

SIDE = 256  # pixels
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
LAYERS = ["layer1", "layer2", "layer3"]
CSFLOW_HIDDEN = 256  # channels, instead of 1024

Batches = Callable[[], Iterable[Tensor]]


def read(root: Path, names: list[str]) -> Tensor:
    """Return normalised images (N, 3, 256, 256)."""
    images = []
    for name in names:
        with Image.open(root / name) as image:
            pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        images.append((torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255 - MEAN) / STD)
    return torch.stack(images)


def fit_bank(model: nn.Module, batches: Batches, finish: Callable[[], object]) -> nn.Module:
    """Show a method without gradients all images, then let it finish; return it."""
    model.train()
    with torch.no_grad():
        for batch in batches():
            model(batch)
        finish()
    return model


def train(
    model: nn.Module,
    loss_of: Callable[[Any], Tensor],
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    num_epochs: int,
) -> nn.Module:
    """Train by gradient descent; return the model."""
    model.train()
    for _ in range(num_epochs):
        for batch in batches():
            optimizer.zero_grad()
            loss_of(model(batch)).backward()
            optimizer.step()
    return model


def patchcore(batches: Batches, share: float, **_keys: Any) -> nn.Module:
    """Select a coreset."""
    model = PatchcoreModel(["layer2", "layer3"], "resnet18", pre_trained=False, num_neighbors=1)
    load(model.feature_extractor.feature_extractor)
    model.feature_extractor.eval()
    return fit_bank(model, batches, lambda: model.subsample_embedding(share))


def padim(batches: Batches, **_keys: Any) -> nn.Module:
    """Fit the Gaussians."""
    model = PadimModel("resnet18", LAYERS, pre_trained=False)
    load(model.feature_extractor.feature_extractor)
    model.feature_extractor.eval()
    return fit_bank(model, batches, model.fit)


def stpm(batches: Batches, num_epochs: int, **_keys: Any) -> nn.Module:
    """Train a student."""
    model = without_download(lambda: STFPMModel(LAYERS, "resnet18"))
    load(model.teacher_model.feature_extractor)
    descent = torch.optim.SGD(model.student_model.parameters(), lr=0.4, momentum=0.9, weight_decay=0.001)
    criterion = STFPMLoss()
    return train(model, lambda found: criterion(*found), descent, batches, num_epochs)


def reverse(batches: Batches, num_epochs: int, **_keys: Any) -> nn.Module:
    """Train bottleneck and decoder."""
    mode = AnomalyMapGenerationMode.ADD
    model = ReverseDistillationModel("resnet18", (SIDE, SIDE), LAYERS, mode, pre_trained=False)
    load(model.encoder.feature_extractor)
    trained = [*model.decoder.parameters(), *model.bottleneck.parameters()]
    descent = torch.optim.Adam(trained, lr=0.005, betas=(0.5, 0.99))
    criterion = ReverseDistillationLoss()
    return train(model, lambda found: criterion(*found), descent, batches, num_epochs)


def fastflow(batches: Batches, num_epochs: int, **_keys: Any) -> nn.Module:
    """Train the flows."""
    model = FastflowModel((SIDE, SIDE), "resnet18", pre_trained=False, flow_steps=8)
    load(model.feature_extractor)
    descent = torch.optim.Adam(model.parameters(), lr=0.001, weight_decay=0.00001)
    criterion = FastflowLoss()
    return train(model, lambda found: criterion(*found), descent, batches, num_epochs)


def csflow(batches: Batches, num_epochs: int, **_keys: Any) -> nn.Module:
    """Train the flow, on ResNet-18 instead of EfficientNet-B5 and with fewer channels inside."""
    plain = csflow_model.InputNode
    csflow_model.InputNode = lambda _channels, *sides, name: plain(256, *sides, name=name)
    try:  # it takes its maps to have a 32nd of the image's side, and these have a 16th
        model = without_download(lambda: csflow_model.CsFlowModel((2 * SIDE, 2 * SIDE), CSFLOW_HIDDEN))
    finally:
        csflow_model.InputNode = plain
    model.feature_extractor = Pyramid()
    descent = torch.optim.Adam(
        model.graph.parameters(), lr=2e-4, eps=1e-4, weight_decay=1e-5, betas=(0.5, 0.9)
    )

    def clip(*_step: object) -> None:
        torch.nn.utils.clip_grad_norm_(model.graph.parameters(), 1)

    descent.register_step_pre_hook(clip)
    criterion = CsFlowLoss()
    return train(model, lambda found: criterion(*found), descent, batches, num_epochs)


class Pyramid(nn.Module):
    """Layer 3 of an image and of its versions of half and a quarter of the size."""

    def __init__(self) -> None:
        super().__init__()
        resnet = torchvision.models.resnet18()
        load(resnet)
        stem = [resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool]
        self.net = nn.Sequential(*stem, resnet.layer1, resnet.layer2, resnet.layer3).requires_grad_(False)

    def train(self, mode: bool = True) -> "Pyramid":
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to three maps (B, 256, h, w), the largest first."""
        return [self.net(F.interpolate(images, scale_factor=1 / factor)) for factor in (1, 2, 4)]


def cfa(batches: Batches, num_epochs: int, **_keys: Any) -> nn.Module:
    """Set the centres, then train the descriptor."""
    model = without_download(lambda: CfaModel("resnet18", 1, 1, 3, 3, 1e-5))
    load(model.feature_extractor)
    model.initialize_centroid([type("Batch", (), {"image": batch}) for batch in batches()])
    descent = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=5e-4, amsgrad=True)
    criterion = CfaLoss(3, 3, 1e-5)
    return train(model, criterion, descent, batches, num_epochs)


def load(extractor: nn.Module) -> None:
    """Load the ImageNet weights, all that the extractor has to layer 3."""
    found = extractor.load_state_dict(load_file(WEIGHTS), strict=False)
    assert not [key for key in found.missing_keys if not key.startswith(("layer4", "fc"))], found.missing_keys


def without_download(build: Callable[[], Any]) -> Any:
    """Build a model that would fetch its weights; they are loaded from the file afterwards."""
    plain, resnet18, b5 = timm.create_model, torchvision.models.resnet18, csflow_model.efficientnet_b5
    timm.create_model = lambda *words, **keys: plain(*words, **{**keys, "pretrained": False})
    torchvision.models.resnet18 = lambda **_weights: resnet18()
    csflow_model.efficientnet_b5 = lambda **_weights: b5()
    try:
        return build()
    finally:
        timm.create_model, torchvision.models.resnet18 = plain, resnet18
        csflow_model.efficientnet_b5 = b5


def _unpaced(_phase: str, items: Iterable[Tensor]) -> Iterator[Tensor]:
    return iter(items)


METHODS: dict[str, Callable[..., nn.Module]] = {
    "patchcore": patchcore,
    "padim": padim,
    "stpm": stpm,
    "reverse": reverse,
    "fastflow": fastflow,
    "csflow": csflow,
    "cfa": cfa,
}


def main(method: str, split: str, root: str, seed: str, keys: dict[str, Any]) -> None:
    """Fit, predict, and print seconds, memory and scores."""
    torch.manual_seed(int(seed))
    step = json.loads(Path(split).read_text())["steps"][0]
    batch_size = keys.get("batch_size", 8)
    in_turn = paced if keys.get("paced") else _unpaced
    order = torch.Generator().manual_seed(int(seed))
    start = time.perf_counter()
    images = read(Path(root), step["train"])

    def batches() -> Iterator[Tensor]:
        rows = torch.randperm(len(images), generator=order).split(batch_size)
        yield from in_turn("train", (images[batch] for batch in rows))

    model = METHODS[method](batches, **keys)
    fit_seconds = time.perf_counter() - start
    model.eval()
    test = read(Path(root), step["test"]["0"])
    scores: list[float] = []
    with torch.no_grad():
        model(test[:batch_size])
        start = time.perf_counter()
        for batch in in_turn("predict", test.split(batch_size)):
            scores += model(batch).pred_score.flatten().tolist()
    found = {
        "fit_seconds": fit_seconds,
        "images_per_second": len(test) / (time.perf_counter() - start),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "image_score": scores,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    method_name, split_file, root_folder, WEIGHTS, seed_text, *pairs = sys.argv[1:]
    typed = dict(pair.split("=") for pair in pairs)
    main(method_name, split_file, root_folder, seed_text, {key: json.loads(typed[key]) for key in typed})
