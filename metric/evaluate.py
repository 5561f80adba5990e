"""The metrics of one test set: raw scores and ground truth in, one value per metric out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metric.pixel import Pair, pixel_metrics
from metric.ranking import RankingMetrics, check_finite, pack, rank

METRICS = ("image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "pixel_f1max", "pixel_aupro")

Maps = NDArray[np.float32] | Sequence[NDArray[np.float32]]
Masks = NDArray[np.uint8] | NDArray[np.bool_] | Sequence[NDArray[np.uint8] | NDArray[np.bool_] | None]


def evaluate(
    image_score: ArrayLike, image_label: ArrayLike, anomaly_map: Maps | None, ground_truth_mask: Masks | None
) -> dict[str, float | None]:
    """Return every metric of `METRICS`, None where it does not exist.

    Image metrics need images of both labels; pixel metrics need maps, a marked and a normal pixel. Scores are
    compared as float32.

    Args:
        image_score: (N,) raw scores, higher is more anomalous.
        image_label: (N,) 0 or 1.
        anomaly_map: (N, H, W), or N maps (H_i, W_i) of their own sizes, or None.
        ground_truth_mask: as `anomaly_map`, 0 where normal. An anomalous image whose mask is None or all zero
            has unknown pixels: it counts for the image metrics only.

    Raises:
        ValueError: lengths or shapes do not match, a label is not 0 or 1, a score is not finite, or a normal
            image has no mask or a marked pixel.
    """
    score = np.asarray(image_score, dtype=np.float32)
    label = np.asarray(image_label)
    if score.ndim != 1 or score.shape != label.shape:
        raise ValueError(f"image_score {score.shape} and image_label {label.shape} must both be (N,)")
    if not np.isin(label, (0, 1)).all():
        raise ValueError("image_label must be 0 or 1")
    found = {f"image_{name}": value for name, value in image_metrics(score, label).items()}
    if anomaly_map is not None:
        images = _known_images(label, anomaly_map, ground_truth_mask)
        found |= {f"pixel_{name}": value for name, value in (pixel_metrics(images) or {}).items()}
    return {name: found.get(name) for name in METRICS}


def image_metrics(score: NDArray[np.float32], label: NDArray[np.integer]) -> dict[str, float]:
    """Return AUROC, AP and F1-max of scores (N,) and labels (N,), by the names auroc, ap and f1max.

    Returns:
        An empty dict where all labels are the same.

    Raises:
        ValueError: a score is not finite.
    """
    check_finite(score)
    normal, anomalous = score[label == 0], pack(score[label == 1], 1)
    if len(normal) == 0 or len(anomalous) == 0:
        return {}
    curve = RankingMetrics()
    for ranks in rank([normal], len(normal), anomalous):
        curve.add(ranks)
    return curve.values()


def _known_images(
    label: NDArray[np.integer], anomaly_map: Maps, ground_truth_mask: Masks | None
) -> list[Pair]:
    """Pair the maps with their masks, without the anomalous images whose pixels are unknown."""
    if ground_truth_mask is None or not len(label) == len(anomaly_map) == len(ground_truth_mask):
        raise ValueError("anomaly_map and ground_truth_mask must have one entry for each image_label")
    images = []
    for i, (scores, mask) in enumerate(zip(anomaly_map, ground_truth_mask, strict=True)):
        if label[i] == 1 and (mask is None or not np.any(mask)):
            continue
        if mask is None or (label[i] == 0 and np.any(mask)):
            raise ValueError(f"image {i} is normal, so its mask must be all zero")
        if np.shape(scores) != np.shape(mask) or np.ndim(scores) != 2:
            raise ValueError(f"image {i}: map {np.shape(scores)} and mask {np.shape(mask)} must be (H, W)")
        images.append((np.asarray(scores, dtype=np.float32), np.asarray(mask) != 0))
    return images
