"""Pictures of results: maps over images, scores of a task, embeddings, augmented shots.

matplotlib and scikit-learn are imported where they draw, so that runs without pictures do not wait for them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from configuration.errors import shown
from tools.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]

_DPI = 100  # pixels per inch of a figure
_PANEL = 2.9  # side of one image in a figure, in inches
_COLORS = "inferno"
_CONTOUR = "#00e676"  # bright green, in few industrial images and not in the colours of the map
_NORMAL, _ANOMALOUS = "#3b75af", "#d1495b"
_LOW = 0.02  # quantile of the colours' lower end; the upper end is the highest value of the task
_MAX_PIXELS = 2_000_000  # pixels of a task that the quantiles are taken from
_OPACITY = 0.75  # of the hottest colour in the overlay
_BINS = 30
_COMPRESSION = 1  # of 9; the higher ones cost more time than the drawing


@dataclass(frozen=True)
class Picture:
    """One tested image and what was found in it.

    Args:
        name: <kind>_<stem>, the name of the file without its ending.
        image: (H, W, 3) uint8.
        ground_truth_mask: (h, w), not 0 where anomalous; None where there is none.
        anomaly_map: (H', W') raw; None from methods without maps.
        image_score: raw.
        remark: why it is shown, such as "highest score of a normal image"; "" for a choice at random.
    """

    name: str
    image: Array
    ground_truth_mask: Array | None
    anomaly_map: Array | None
    image_score: float
    remark: str = ""


def color_limits(anomaly_map: Array) -> tuple[float, float]:
    """Return the ends of the one colour scale of a task from all of its maps (N, H, W)."""
    values = anomaly_map.reshape(-1)[:: 1 + anomaly_map.size // _MAX_PIXELS]
    return float(np.quantile(values, _LOW)), float(anomaly_map.max())


def save_pictures(folder: Path, pictures: Iterable[Picture], limits: tuple[float, float]) -> None:
    """Draw each picture to <folder>/<name>.png: input, ground truth, map, overlay.

    Args:
        folder: is made.
        pictures: of one task: images of one size, all with a map or none.
        limits: ends of the colour scale, from `color_limits`.

    Raises:
        UserError: a file cannot be written.
    """
    sheet: _Sheet | None = None
    for picture in pictures:
        sheet = sheet or _Sheet(picture, limits)
        sheet.fill(picture)
        _save(sheet.figure, folder / f"{picture.name}.png")


def save_scores(path: Path, image_score: Array, image_label: Array, title: str) -> None:
    """Draw the histogram of the raw scores (N,) by label (N,), and the ROC curve where both labels occur."""
    figure = _figure(8.0, 3.4)
    histogram, curve = figure.subplots(1, 2, width_ratios=(3, 2))
    edges = np.histogram_bin_edges(image_score, _BINS)
    for label, name, color in ((0, "normal", _NORMAL), (1, "anomalous", _ANOMALOUS)):
        found = image_score[image_label == label]
        histogram.hist(found, edges, color=color, alpha=0.65, label=f"{name} ({len(found)})")
    histogram.set(xlabel="image score", ylabel="images")
    histogram.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)  # beside the bars
    curve.plot((0, 1), (0, 1), color="0.7", linewidth=1, linestyle="--")
    if np.ptp(image_label):
        from sklearn.metrics import roc_curve

        false_rate, true_rate, _ = roc_curve(image_label, image_score)
        curve.plot(false_rate, true_rate, color=_ANOMALOUS, linewidth=2, clip_on=False)
    curve.set(
        xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1), aspect="equal"
    )
    for axes in (histogram, curve):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(_plain(title))
    _save(figure, path)


def save_embedding(path: Path, embeddings: Mapping[str, Array], title: str) -> None:
    """Draw the first two principal components of labelled vectors; label -> (N, D)."""
    points, shares = _principal(np.concatenate(list(embeddings.values())))
    figure = _figure(5.6, 4.6)
    axes = figure.subplots()
    first = 0
    for label, values in embeddings.items():
        x, y = points[first : first + len(values)].T
        axes.scatter(x, y, s=14, alpha=0.7, linewidths=0, label=f"{label} ({len(values)})")
        first += len(values)
    names = [f"component {number} ({share:.0%} of the variance)" for number, share in enumerate(shares, 1)]
    axes.set(xlabel=names[0], ylabel=names[1], title=_plain(title))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    _save(figure, path)


def save_contact_sheet(path: Path, image: Array, titles: Sequence[str], columns: int) -> None:
    """Draw images (N, H, W, 3) uint8 with their titles in a grid of this many columns."""
    rows = -(-len(image) // columns)
    height, width = image.shape[1:3]
    figure = _figure(1.6 * columns, rows * (1.6 * height / width + 0.25))
    grid = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in grid:
        axes.axis("off")
    for axes, pixels, title in zip(grid, image, titles, strict=False):
        axes.imshow(pixels)
        axes.set_title(title, fontsize=8)
    _save(figure, path)


class _Sheet:
    """The figure of one image, laid out once and filled again for the next: the layout is the slow part."""

    def __init__(self, like: Picture, limits: tuple[float, float]) -> None:
        has_map = like.anomaly_map is not None
        titles = ("input", "ground truth", "anomaly map", "overlay")[: 4 if has_map else 2]
        height, width = like.image.shape[:2]
        self.figure = _figure(_PANEL * len(titles) + 0.6 * has_map, _PANEL * height / width + 0.6)
        self.title = self.figure.suptitle(_plain(like.name))
        self.panels: list[Axes] = list(self.figure.subplots(1, len(titles)))
        self.images = [axes.imshow(like.image, extent=(0, width, height, 0)) for axes in self.panels]
        for axes, title in zip(self.panels, titles, strict=True):
            axes.set(title=title, xticks=(), yticks=())
        if has_map:
            self.images[2].set(cmap=_COLORS, data=like.anomaly_map, clim=limits)
            self.figure.colorbar(
                self.images[2], ax=self.panels, fraction=0.012, pad=0.01, label="value of the anomaly map"
            )
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")

    def fill(self, picture: Picture) -> None:
        """Replace what is shown by another image of the task."""
        shown = [picture.image, picture.image]
        if picture.anomaly_map is not None:
            shown += [picture.anomaly_map, self._overlay(picture.image, picture.anomaly_map)]
        for artist, pixels in zip(self.images, shown, strict=True):
            artist.set_data(pixels)
        self._outline(picture)
        self.panels[1].set_title("no mask" if picture.ground_truth_mask is None else "ground truth")
        remark = f"   ({picture.remark})" if picture.remark else ""
        self.title.set_text(_plain(f"{picture.name}   image score {picture.image_score:.4g}{remark}"))

    def _overlay(self, image: Array, anomaly_map: Array) -> Array:
        """Lay the colours of a map (H', W') over an image, the more opaque the hotter; (H, W, 3) in 0..1."""
        nearest = _resize(anomaly_map, image.shape[:2])
        color = self.images[2].to_rgba(nearest)[..., :3]
        opacity = _OPACITY * np.clip(self.images[2].norm(nearest), 0, 1)[..., None]
        return np.asarray((1 - opacity) * image / 255 + opacity * color)

    def _outline(self, picture: Picture) -> None:
        axes = self.panels[1]
        for artist in list(axes.collections):
            artist.remove()
        mask = picture.ground_truth_mask
        if mask is not None and mask.any():
            marked = np.pad(_resize(mask, picture.image.shape[:2]) > 0, 1)  # the pad closes it at the border
            centers = [np.arange(side) - 0.5 for side in marked.shape]
            axes.contour(centers[1], centers[0], marked, levels=[0.5], colors=_CONTOUR, linewidths=1.5)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure((width, height), dpi=_DPI, layout="constrained")


def _save(figure: "Figure", path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, pil_kwargs={"compress_level": _COMPRESSION})


def _plain(text: str) -> str:
    """Return a text in one line, in which no dollar begins a formula."""
    return shown(text).replace("$", r"\$")


def _resize(values: Array, size: tuple[int, ...]) -> Array:
    """Return the nearest values on a grid of another (height, width)."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, values.shape, strict=True))
    return np.asarray(values[rows[:, None], columns])


def _principal(values: Array) -> tuple[Array, Array]:
    """Project (N, D) to its two main axes; return the points (N, 2) and the shares of the variance (2,)."""
    left, scale, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    points = np.zeros((len(values), 2))
    shares = np.zeros(2)
    kept = min(2, len(scale))
    points[:, :kept] = left[:, :kept] * scale[:kept]
    shares[:kept] = scale[:kept] ** 2 / max(float(np.sum(scale**2)), np.finfo(float).tiny)
    return points, shares
