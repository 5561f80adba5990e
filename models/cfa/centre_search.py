"""Exact nearest centres, most of which a bound in few dimensions rules out."""

import warnings

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.common.nearest import NearestNeighbours

OUTSIDE = 1e-3  # share of the bank's variance that its plane may leave out
MIN_SAVING = 2  # how many times fewer dimensions than the bank's the plane must have
NUM_GROUPS = 64
MAX_CANDIDATES = 256  # mean number per query above which full distances are taken instead
ROWS = 256  # queries at a time
SLACK = 1e-5  # of the squared norms, above the rounding of float32 sums


class CentreSearch(NearestNeighbours):
    """Search a bank that lies close to a plane of few dimensions, as means of feature maps do.

    With P the projection to the plane, |q - b|^2 >= |Pq - Pb|^2 + (|q - Pq| - |b - Pb|)^2 (Cauchy and
    Schwarz); all these bounds are one narrow matrix product. The k best rows of different groups give a limit
    that the k-th distance cannot exceed, and only rows whose bound is within it are compared in full.
    Groups are runs of rows; it is fastest where rows that are alike do not follow each other.
    A GPU, on which the full product is cheaper than the selection, searches as `NearestNeighbours` does.
    """

    plane: Tensor  # (D, R) orthonormal columns; without columns where it would not pay
    reduced: Tensor  # (M, R + 1) coordinates in the plane and distance from it
    length: Tensor  # (M,) norms |b|^2

    def replace(self, bank: Tensor) -> None:
        """Search these (M, D) rows from now on."""
        super().replace(bank)
        shifted = bank - self.offset
        self.register_buffer("plane", _main_directions(shifted), persistent=False)
        self.register_buffer("reduced", self._reduce(shifted), persistent=False)
        self.register_buffer("length", shifted.square().sum(1), persistent=False)

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
        bound = torch.addmm(self.length, self._reduce(shifted), self.reduced.T, alpha=-2)
        limit = self._limit(query, bound, k) - square + SLACK * (square + self.length.max())
        within = np.flatnonzero(bound.numpy() <= limit[:, None].numpy())  # several times faster than torch's
        if len(within) > MAX_CANDIDATES * len(query):
            return super()._search_chunk(query, k)
        row, column = (torch.from_numpy(part) for part in np.divmod(within, len(self.bank)))
        first = F.pad(torch.bincount(row, minlength=len(query)).cumsum(0), (1, 0))
        score = self.length[column] - 2 * _products(shifted, self.bank, first, column)
        index = column[_smallest_by_row(score, row, first, k)]
        distance, order = self._full_distance(query, index).sort(dim=1, stable=True)
        return distance, index.gather(1, order)

    def _limit(self, query: Tensor, bound: Tensor, k: int) -> Tensor:
        """Return (Q,) squared distances within which each query has at least k rows."""
        group_size = len(self.bank) // NUM_GROUPS
        groups = bound[:, : NUM_GROUPS * group_size].unflatten(1, (NUM_GROUPS, group_size))
        best = groups.amin(2).topk(k, largest=False, sorted=False).indices
        member = groups[torch.arange(len(query))[:, None], best].min(2).indices
        return self._full_distance(query, best * group_size + member).amax(1)

    def _full_distance(self, query: Tensor, index: Tensor) -> Tensor:
        """Return the (Q, k) squared distances of each query to the rows `index` (Q, k)."""
        row = self.bank.index_select(0, index.flatten()).view(*index.shape, -1)
        return row.sub_(query[:, None]).square_().sum(2)


def _main_directions(shifted: Tensor) -> Tensor:
    """Return (D, R) orthonormal columns that hold almost all variance; R = 0 where many would be needed."""
    rows, width = shifted.shape
    if rows < NUM_GROUPS:
        return shifted.new_empty(width, 0)
    variance, direction = torch.linalg.eigh(shifted.T @ shifted)  # ascending
    num_outside = int((variance.clamp(min=0).cumsum(0) <= OUTSIDE * variance.sum()).sum())
    plane = direction[:, num_outside:]
    return plane if MIN_SAVING * plane.shape[1] <= width else plane[:, :0]


def _products(query: Tensor, bank: Tensor, first: Tensor, column: Tensor) -> Tensor:
    """Return the (N,) inner products of (Q, D) queries with some rows of the (M, D) bank.

    Args:
        query: the queries.
        bank: the bank.
        first: (Q + 1,) where the rows of each query begin in `column`, and where the last ones end.
        column: (N,) row numbers in the bank, query by query, ascending.
    """
    zeros = query.new_zeros(len(column))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        wanted = torch.sparse_csr_tensor(
            first, column, zeros, size=(len(query), len(bank)), check_invariants=False
        )
    return torch.sparse.sampled_addmm(wanted, query, bank.T).values()


def _smallest_by_row(value: Tensor, row: Tensor, first: Tensor, k: int) -> Tensor:
    """Return the (Q, k) places of the smallest values of each row.

    Args:
        value: (N,) values.
        row: (N,) ascending row numbers.
        first: (Q + 1,) where each row begins, and where the last one ends.
        k: how many are wanted; every row has at least as many.
    """
    table = value.new_full((len(first) - 1, int(first.diff().max())), torch.inf)
    table[row, torch.arange(len(row)) - first[row]] = value
    return first[:-1, None] + table.topk(k, largest=False).indices
