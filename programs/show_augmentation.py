"""Draw what `-tag` makes of training images, to look at before a long run.

`python3 -m programs.show_augmentation -tag cutpaste -d NAME [-dp PATH | -rp PATH] [-tid ID] [-o FILE]`
writes a sheet of a few images with their variants beside them. Exit code 2 where something must be mended,
else 0.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from augmentation.cut_paste import TITLES, make_variants
from configuration import registration
from configuration.config import AugType
from configuration.errors import UserError
from configuration.paths import data_root
from configuration.program import run_program
from data_io.decode import Geometry, decode_image
from data_io.records import Sample, derive_seed
from dataset.base import DatasetBase
from tools.pictures import save_contact_sheet

SHOWN = 6  # training images, spread over the task


def chosen(samples: Sequence[Sample]) -> list[Sample]:
    """Return at most `SHOWN` samples, spread evenly."""
    count = min(SHOWN, len(samples))
    return [samples[row] for row in np.linspace(0, len(samples) - 1, count).round().astype(int)]


def variants(image: Tensor, kind: str, generator: torch.Generator) -> tuple[Tensor, tuple[str, ...]]:
    """Return what a kind of training images looks like, image by image, and what each variant is called.

    Args:
        image: (N, 3, H, W) in [0, 1].
        kind: what `-tag` may name.
        generator: of the CPU.
    """
    if kind == "normal":
        return image, ("as it is",)
    made, _ = make_variants(image, "3way", generator=generator)
    titles = TITLES["3way"]
    return made.unflatten(0, (len(titles), -1)).transpose(0, 1).flatten(0, 1), titles


def draw_sheet(
    dataset: DatasetBase, task_id: int, kind: str, geometry: Geometry, seed: int, path: Path
) -> int:
    """Draw the sheet of one class and return the number of training images on it.

    Raises:
        UserError: there is no such class or no image of it, or the file cannot be written.
    """
    if task_id not in range(len(dataset.classes)):
        raise UserError(f"-tid {task_id}: no such class; choose from 0 to {len(dataset.classes) - 1}")
    samples = chosen(dataset.samples(task_id, "train"))
    if not samples:
        raise UserError(
            f"{dataset.root}: no training image of class {dataset.classes[task_id]}; set -dp or -rp"
        )
    pixels = np.stack([decode_image(sample.path, geometry) for sample in samples])
    generator = torch.Generator().manual_seed(derive_seed(seed, "show augmentation", kind, task_id))
    image, titles = variants(torch.from_numpy(pixels).float() / 255, kind, generator)
    shown = (image * 255).round().byte().permute(0, 2, 3, 1).numpy()
    captions = [f"{sample.path.stem}: {title}" for sample in samples for title in titles]
    save_contact_sheet(path, shown, captions, columns=max(3, len(titles)))
    return len(samples)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return run_program(lambda: answer(argv))


def answer(argv: Sequence[str] | None) -> int:
    """Do what the words ask for; return 0.

    Raises:
        UserError: the sheet cannot be drawn, or a row of the tables points nowhere.
    """
    registration.check_tables()
    parser = argparse.ArgumentParser(
        "programs.show_augmentation", description="Draw what -tag makes of images."
    )
    parser.add_argument("-tag", "--train-aug-type", required=True, choices=get_args(AugType))
    parser.add_argument("-d", "--dataset", required=True, choices=registration.DATASETS)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("-dp", "--data-path", type=Path, help="the data set's own folder")
    place.add_argument("-rp", "--root-path", type=Path, help="folder of all data sets")
    parser.add_argument("-tid", "--train-task-id", type=int, default=0, help="the task; default: 0")
    parser.add_argument("--seed", type=int, default=66)
    parser.add_argument("-o", "--output", type=Path, help="default: augmentation_<tag>_<dataset>.png")
    return show(parser.parse_args(argv))


def show(options: argparse.Namespace) -> int:
    """Draw the sheet that the options ask for, and say where it is; return 0.

    Raises:
        UserError: it cannot be drawn or written.
    """
    kind, name = options.train_aug_type, options.dataset
    path = options.output or Path(f"augmentation_{kind}_{name}.png")
    if path.suffix.lower() != ".png":
        raise UserError(f"-o {path}: give the name of a .png file")
    if options.seed < 0:
        raise UserError(f"--seed {options.seed}: must be at least 0")
    layer = registration.layer(f"{registration.DATASET_FOLDER}/{name}.yaml")
    geometry = Geometry(layer["data_size"].value, layer["data_crop_size"].value)
    root = data_root(name, options.data_path, options.root_path)
    dataset: DatasetBase = registration.load(registration.DATASETS[name])(root)
    notes = dataset.prepare()
    count = draw_sheet(dataset, options.train_task_id, kind, geometry, options.seed, path)
    shown = dataset.classes[options.train_task_id]
    sys.stdout.write("\n".join((*notes, f"{path}: {count} training images of {shown}")) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
