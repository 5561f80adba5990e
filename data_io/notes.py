"""What a run says of its data in one line each: what is left out, what is missing, what looks wrong."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

from data_io.decode import Pixels
from data_io.image_file import Levels, num_pages
from data_io.records import Sample
from dataset.base import DatasetBase, summary

_MOST = 0.5  # share of an image above which a mask may be inverted


def of_left_out_files(dataset: DatasetBase, name: str, class_ids: Collection[int]) -> Iterator[str]:
    """Yield a line where files in the folders of these classes are not read."""
    found = [left for class_id in class_ids for left in dataset.left_out(class_id)]
    if found:
        yield f"{name}: {summary(found)}; python3 -m programs.check_data -d {name} lists them"


def of_further_pages(name: str, paths: Sequence[Path], pool: Executor) -> Iterator[str]:
    """Yield a line where files hold further images than the first, which alone is read.

    Raises:
        UserError: a file is no image.
    """
    found = [path for path, pages in zip(paths, pool.map(num_pages, paths), strict=True) if pages > 1]
    if found:
        yield f"{name}: {len(found)} files hold several images, such as {found[0]}; the first alone is read"


def of_levels(name: str, levels: Mapping[Path, Levels]) -> Iterator[str]:
    """Yield a line where images have more than 8 bits a colour."""
    for found in dict.fromkeys(levels.values()):
        number = sum(other == found for other in levels.values())
        yield (
            f"{name}: {number} images of more than 8 bits; black is {found.black:g}, "
            f"white {found.white:g} (--set white_level changes it)"
        )


def of_missing_masks(what: str, masks: Mapping[Sample, Pixels | None], so: str) -> Iterator[str]:
    """Yield a line where images lack their mask."""
    missing = [sample.path for sample, mask in masks.items() if mask is None]
    if missing:
        yield f"{len(missing)} {what} without a mask, such as {missing[0]}, {so}"


def of_doubtful_masks(masks: Mapping[Sample, Pixels | None]) -> Iterator[str]:
    """Yield a line where masks may be inverted."""
    doubtful = [sample for sample, mask in masks.items() if mask is not None and is_doubtful(mask)]
    if doubtful:
        first = doubtful[0].mask_paths[0]
        yield (
            f"{len(doubtful)} masks mark most of their image or its whole border, such as {first}: "
            "are they inverted? Defects are bright in a mask"
        )


def is_doubtful(mask: Pixels) -> bool:
    """Return whether a (H, W) mask of 0 and 1 marks more than half of an image, or all of its border."""
    border = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return bool(mask.mean() > _MOST or all(side.all() for side in border))
