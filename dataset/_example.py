"""_example: three generated products with three kinds of defect each; the images are made on first use.

<root>/<category>/{train,test}/<kind>/NNN.png; masks in <category>/ground_truth/<kind>/NNN_mask.png.
"""

import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock
from PIL import Image

from configuration.errors import UserError
from data_io.records import derive_seed
from dataset.example_images import KINDS, render
from dataset.mvtec_layout import Counts, MVTecLayout

SEED = 66  # of the pictures, whatever the seed of the run
MARKER = "generated.txt"  # written last
MARKER_TEXT = "_example, version 1. Generated: made anew when a file is missing or the version changes.\n"
NUM_TRAIN, NUM_GOOD, NUM_DEFECTIVE = 60, 20, 10  # images per category; the last per kind of defect


class Picture(NamedTuple):
    """One image of the data set, before it is drawn."""

    category: str
    split: str
    kind: str
    number: int

    def files(self) -> list[Path]:
        """Return its files, relative to the root: the image, and the mask of a defective product."""
        image = Path(self.category, self.split, self.kind, f"{self.number:03}.png")
        mask = Path(self.category, "ground_truth", self.kind, f"{self.number:03}_mask.png")
        return [image] if self.kind == "good" else [image, mask]

    def draw(self, root: Path) -> None:
        """Write its files; the empty mask of a normal product is none of them."""
        image, mask = render(self.category, self.kind, derive_seed(SEED, *self))
        for file, array in zip(self.files(), (image, mask.astype(np.uint8) * 255), strict=False):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / file, compress_level=1)


class Example(MVTecLayout):
    """A data set that needs no download; `prepare` draws it."""

    classes = tuple(KINDS)
    published = dict.fromkeys(KINDS, Counts(NUM_TRAIN, NUM_GOOD, 3 * NUM_DEFECTIVE))

    @property
    def name(self) -> str:
        """The name that the data set has on the command line."""
        return "_example"

    def prepare(self) -> list[str]:
        """Draw the images unless they are there; safe in several processes at once.

        Raises:
            UserError: the folder holds something else, or cannot be written.
        """
        root = self.root.resolve()
        if _is_complete(root):
            return []
        try:
            root.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(root.with_name(f".{root.name}.lock")):
                return [] if _is_complete(root) else [self._generate(root)]
        except OSError as error:
            mend = "set -dp to a folder that can be written"
            raise UserError(f"{self.name}: cannot write {root}: {error.strerror}; {mend}") from error

    def _generate(self, root: Path) -> str:
        """Draw everything beside the root, then put it in place; return the line to tell the user."""
        is_ours = (root / MARKER).is_file()
        is_empty = root.is_dir() and not any(root.iterdir())
        if root.exists() and not (is_ours or is_empty):
            raise UserError(f"{self.name}: {root} holds other files; set -dp to an empty or a new folder")
        start = time.perf_counter()
        partial = root.with_name(f".{root.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            drawn = list(pool.map(lambda picture: picture.draw(partial), _pictures()))
        (partial / MARKER).write_text(MARKER_TEXT)
        shutil.rmtree(root, ignore_errors=True)
        partial.rename(root)
        seconds = time.perf_counter() - start
        return f"{self.name}: generated {len(drawn)} images in {seconds:.1f} s under {root}"


def _pictures() -> Iterator[Picture]:
    for category, kinds in KINDS.items():
        parts = [("train", "good", NUM_TRAIN), ("test", "good", NUM_GOOD)]
        parts += [("test", kind, NUM_DEFECTIVE) for kind in kinds]
        for split, kind, count in parts:
            yield from (Picture(category, split, kind, number) for number in range(count))


def _is_complete(root: Path) -> bool:
    marker = root / MARKER
    if not marker.is_file() or marker.read_text() != MARKER_TEXT:
        return False
    files = (root / path for picture in _pictures() for path in picture.files())
    return all(file.is_file() for file in files)
