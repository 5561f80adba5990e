"""Exact nearest centres, most of which a bound in few dimensions rules out."""

import numpy as np
import torch
from torch import Tensor

from models.common.nearest import NearestNeighbours

OUTSIDE = 3e-4  # share of the bank's variance that its plane may leave out
MIN_SAVING = 2  # how many times fewer dimensions than the bank's the plane must have
NUM_GROUPS = 64
MAX_CANDIDATES = 64  # mean number per query above which full distances are taken instead
ROWS = 256  # queries at a time, so that the memory of their candidates is small enough to be reused
SLACK = 1e-5  # of the squared norms, above the rounding of float32 sums


class CentreSearch(NearestNeighbours):
    """Search a bank that lies close to a plane of few dimensions, as means of feature maps do.

    With P the projection to the plane, |q - b|^2 >= |Pq - Pb|^2 + (|q - Pq| - |b - Pb|)^2 (Cauchy and
    Schwarz); all these bounds are one narrow matrix product. The k best rows of different groups give a limit
    that the k-th distance cannot exceed, and only rows whose bound is within it are compared in full.
    A GPU, on which the full product is cheaper than the selection, searches as `NearestNeighbours` does.
    """

    plane: Tensor  # (D, R) orthonormal columns; without columns where it would not pay
    shuffle: Tensor  # (M,) row numbers; without it rows alike, which are neighbours, would share a group
    reduced: Tensor  # (M, R + 1) coordinates in the plane and distance from it, shuffled
    shuffled_square: Tensor  # (M,) norms |b|^2, shuffled

    def replace(self, bank: Tensor) -> None:
        """Search these (M, D) rows from now on."""
        super().replace(bank)
        shifted = bank - self.offset
        shuffle = torch.randperm(len(bank), generator=torch.Generator().manual_seed(0)).to(bank.device)
        self.register_buffer("plane", _main_directions(shifted), persistent=False)
        self.register_buffer("shuffle", shuffle, persistent=False)
        self.register_buffer("reduced", self._reduce(shifted)[shuffle], persistent=False)
        self.register_buffer("shuffled_square", shifted.square().sum(1)[shuffle], persistent=False)

    def _reduce(self, shifted: Tensor) -> Tensor:
        """Return the coordinates of (N, D) points in the plane and their distance from it, (N, R + 1)."""
        inside = shifted @ self.plane
        outside = torch.linalg.vector_norm(shifted - inside @ self.plane.T, dim=1, keepdim=True)
        return torch.cat([inside, outside], dim=1)

    def _search_chunk(self, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        if query.device.type != "cpu" or not self.plane.shape[1] or k > NUM_GROUPS:
            return super()._search_chunk(query, k)
        with torch.autocast("cpu", enabled=False):  # the bounds hold up to the rounding of float32 only
            found = [self._search_few(part, k) for part in query.split(ROWS)]
        return torch.cat([distance for distance, _ in found]), torch.cat([index for _, index in found])

    def _search_few(self, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        shifted = query - self.offset
        square = shifted.square().sum(1)
        bound = torch.addmm(self.shuffled_square, self._reduce(shifted), self.reduced.T, alpha=-2)
        limit = self._limit(query, bound, k) - square + SLACK * (square + self.shuffled_square.max())
        within = np.flatnonzero(bound.numpy() <= limit[:, None].numpy())  # several times faster than torch's
        if len(within) > MAX_CANDIDATES * len(query):
            return super()._search_chunk(query, k)
        row, column = (torch.from_numpy(part) for part in np.divmod(within, len(self.bank)))
        index = self.shuffle[column]
        distance = self.bank.index_select(0, index).sub_(query.index_select(0, row)).square_().sum(1)
        distance, place = _smallest_by_row(distance, row, len(query), k)
        return distance, index[place]

    def _limit(self, query: Tensor, bound: Tensor, k: int) -> Tensor:
        """Return (Q,) squared distances within which each query has at least k rows."""
        group_size = len(self.bank) // NUM_GROUPS
        groups = bound[:, : NUM_GROUPS * group_size].unflatten(1, (NUM_GROUPS, group_size))
        best = groups.amin(2).topk(k, largest=False, sorted=False).indices
        member = groups[torch.arange(len(query))[:, None], best].min(2).indices
        row = self.shuffle[best * group_size + member]
        found = self.bank.index_select(0, row.flatten()).view(len(query), k, -1)
        return found.sub_(query[:, None]).square_().sum(2).amax(1)


def _main_directions(shifted: Tensor) -> Tensor:
    """Return (D, R) orthonormal columns that hold almost all variance; R = 0 where many would be needed."""
    rows, width = shifted.shape
    if rows < NUM_GROUPS:
        return shifted.new_empty(width, 0)
    variance, direction = torch.linalg.eigh(shifted.T @ shifted)  # ascending
    num_outside = int((variance.clamp(min=0).cumsum(0) <= OUTSIDE * variance.sum()).sum())
    plane = direction[:, num_outside:]
    return plane if MIN_SAVING * plane.shape[1] <= width else plane[:, :0]


def _smallest_by_row(value: Tensor, row: Tensor, num_rows: int, k: int) -> tuple[Tensor, Tensor]:
    """Return the (num_rows, k) smallest values of each row, ascending, and their places in `value`.

    Args:
        value: (N,) values.
        row: (N,) ascending row numbers.
        num_rows: number of rows.
        k: how many are wanted; every row has at least as many.
    """
    count = torch.bincount(row, minlength=num_rows)
    first = count.cumsum(0) - count
    table = value.new_full((num_rows, int(count.max())), torch.inf)
    table[row, torch.arange(len(row)) - first[row]] = value
    smallest, place = table.topk(k, largest=False)
    return smallest, first[:, None] + place
