"""Train net_tiny to imitate a pretrained ResNet-18 on generated images; no real image is seen.

Each of its three maps regresses the teacher's map of the same name, which has the same shape. Run it as
`python3 -m tools.train_net_tiny --teacher-weights PATH`; checkpoints/README.md says what came of it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from models.common.backbone import Backbone
from models.common.net_tiny import SeparableBlock
from tools.generated_images import generate_image
from tools.weights import read_state

Features = dict[str, Tensor]  # by layer

LAYERS = ("layer1", "layer2", "layer3")
ENTRY_NORMS = {"stem.1.1": "layer1", "layer2.0.1": "layer2", "layer3.0.1": "layer3"}  # before the blocks
BATCH_SIZES = ((128, 16), (128, 16), (128, 16), (256, 4))  # side in pixels, images; taken in turn
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 1e-4
STATISTICS_BATCHES = 32
FIXED_NORM_SHARE = 0.2  # of the steps, at the end, with the BatchNorm statistics that will be used in scoring


class GeneratedBatches(Dataset[Tensor]):
    """Batches of generated images, each from a generator of its own.

    Args:
        count: number of batches.
        seed: of the whole set.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        """Return batch `index`, (B, 3, H, W) in [0, 1]."""
        rng = np.random.default_rng((self.seed, index))
        size, count = BATCH_SIZES[index % len(BATCH_SIZES)]
        images = np.stack([generate_image(size, rng) for _ in range(count)])
        return torch.from_numpy(images).permute(0, 3, 1, 2)


def feature_statistics(teacher: Backbone, batches: Dataset[Tensor]) -> tuple[Features, Features]:
    """Return the mean and the deviation (C, 1, 1) of the teacher's channels by layer.

    No deviation is below a quarter of its layer's mean deviation, lest silent channels rule the loss.
    """
    features = [teacher.extract(batches[index]) for index in range(STATISTICS_BATCHES)]
    mean, deviation = {}, {}
    for layer in teacher.layers:
        values = torch.cat([maps[layer].transpose(0, 1).flatten(1) for maps in features], dim=1)
        spread = values.std(dim=1)
        mean[layer] = values.mean(dim=1)[:, None, None]
        deviation[layer] = spread.clamp(min=spread.mean() / 4)[:, None, None]
    return mean, deviation


@torch.no_grad()
def adopt_statistics(student: Backbone, mean: Features, deviation: Features) -> None:
    """Start where every stage has the teacher's statistics and its residual blocks do nothing yet."""
    for name, module in student.trunk.named_modules():
        if isinstance(module, SeparableBlock):
            module.norm2.weight.zero_()
        elif name in ENTRY_NORMS:
            layer = ENTRY_NORMS[name]
            module.load_state_dict(
                {"weight": deviation[layer].flatten(), "bias": mean[layer].flatten()}, strict=False
            )


def imitation_loss(student: Features, teacher: Features, deviation: Features) -> Tensor:
    """Return the squared difference of the maps in units of the teacher's variance, averaged over layers."""
    scaled = [(student[layer].float() - teacher[layer].float()) / deviation[layer] for layer in deviation]
    return torch.stack([difference.square().mean() for difference in scaled]).mean()


def train(teacher: Backbone, steps: int, seed: int) -> nn.Module:
    """Return net_tiny trained on `steps` batches, in evaluation mode."""
    torch.manual_seed(seed)
    batches = GeneratedBatches(steps, seed)
    mean, deviation = feature_statistics(teacher, batches)
    student = Backbone("net_tiny", LAYERS).to(memory_format=torch.channels_last)
    adopt_statistics(student, mean, deviation)
    optimizer = torch.optim.AdamW(student.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    progress = tqdm(DataLoader(batches, batch_size=None, num_workers=1), desc="net_tiny")
    for step, image in enumerate(progress):
        student.train(step < (1 - FIXED_NORM_SHARE) * steps)
        with torch.autocast(image.device.type, torch.bfloat16):
            with torch.no_grad():
                target = teacher(image)
            loss = imitation_loss(student(image), target, deviation)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")
    return student.eval().trunk


def main(words: Sequence[str] | None = None) -> None:
    """Train and write the weights in half precision."""
    parser = argparse.ArgumentParser(description="train net_tiny to imitate ResNet-18 on generated images")
    parser.add_argument("--teacher", default="resnet18", choices=["resnet18", "timm/resnet18"])
    parser.add_argument(
        "--teacher-weights", type=Path, required=True, help="its state dict, at least to layer3"
    )
    parser.add_argument("--out", type=Path, default=Path("checkpoints/net_tiny.safetensors"))
    parser.add_argument("--steps", type=int, default=2400, help="batches")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(words)
    teacher = Backbone(arguments.teacher, LAYERS)
    teacher.load_weights(read_state(arguments.teacher_weights), partial=False)
    net = train(teacher.freeze(), arguments.steps, arguments.seed)
    state = {
        key: value.half().contiguous() for key, value in net.state_dict().items() if "num_batches" not in key
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, arguments.out)


if __name__ == "__main__":
    main()
