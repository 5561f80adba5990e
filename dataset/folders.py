"""What lies in the folders of a data set: images, kinds of defect, and files that are left out."""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from configuration.errors import UserError

IMAGE_ENDINGS = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp"),
        *(".pgm", ".ppm", ".pbm", ".pnm", ".gif", ".jp2", ".j2k"),
    }
)
BESIDE_ENDINGS = (
    "_mask",
    "-mask",
    ".mask",
    "_label",
    "_gt",
)  # of the stem of a mask that lies beside its image
_SYSTEM_FOLDERS = frozenset({"__macosx", "lost+found", "system volume information"})
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})
_SHOWN = 3  # names in one line


@dataclass(frozen=True)
class LeftOut:
    """A file in a folder of images that is not read, and why."""

    path: Path
    reason: str


def images_in(folder: Path) -> list[Path]:
    """List the image files directly in a folder, in any letter case of the ending, sorted; [] if absent.

    Hidden files are left out: archives made on a Mac carry a `._name.png` beside many images.

    Raises:
        UserError: the folder cannot be read, a link leads nowhere, or a name is no UTF-8.
    """
    if not folder.is_dir():
        return []
    images = [Path(entry.path) for entry in _entries(folder) if _is_image(entry)]
    for path in images:
        if not path.exists():
            raise UserError(f"{path}: a link to nothing; restore its image or remove it")
        if any("\ud800" <= letter <= "\udfff" for letter in path.name):  # what stands for other bytes
            raise UserError(f"{folder}: the file name {path.name!a} is no UTF-8; rename it")
    return sorted(images)


def unmasked_images_in(folder: Path) -> list[Path]:
    """List the images directly in a folder but the masks that lie beside them, as 000_mask.png to 000.png."""
    paths = images_in(folder)
    stems = {path.stem for path in paths}
    return [path for path in paths if not any(stem in stems for stem in _unmasked(path.stem))]


def subfolders(folder: Path) -> list[Path]:
    """List the folders directly in a folder but hidden ones and those of systems, sorted; [] if it is absent.

    Raises:
        UserError: the folder cannot be read.
    """
    if not folder.is_dir():
        return []
    return sorted(
        Path(entry.path) for entry in _entries(folder) if entry.is_dir() and not is_foreign(entry.name)
    )


def is_foreign(name: str) -> bool:
    """Return whether a folder is hidden or made by a system or an editor: no kind of defect is called so."""
    return name.startswith((".", "@", "$")) or name.lower() in _SYSTEM_FOLDERS


def left_out(folder: Path, used: Collection[Path]) -> Iterator[LeftOut]:
    """Yield the files in a folder and below it that are not read.

    What a data set's own list leaves out of a folder of images is none of them.

    Args:
        folder: a folder of images, or of folders of them.
        used: images and masks.
    """
    with_images = {path.parent for path in used}
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            if path not in used and not name.startswith(".") and name.lower() not in _SYSTEM_FILES:
                reason = _reason(path, folder, path.parent in with_images)
                if reason is not None:
                    yield LeftOut(path, reason)


def _reason(path: Path, folder: Path, is_among_images: bool) -> str | None:
    if any(is_foreign(part) for part in path.relative_to(folder).parts[:-1]):
        return "in hidden or system folders"
    if not path.is_file():
        return "that are no regular files"
    if path.suffix.lower() not in IMAGE_ENDINGS:
        return "of an ending that is not read"
    if not is_among_images:
        return "in folders that are not read"
    return (
        "masks beside their images instead of in ground_truth/<kind>/" if any(_unmasked(path.stem)) else None
    )


def summary(found: Sequence[LeftOut]) -> str:
    """Return in one line how many files are left out and why; "" if none is."""
    parts = []
    for reason, number in Counter(left.reason for left in found).items():
        first = next(left.path for left in found if left.reason == reason)
        parts.append(f"{number} {reason}, such as {first}")
    return f"{len(found)} files left out: {'; '.join(parts)}" if parts else ""


def inside(root: Path, name: str, listed_in: str) -> Path:
    """Return the place of a file that a data set's own list names; backslashes separate folders as well.

    Raises:
        UserError: it leads out of the data set's folder.
    """
    path = Path(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise UserError(f"{root / listed_in}: {name} leads out of the data set; restore it from the archive")
    return root / path


def described(folder: Path) -> str:
    """Return in a few words what a folder holds, for errors."""
    entries = _entries(folder)
    names = sorted(entry.name for entry in entries if entry.is_dir())
    endings = Counter(
        Path(entry.name).suffix.lower() or "no ending" for entry in entries if not entry.is_dir()
    )
    shown = [*names[:_SHOWN], *["..."] * (len(names) > _SHOWN)]
    parts = [f"the folders {', '.join(shown)}"] if names else []
    if endings:
        parts.append(
            "files of " + ", ".join(f"{ending} ({number})" for ending, number in endings.most_common(_SHOWN))
        )
    return " and ".join(parts) or "nothing"


def _unmasked(stem: str) -> Iterator[str]:
    """Yield the stems of the images that a mask of this stem may lie beside."""
    for ending in BESIDE_ENDINGS:
        if stem.lower().endswith(ending):
            yield stem[: -len(ending)]


def _is_image(entry: "os.DirEntry[str]") -> bool:
    if entry.name.startswith(".") or Path(entry.name).suffix.lower() not in IMAGE_ENDINGS:
        return False
    return (
        entry.is_file() or not Path(entry.path).exists()
    )  # what a link to nothing is called, images_in says


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); change its permissions") from error
