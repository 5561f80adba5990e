"""Exact nearest neighbours in a memory bank."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_ROWS = 1024  # queries per matrix product; more would not make it faster
ROUND_OFF = 2.0**-8  # largest relative error of rounding to bfloat16
MARGIN = 1.05  # for the second-order terms of the bounds
MAX_CANDIDATES = 8  # mean number per query above which the short list is dropped


class NearestNeighbours(nn.Module):
    """Search the rows of a memory bank by squared Euclidean distance.

    Candidates come from a matrix product; the distances of the winners are recomputed from differences, so
    that nothing cancels and equal rows are at distance 0. A CPU that multiplies bfloat16 natively makes the
    product in bfloat16, keeps every row that its rounding error leaves possible, and compares those rows in
    float32.

    Args:
        bank: (M, D) float32 rows; may be empty until `replace` or `load_state_dict`.
        chunk_bytes: bound on the memory of one block of the distance matrix.
    """

    bank: Tensor  # (M, D), the only state that is saved
    offset: Tensor  # (D,) mean of the bank; shifted vectors b are shorter, so products round less
    square: Tensor  # (M,) norms |b|^2
    rough: Tensor  # (M, D + 2) bfloat16: -2 b and |b|^2 in two parts; without rows where it is not used
    bounds: Tensor  # (2,) largest |-2 b|, and largest norm of what its rounding to bfloat16 lost

    def __init__(self, bank: Tensor, chunk_bytes: int = 2**26) -> None:
        super().__init__()
        self.chunk_bytes = chunk_bytes
        self.replace(bank)

    def replace(self, bank: Tensor) -> None:
        """Search these (M, D) rows from now on."""
        offset = bank.mean(0) if len(bank) else bank.new_zeros(bank.shape[1])
        shifted = bank - offset
        square = shifted.square().sum(1)
        self.register_buffer("bank", bank)
        self.register_buffer("offset", offset, persistent=False)
        self.register_buffer("square", square, persistent=False)
        if not (len(bank) and _multiplies_bfloat16(bank.device)):
            shifted, square = shifted[:0], square[:0]
        factor = shifted.mul_(-2)
        rough = torch.cat([factor, square[:, None], (square - square.bfloat16())[:, None]], dim=1).bfloat16()
        lost = torch.linalg.vector_norm(factor - rough[:, :-2], dim=1)
        bounds = F.pad(torch.stack([2 * square.sqrt(), lost]), (0, 1)).amax(1)
        self.register_buffer("rough", rough, persistent=False)
        self.register_buffer("bounds", bounds, persistent=False)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        if f"{prefix}bank" in state_dict:
            self.replace(state_dict[f"{prefix}bank"].to(self.bank, copy=True))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @torch.no_grad()
    def search(self, query: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
        """Find the k nearest rows of each query.

        Args:
            query: (Q, D) float32 rows.
            k: number of neighbours, 1 to M.

        Returns:
            (Q, k) squared distances, ascending, and the (Q, k) int64 row numbers in the bank.

        Raises:
            ValueError: k is not within 1 to M.
        """
        if not 1 <= k <= len(self.bank):
            raise ValueError(f"k must be within 1 and the {len(self.bank)} rows of the bank, not {k}")
        bytes_per_row = 4 * max(len(self.bank), k * self.bank.shape[1])
        rows = max(1, min(MAX_ROWS, self.chunk_bytes // bytes_per_row))
        with torch.autocast(query.device.type, enabled=False):  # 16 bits would name other neighbours
            found = [self._search_chunk(chunk, k) for chunk in query.split(rows)]
        return torch.cat([distance for distance, _ in found]), torch.cat([index for _, index in found])

    def _search_chunk(self, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        shifted = query - self.offset
        if k == 1 and len(self.rough) and query.device.type == "cpu":
            found = self._search_rough(query, shifted)
            if found is not None:
                return found
        score = torch.addmm(self.square, shifted, self.bank.T, alpha=-2)  # the distance plus a constant
        index = _argmin(score) if k == 1 else score.topk(k, largest=False).indices
        row = self.bank.index_select(0, index.flatten()).view(*index.shape, -1)
        distance = row.sub_(query[:, None]).square_().sum(2)
        distance, order = distance.sort(dim=1, stable=True)
        return distance, index.gather(1, order)

    def _search_rough(self, query: Tensor, shifted: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the nearest rows by a bfloat16 short list, or None where the list would be long.

        By Cauchy and Schwarz, rounding q and b moves the score |b|^2 - 2 q.b by at most `error`, |lost of q|
        |2 b| + |q| |lost of 2 b|. Rounding the score itself is monotone, so that the score of the nearest row
        exceeds the least one by at most twice the error and the round-off near the least one.
        """
        low = F.pad(shifted, (0, 2), value=1).bfloat16()
        score = (low @ self.rough.T).float()
        lost = torch.linalg.vector_norm(shifted - low[:, :-2], dim=1)
        error = lost * self.bounds[0] + torch.linalg.vector_norm(shifted, dim=1) * self.bounds[1]
        error += (ROUND_OFF * self.bounds[0]) ** 2  # the two parts of the norm, and the float32 sums
        least = score.amin(1)
        limit = least + 2 * MARGIN * (error + ROUND_OFF * least.abs() + ROUND_OFF * error)
        near = score.numpy() <= limit[:, None].numpy()
        flat = torch.from_numpy(np.flatnonzero(near))  # numpy's is several times faster than torch's
        if len(flat) > MAX_CANDIDATES * len(query):
            return None
        row, column = flat // len(self.bank), flat % len(self.bank)
        candidate = self.bank.index_select(0, column).sub_(query.index_select(0, row)).square_().sum(1)
        distance = query.new_full((len(query),), torch.inf).scatter_reduce_(0, row, candidate, "amin")
        best = candidate == distance[row]
        index = column.new_zeros(len(query))
        index.scatter_reduce_(0, row[best], column[best], "amin", include_self=False)
        return distance[:, None], index[:, None]


def _multiplies_bfloat16(device: torch.device) -> bool:
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def _argmin(score: Tensor) -> Tensor:
    """Return the (Q, 1) first positions of the row minima; numpy's is several times faster on the CPU."""
    if score.device.type == "cpu":
        return torch.from_numpy(score.numpy().argmin(1))[:, None]
    return score.argmin(1, keepdim=True)
