"""AUROC, average precision and F1-max from the ranks of the anomalous scores: exact, without bins.

All three, and the overlap of `metric.aupro`, change only at anomalous scores. So each is a sum (F1: a maximum)
over the anomalous scores alone, of how many scores of either kind are at least as high.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UInt32 = NDArray[np.uint32]
UInt64 = NDArray[np.uint64]
Int64 = NDArray[np.int64]

SORT_ALL_BELOW = 1 << 17  # normal scores; fewer are sorted as they are
SORT_ALL_SHARE = 1 / 8  # anomalous per normal score; above it most buckets hold an anomalous score anyway
BUCKETS_PER_SCORE = 64  # so that few normal scores share a bucket with an anomalous one
MIN_BUCKET_BITS = 16  # so that a bucket spans at most 2^16 keys
BLOCK = 1 << 16  # scores ranked at a time; bounds the memory and stays in the processor's cache


@dataclass(frozen=True)
class Ranks:
    """A block of K anomalous scores among all scores of a test set.

    Args:
        num_normal: all normal scores.
        num_anomalous: all anomalous scores, not only this block's.
        tag: (K,) what `pack` was given with the score.
        true_positive: (K,) anomalous scores that are at least as high.
        false_positive: (K,) normal scores that are at least as high.
        normal_above: (K,) normal scores that are higher.
    """

    num_normal: int
    num_anomalous: int
    tag: UInt32
    true_positive: Int64
    false_positive: Int64
    normal_above: Int64


class RankingMetrics:
    """Running AUROC, average precision and F1-max; final once every block of a ranking is added.

    Attributes:
        auroc: area under the ROC curve, ties counted half.
        ap: sum of precision times gain of recall over the distinct thresholds, as scikit-learn defines it.
        f1max: highest F1 of all thresholds.
    """

    def __init__(self) -> None:
        self.auroc = 0.0
        self.ap = 0.0
        self.f1max = 0.0

    def add(self, ranks: Ranks) -> None:
        """Add the shares of one block."""
        positive = ranks.true_positive + ranks.false_positive
        tied_half = (ranks.false_positive + ranks.normal_above) / 2
        num_pairs = ranks.num_normal * ranks.num_anomalous
        self.auroc += float(np.sum(ranks.num_normal - tied_half)) / num_pairs
        self.ap += float(np.sum(ranks.true_positive / positive)) / ranks.num_anomalous
        f1 = 2 * ranks.true_positive / (positive + ranks.num_anomalous)
        self.f1max = max(self.f1max, float(f1.max()))

    def values(self) -> dict[str, float]:
        """Return the three metrics by name."""
        return {"auroc": self.auroc, "ap": self.ap, "f1max": self.f1max}


def order_keys(score: NDArray[np.float32]) -> UInt32:
    """Map finite float32 scores of any shape to integers of the same order (the sign bit decides the flip)."""
    bits = (score + np.float32(0)).view(np.uint32)  # adding 0 turns -0.0 into 0.0
    negative = (bits.view(np.int32) >> 31).view(np.uint32)  # all ones or all zeros
    return bits ^ (negative | np.uint32(1 << 31))


def pack(score: NDArray[np.float32], tag: UInt32 | int) -> UInt64:
    """Join scores (K,) and tags (K,), all above 0, to integers that sort by score: one sort moves both.

    Raises:
        ValueError: a score is NaN or infinite.
    """
    check_finite(score)
    return order_keys(score).astype(np.uint64) << np.uint64(32) | np.uint64(tag)


def check_finite(score: NDArray[np.float32]) -> None:
    """Raise ValueError where a score is NaN or infinite."""
    if not np.isfinite(score).all():
        raise ValueError("scores must be finite; found NaN or infinity")


def rank(normal: Iterable[NDArray[np.float32]], num_normal: int, anomalous: UInt64) -> Iterator[Ranks]:
    """Yield where the anomalous scores stand, in blocks, from the lowest score up.

    A normal score that shares its bucket with no anomalous one only needs counting; the rest is sorted.
    Sorting all would be simpler, but `np.sort` takes six times as long on some processors as on others.

    Args:
        normal: the normal scores in parts (K_i,); each part is read once.
        num_normal: their number, at least 1.
        anomalous: (K,) the anomalous scores, from `pack`, at least 1.

    Raises:
        ValueError: a normal score is NaN or infinite.
    """
    keys = _checked_keys(normal)
    counted: Int64 | None = None
    if num_normal >= SORT_ALL_BELOW and len(anomalous) <= SORT_ALL_SHARE * num_normal:
        contested, counted = _count_in_buckets(keys, num_normal, anomalous)
    else:
        contested = list(keys)
    num_anomalous = len(anomalous)
    merged = np.empty(num_anomalous + sum(map(len, contested)), np.uint64)
    merged[:num_anomalous] = anomalous
    start = num_anomalous
    for part in contested:
        merged[start : start + len(part)] = part
        start += len(part)
    merged[num_anomalous:] <<= np.uint64(32)  # normal scores get tag 0, so that they lead a tie
    merged.sort()
    yield from _ranks_of_sorted(merged, counted, num_normal, num_anomalous)


def _checked_keys(normal: Iterable[NDArray[np.float32]]) -> Iterator[UInt32]:
    for part in normal:
        check_finite(part)
        yield order_keys(part)


def _count_in_buckets(
    keys: Iterable[UInt32], num_normal: int, anomalous: UInt64
) -> tuple[list[UInt32], Int64]:
    """Count the normal keys whose bucket says where they stand; return those that must be sorted.

    Returns:
        The contested keys, in parts, and (2 K + 2,) running counts: for the lowest of tied anomalous scores, the
        i-th in order, entry 2 i counts the normal ones below it and entry 2 i + 1 those tied with it too.
    """
    anomalous_key = (anomalous >> np.uint64(32)).astype(np.uint32)
    lowest, highest = int(anomalous_key.min()), int(anomalous_key.max())
    bits = max((BUCKETS_PER_SCORE * len(anomalous)).bit_length(), MIN_BUCKET_BITS)
    bits = min(bits, num_normal.bit_length() - 1)
    shift = max((highest - lowest).bit_length() - bits, 0)
    floor = np.uint32(lowest - (1 << shift))  # bucket 0 is for all below; finite scores leave room for it
    ceiling = np.uint32(highest + (1 << shift))  # so is the last one for all above

    def bucket(key: UInt32) -> NDArray[np.intp]:
        return ((np.clip(key, floor, ceiling) - floor) >> np.uint32(shift)).astype(np.intp)

    position = np.zeros(int(bucket(ceiling)) + 1, np.int32)  # by bucket: 2 x (anomalous scores below)
    np.add.at(position, bucket(anomalous_key) + 1, 2)
    np.cumsum(position, out=position)
    position[bucket(anomalous_key)] += 1  # odd: holds anomalous scores
    count = np.zeros(2 * len(anomalous) + 2, np.int64)
    contested = []
    for part in keys:
        place = position.take(bucket(part), mode="clip")  # none is out of range; "clip" is the fast mode
        np.add.at(count, place.astype(np.intp), 1)
        if shift:  # else a bucket is one value, and who shares it is tied
            contested.append(part[place & 1 == 1])
    if shift:
        count[1::2] = 0
    return contested, np.cumsum(count, out=count)


def _ranks_of_sorted(
    merged: UInt64, counted: Int64 | None, num_normal: int, num_anomalous: int
) -> Iterator[Ranks]:
    """Rank the anomalous scores of a sorted array of both kinds, block by block; a tie may span blocks.

    Args:
        merged: (M,) the anomalous scores and the normal ones that are not in `counted`.
        counted: running counts, from `_count_in_buckets`, of the normal scores that are not in `merged`.
        num_normal: all normal scores.
        num_anomalous: all anomalous scores.
    """
    tie_start = tie_rank = 0  # of the tie that the last block ended in
    last_key = None
    num_seen = 0  # anomalous scores of earlier blocks
    for start in range(0, len(merged), BLOCK):
        block = merged[start : start + BLOCK]
        key, tag = (block >> np.uint64(32)).astype(np.uint32), block.astype(np.uint32)
        is_new = np.concatenate(([key[0] != last_key], key[1:] != key[:-1]))
        is_anomalous = tag != 0
        place = np.arange(start, start + len(block))
        rank_in_kind = num_seen + np.cumsum(is_anomalous) - is_anomalous
        chosen = np.flatnonzero(is_anomalous)
        first_place = np.maximum.accumulate(np.where(is_new, place, tie_start))
        first_rank = np.maximum.accumulate(np.where(is_new, rank_in_kind, tie_rank))
        last_key, tie_start, tie_rank = key[-1], int(first_place[-1]), int(first_rank[-1])
        num_seen += len(chosen)
        if len(chosen) == 0:
            continue
        lowest = first_rank[chosen]
        below = first_place[chosen] - lowest
        not_above = (place - rank_in_kind)[chosen]
        if counted is not None:
            below += counted[2 * lowest]
            not_above += counted[2 * lowest + 1]
        yield Ranks(
            num_normal, num_anomalous, tag[chosen], num_anomalous - lowest, num_normal - below, num_normal - not_above
        )
