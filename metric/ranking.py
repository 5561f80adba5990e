"""AUROC, average precision and F1-max from the ranks of the anomalous scores: exact, without bins.

These metrics, and the overlap of `metric.aupro`, change only at anomalous scores. So each is a sum (F1: the
maximum) over the anomalous scores of a term that depends on how many scores of either kind are as high.
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
    """Map finite float32 scores (K,) to integers of the same order: flip all bits, or only the sign."""
    bits = (score + np.float32(0)).view(np.uint32)  # adding 0 turns -0.0 into 0.0
    all_if_negative = (bits.view(np.int32) >> 31).view(np.uint32)
    key: UInt32 = bits ^ (all_if_negative | np.uint32(1 << 31))
    return key


def pack(score: NDArray[np.float32], tag: UInt32 | int) -> UInt64:
    """Join scores (K,) and tags (K,), all above 0, to integers that sort by score: one sort moves both.

    Raises:
        ValueError: a score is NaN or infinite.
    """
    check_finite(score)
    packed: UInt64 = order_keys(score).astype(np.uint64) << np.uint64(32) | np.uint64(tag)
    return packed


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
    num_anomalous = len(anomalous)
    counted: Int64 | None = None
    if num_normal < SORT_ALL_BELOW or num_anomalous > SORT_ALL_SHARE * num_normal:
        merged = np.empty(num_anomalous + num_normal, np.uint64)
    else:
        keys, counted = _count_in_buckets(keys, num_normal, anomalous)
        merged = np.empty(num_anomalous + sum(map(len, keys)), np.uint64)
    merged[:num_anomalous] = anomalous
    start = num_anomalous
    for part in keys:
        merged[start : start + len(part)] = part
        start += len(part)
    merged[num_anomalous:] <<= np.uint64(32)  # normal scores get tag 0, so that they lead a tie
    merged.sort()
    yield from _ranks_of_sorted(merged, counted, num_normal, num_anomalous)


def _checked_keys(normal: Iterable[NDArray[np.float32]]) -> Iterable[UInt32]:
    for part in normal:
        check_finite(part)
        yield order_keys(part)


@dataclass(frozen=True)
class _Buckets:
    """Equal ranges of keys; the first holds all keys below the lowest anomalous one, the last all above."""

    floor: np.uint32
    ceiling: np.uint32
    shift: int

    def of(self, key: UInt32) -> NDArray[np.intp]:
        """Return the buckets (K,) of keys (K,)."""
        offset: UInt32 = np.clip(key, self.floor, self.ceiling) - self.floor
        bucket: NDArray[np.intp] = (offset >> np.uint32(self.shift)).astype(np.intp)
        return bucket


def _buckets_for(anomalous_key: UInt32, num_normal: int) -> _Buckets:
    lowest, highest = int(anomalous_key.min()), int(anomalous_key.max())
    bits = max((BUCKETS_PER_SCORE * len(anomalous_key)).bit_length(), MIN_BUCKET_BITS)
    bits = min(bits, num_normal.bit_length())  # at most twice as many buckets as scores, of 4 bytes each
    shift = max((highest - lowest).bit_length() - bits, 0)
    margin = 1 << shift  # keys of finite scores leave room for it
    return _Buckets(np.uint32(lowest - margin), np.uint32(highest + margin), shift)


def _count_in_buckets(
    keys: Iterable[UInt32], num_normal: int, anomalous: UInt64
) -> tuple[list[UInt32], Int64]:
    """Count the normal keys whose bucket says where they stand; return those that must be sorted.

    Returns:
        The other keys, in parts, and running counts (2 K + 2,): entry 2 i counts the normal keys below the
        i-th anomalous score in order, the first of its tie; entry 2 i + 1 counts those tied with it also.
    """
    anomalous_key = (anomalous >> np.uint64(32)).astype(np.uint32)
    buckets = _buckets_for(anomalous_key, num_normal)
    occupied = buckets.of(anomalous_key)
    position = np.zeros(int(occupied.max()) + 2, np.int32)  # by bucket: twice the anomalous scores below it
    np.add.at(position, occupied + 1, 2)
    np.cumsum(position, out=position)
    position[occupied] |= 1  # odd where it holds an anomalous score
    count = np.zeros(2 * len(anomalous) + 2, np.int64)
    contested = []
    for part in keys:
        place = position.take(buckets.of(part), mode="clip")  # none is out of range; "clip" is the fast mode
        np.add.at(count, place.astype(np.intp), 1)
        if buckets.shift:  # else a bucket is a single score, and all in it are tied
            contested.append(part[place & 1 == 1])
    if buckets.shift:
        count[1::2] = 0
    return contested, np.cumsum(count, out=count)


def _ranks_of_sorted(
    merged: UInt64, counted: Int64 | None, num_normal: int, num_anomalous: int
) -> Iterator[Ranks]:
    """Rank the sorted anomalous scores among the normal ones, sorted with them or counted before."""
    tie_key, tie_place, tie_rank = None, 0, 0  # a tie may span blocks
    num_seen = 0  # anomalous scores of earlier blocks
    for start in range(0, len(merged), BLOCK):
        block = merged[start : start + BLOCK]
        key, tag = (block >> np.uint64(32)).astype(np.uint32), block.astype(np.uint32)
        is_anomalous = tag != 0
        place = np.arange(start, start + len(block))
        anomalous_rank = num_seen + np.cumsum(is_anomalous) - is_anomalous
        is_new = np.concatenate(([key[0] != tie_key], key[1:] != key[:-1]))
        first_place = np.maximum.accumulate(np.where(is_new, place, tie_place))  # of each tie
        first_rank = np.maximum.accumulate(np.where(is_new, anomalous_rank, tie_rank))
        tie_key, tie_place, tie_rank = key[-1], int(first_place[-1]), int(first_rank[-1])
        chosen = np.flatnonzero(is_anomalous)
        num_seen += len(chosen)
        if len(chosen) == 0:
            continue
        lowest = first_rank[chosen]
        below = first_place[chosen] - lowest
        not_above = place[chosen] - anomalous_rank[chosen]
        if counted is not None:
            below += counted[2 * lowest]
            not_above += counted[2 * lowest + 1]
        yield Ranks(
            num_normal,
            num_anomalous,
            tag[chosen],
            true_positive=num_anomalous - lowest,
            false_positive=num_normal - below,
            normal_above=num_normal - not_above,
        )
