"""Train net_tiny to imitate a pretrained ResNet-18 on generated images; no real image is seen.

Each of its three maps regresses the teacher's map of the same name, which has the same shape.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from data_io.records import ScoringBatch
from models.backbones.backbone import Backbone
from models.backbones.net_tiny import SeparableBlock
from programs.train_net_tiny.generated_images import generate_image

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
    images = (batches[index] for index in range(STATISTICS_BATCHES))
    features = [teacher.extract(ScoringBatch(image, torch.arange(len(image)))) for image in images]
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
