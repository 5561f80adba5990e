"""The metrics of data sets whose defects saturate (MVTec LOCO AD): AUROC and AU-sPRO per kind of anomaly."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from configuration.errors import UserError
from data_io.decode import Geometry, decode_channel, native_shape
from data_io.records import Sample
from dataset.base import Saturation
from metric.evaluate import image_metrics
from metric.loco import Channel, au_spro, saturation_area
from paradigms.resizing import resized

Map = NDArray[np.float32]


def saturated_metrics(
    samples: Sequence[Sample],
    image_score: NDArray[np.float32],
    anomaly_map: Map | None,
    saturation: Mapping[int, Saturation],
    geometry: Geometry,
) -> dict[str, float | None]:
    """Return `<kind>_auroc` and `<kind>_spro_<limit>` of the good images with each kind, and their means.

    A kind without a mask that marks anything has no sPRO; the mean is over the kinds that have one.

    Args:
        samples: N test images of one category.
        image_score: (N,).
        anomaly_map: (N, H, W) as the method gave them; they are measured at the images' own sizes.
        saturation: grey value of a mask -> when its defect counts as found.
        geometry: of the images.

    Raises:
        UserError: a mask has a grey value that the release's configuration does not know.
    """
    found: dict[str, dict[str, float]] = {}
    for kind in sorted({sample.kind for sample in samples if sample.image_label}):
        rows = [row for row, sample in enumerate(samples) if sample.kind == kind or not sample.image_label]
        chosen = [samples[row] for row in rows]
        label = np.array([sample.image_label for sample in chosen])
        values = {"auroc": image_metrics(image_score[rows], label).get("auroc", np.nan)}
        if anomaly_map is not None:
            maps = _NativeMaps(anomaly_map[rows], [native_shape(sample, geometry) for sample in chosen])
            areas = au_spro(maps, [_channels(sample, saturation, geometry) for sample in chosen])
            values |= {f"spro_{limit}": area for limit, area in (areas or {}).items()}
        found[kind.removesuffix("_anomalies")] = values
    names = dict.fromkeys(name for values in found.values() for name in values)
    means = {
        name: float(np.mean([values[name] for values in found.values() if name in values])) for name in names
    }
    found["mean"] = means
    return {f"{kind}_{name}": value for kind, values in found.items() for name, value in values.items()}


class _NativeMaps(Sequence[Map]):
    """Anomaly maps, each resized to its image's own size when it is asked for: all of them would be large."""

    def __init__(self, maps: Map, shapes: Sequence[tuple[int, int]]) -> None:
        self.maps = maps
        self.shapes = shapes

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, row: int) -> Map:  # type: ignore[override]  # a slice is never asked for
        native: Map = resized(self.maps[row : row + 1], self.shapes[row])[0]
        return native

    def __iter__(self) -> Iterator[Map]:
        return (self[row] for row in range(len(self)))


def _channels(sample: Sample, saturation: Mapping[int, Saturation], geometry: Geometry) -> list[Channel]:
    channels = []
    for path in sample.mask_paths:
        value, mask = decode_channel(path, geometry)
        if not mask.any():
            continue
        if value not in saturation:
            raise UserError(f"{path}: grey value {value} is not in defects_config.json; restore the mask")
        rule = saturation[value]
        area = saturation_area(int(mask.sum()), rule.threshold, rule.relative)
        channels.append(Channel(mask, area))
    return channels
