"""Run anomalib's PatchCore on the files of a split; started by bench_patchcore in an environment of its own.

Usage: peer_patchcore.py SPLIT.json ROOT WEIGHTS SHARE SEED; prints one line of JSON.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from PIL import Image
from safetensors.torch import load_file

BATCH = 8
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def read(root: Path, names: list[str]) -> torch.Tensor:
    """Return normalised images (N, 3, 256, 256)."""
    images = []
    for name in names:
        with Image.open(root / name) as image:
            pixels = np.asarray(image.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR))
        images.append((torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255 - MEAN) / STD)
    return torch.stack(images)


def main(split: str, root: str, weights: str, share: str, seed: str) -> None:
    """Fit, predict, and print seconds, memory and scores."""
    torch.manual_seed(int(seed))
    step = json.loads(Path(split).read_text())["steps"][0]
    model = PatchcoreModel(["layer2", "layer3"], "resnet18", pre_trained=False, num_neighbors=1)
    missing = model.feature_extractor.feature_extractor.load_state_dict(load_file(weights), strict=False)
    assert not missing.missing_keys, missing.missing_keys
    model.feature_extractor.eval()
    start = time.perf_counter()
    model.train()
    with torch.no_grad():
        for batch in read(Path(root), step["train"]).split(BATCH):
            model(batch)
        model.subsample_embedding(float(share))
    fit_seconds = time.perf_counter() - start
    model.eval()
    test = read(Path(root), step["test"]["0"])
    scores: list[float] = []
    with torch.no_grad():
        model(test[:BATCH])
        start = time.perf_counter()
        for batch in test.split(BATCH):
            scores += model(batch).pred_score.flatten().tolist()
    seconds = time.perf_counter() - start
    found = {
        "fit_seconds": fit_seconds,
        "images_per_second": len(test) / seconds,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "image_score": scores,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
