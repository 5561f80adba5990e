"""Compare PatchCore side by side with anomalib and with the bare backbone, on MTD and the same weights.

Run from the repository, on a machine that does nothing else:
    python3 -m benchmarks.bench_patchcore -dp MTD -w RESNET18 [--split small] [--seeds 5] [--peer PYTHON]

MTD is the data set in its release layout, RESNET18 a file of its ImageNet weights. The peer is installed into
a virtual environment under work_dir, unless --peer names an interpreter that has it; where it cannot be had,
its part is skipped and the reason printed. Each program runs in a process of its own, in turn.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from configuration.registration import ROOT
from metric.evaluate import image_metrics
from models.common.backbone import Backbone
from tools.weights import find_weights

METHODS = ("patchcore", "_patchcore")
COLUMNS = ("fit_seconds", "images_per_second", "peak_memory_mb", "image_auroc", "pixel_auroc", "pixel_aupro")
PEER = "anomalib"


def run_ours(model: str, options: argparse.Namespace, seed: int, work_dir: Path) -> dict[str, str]:
    """Run the program once; return its row."""
    words = ["-v", "-m", model, "-n", "resnet18", "-d", "mtd", "-dp", options.data, "-w", options.weights]
    words += ["--set", f"mtd_split={options.split}", "-sp", options.share, "--seed", str(seed), "-g", "cpu"]
    command = [sys.executable, str(ROOT / "main.py"), *words, "-wd", str(work_dir), "--no-vis"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with (work_dir / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))[-1]


def run_peer(python: str, options: argparse.Namespace, seed: int, split: Path) -> dict[str, float]:
    """Run the peer once on the files of our split; return what it prints, with the AUROC of its scores."""
    script = Path(__file__).with_name("peer_patchcore.py")
    words = [str(split), options.data, options.weights, options.share, str(seed)]
    done = subprocess.run([python, str(script), *words], check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    names = json.loads(split.read_text())["steps"][0]["test"]["0"]
    label = np.array(["MT_Free" not in name for name in names]).astype(np.int64)
    score = np.array(found.pop("image_score"), np.float32)
    return {**found, "image_auroc": image_metrics(score, label)["auroc"]}


def peer_python(given: str | None) -> str | None:
    """Return an interpreter that has the peer; None where it cannot be installed."""
    if given:
        return given
    folder = ROOT / "work_dir" / "peer_venv"
    python = folder / "bin" / "python"
    try:
        if not python.exists():
            venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", PEER], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{PEER}: skipped, it cannot be installed ({error})")
        return None
    return str(python)


def backbone_speed(weights: str) -> float:
    """Return the images per second of the bare frozen backbone, layers 2 and 3."""
    backbone = Backbone("resnet18", ["layer2", "layer3"])
    state, _ = find_weights("resnet18", weights, [])
    backbone.load_weights(state or {}, partial=False)
    backbone.freeze()
    image = torch.rand(8, 3, 256, 256)
    backbone.extract(image)
    seconds = []
    for _ in range(15):
        start = time.perf_counter()
        backbone.extract(image)
        seconds.append(time.perf_counter() - start)
    return len(image) / statistics.median(seconds)


def report(name: str, rows: Sequence[dict[str, str] | dict[str, float]]) -> None:
    """Print the median of each time and the mean of each metric."""
    parts = []
    for column in COLUMNS:
        values = [float(row[column]) for row in rows if row.get(column)]
        if values:
            middle = statistics.mean(values) if "au" in column else statistics.median(values)
            parts.append(f"{column} {middle:.3f} ({min(values):.3f} to {max(values):.3f})")
    print(f"{name}: " + ", ".join(parts), flush=True)


def main() -> None:
    """Run everything in turn, seed by seed, and print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-dp", dest="data", required=True, help="MTD in its release layout")
    parser.add_argument("-w", dest="weights", required=True, help="ImageNet weights of ResNet-18")
    parser.add_argument("--split", default="small", choices=("small", "full"))
    parser.add_argument("--share", default="0.01", help="of the patches that the coreset keeps")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peer", help="an interpreter that has the peer")
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    python = None if options.no_peer else peer_python(options.peer)
    rows: dict[str, list[dict[str, str] | dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for model in METHODS:
                work_dir = Path(folder) / f"{model}_{seed}"
                rows.setdefault(f"{model}, cold", []).append(run_ours(model, options, seed, work_dir))
                rows.setdefault(f"{model}, warm", []).append(run_ours(model, options, seed, work_dir))
            if python is not None:
                split = next((Path(folder) / f"patchcore_{seed}" / "runs").glob("*/split.json"))
                rows.setdefault(PEER, []).append(run_peer(python, options, seed, split))
    print(f"bare backbone: {backbone_speed(options.weights):.1f} images/s")
    for name, found in rows.items():
        report(name, found)


if __name__ == "__main__":
    main()
