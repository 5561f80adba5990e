"""Compare methods side by side with anomalib, on MTD and the same weights, and with the bare backbone.

Run from the repository, on a machine that does nothing else:
    python3 -m benchmarks.bench_methods -dp MTD -w RESNET18 [-m padim stpm] [--seeds 3] [--peer PYTHON]

MTD is the data set in its release layout, RESNET18 a file of its ImageNet weights. The peer is installed into
a virtual environment under work_dir, unless --peer names an interpreter that has it; where it cannot be had,
its part is skipped and the reason printed. Each program runs in a process of its own, in turn. Each of our
runs is made twice: with an empty cache, and with the cache of the first. Trained methods take --epochs
epochs; benchmarks.bench_pairs compares their steps.
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
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from configuration.registration import ROOT
from data_io.records import ScoringBatch
from metric.evaluate import image_metrics
from models.backbones.backbone import Backbone
from tools.weights import find_weights

BATCH = ["--set", "train_batch_size=8", "--set", "valid_batch_size=8"]  # as the peer
EXTRA_WORDS: dict[str, list[str]] = {  # what makes a method comparable with the peer's
    "patchcore": ["-sp", "0.01"],
    "_patchcore": ["-sp", "0.01"],
    "softpatch": ["-sp", "0.01"],
    "spade": ["--set", "_global_feature=layer3"],
    "simplenet": ["--set", "_target_embed_dimension=384", "--set", "_pretrain_embed_dimension=384", *BATCH],
    "cfa": BATCH,
    "stpm": ["--set", "_loss=open_iad", "--set", "_student_init=zero_residual", *BATCH],
    "reverse": BATCH,
    "fastflow": ["--set", "_conv3x3_only=false", *BATCH],  # as the peer
    "csflow": ["--set", "_fc_internal=256", *BATCH],  # on both sides, a quarter of the paper's
}
TRAINED = ("cfa", "simplenet", "stpm", "reverse", "fastflow", "csflow")
PEERS = {"patchcore": "patchcore", "_patchcore": "patchcore"} | {
    name: name for name in ("padim", "stpm", "reverse", "fastflow", "csflow", "cfa")
}
COLUMNS = (
    *("fit_seconds", "images_per_second", "peak_memory_mb"),
    *("image_auroc", "pixel_auroc", "pixel_aupro"),
)
PEER = "anomalib"
Row = Mapping[str, float | str]


def words_of(model: str, options: argparse.Namespace, seed: int, work_dir: Path) -> list[str]:
    """Return the words of our command line."""
    words = ["-v", "-m", model, "-n", "resnet18", "-d", "mtd", "-dp", options.data, "-w", options.weights]
    words += ["--set", f"mtd_split={options.split}", *EXTRA_WORDS.get(model, [])]
    words += ["-ne", str(options.epochs)] if model in TRAINED else []
    return [*words, "--seed", str(seed), "-g", "cpu", "-wd", str(work_dir), "--no-vis"]


def run_ours(model: str, options: argparse.Namespace, seed: int, work_dir: Path) -> Row:
    """Run the program once; return its row."""
    command = [sys.executable, str(ROOT / "main.py"), *words_of(model, options, seed, work_dir)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with (work_dir / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))[-1]


def peer_command(python: str, model: str, options: argparse.Namespace, seed: int, split: Path) -> list[str]:
    """Return the command that runs the peer once on the files of our split."""
    words = [PEERS[model], str(split), options.data, options.weights, str(seed)]
    return [python, "-m", "benchmarks.peer", *words, f"num_epochs={options.epochs}", "share=0.01"]


def run_peer(python: str, model: str, options: argparse.Namespace, seed: int, split: Path) -> Row:
    """Run the peer once; return what it prints, with the AUROC of its scores."""
    command = peer_command(python, model, options, seed, split)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
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
    state, _ = find_weights("resnet18", backbone.source, weights, [])
    backbone.load_weights(state or {}, partial=False)
    backbone.freeze()
    batch = ScoringBatch(torch.rand(8, 3, 256, 256), torch.arange(8))
    backbone.extract(batch)
    seconds = []
    for _ in range(15):
        start = time.perf_counter()
        backbone.extract(batch)
        seconds.append(time.perf_counter() - start)
    return len(batch.image) / statistics.median(seconds)


def report(name: str, rows: Sequence[Row]) -> None:
    """Print the median of each time and the mean of each metric."""
    parts = []
    for column in COLUMNS:
        values = [float(row[column]) for row in rows if row.get(column)]
        if values:
            middle = statistics.mean(values) if "au" in column else statistics.median(values)
            parts.append(f"{column} {middle:.3f} ({min(values):.3f} to {max(values):.3f})")
    print(f"{name}: " + ", ".join(parts), flush=True)


def compare(model: str, options: argparse.Namespace, python: str | None, folder: Path) -> None:
    """Run a method and its peer seed by seed, and print both."""
    rows: dict[str, list[Row]] = {"cold": [], "warm": [], PEER: []}
    for seed in range(options.seeds):
        work_dir = folder / f"{model}_{seed}"
        for cache in ("cold", "warm"):
            rows[cache].append(run_ours(model, options, seed, work_dir))
        if python is not None and model in PEERS:
            split = next((work_dir / "runs").glob("*/split.json"))
            rows[PEER].append(run_peer(python, model, options, seed, split))
    for name, found in rows.items():
        if found:
            report(f"{model}, {name}", found)


def main() -> None:
    """Run everything in turn and print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-dp", dest="data", required=True, help="MTD in its release layout")
    parser.add_argument("-w", dest="weights", required=True, help="ImageNet weights of ResNet-18")
    parser.add_argument("-m", dest="models", nargs="+", default=["patchcore", "_patchcore"])
    parser.add_argument("--split", default="small", choices=("small", "full"))
    parser.add_argument("--epochs", type=int, default=3, help="of trained methods")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--peer", help="an interpreter that has the peer")
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    python = None if options.no_peer else peer_python(options.peer)
    print(f"bare backbone: {backbone_speed(options.weights):.1f} images/s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            compare(model, options, python, Path(folder))


if __name__ == "__main__":
    main()
