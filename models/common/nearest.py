"""Exact nearest neighbours in a memory bank."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MAX_ROWS = 1024  # queries per matrix product; more would not make it faster
ROUND_OFF = 2.0**-8  # largest relative error of rounding to bfloat16
MARGIN = 1.05  # for the rounding of float32 sums, far below that of bfloat16
MAX_CANDIDATES = 8  # mean number per query above which the short list is dropped


class NearestNeighbours(nn.Module):
    """Search the rows of a memory bank by squared Euclidean distance.

    Candidates come from a matrix product; the distances of the winners are recomputed from differences, so
    that nothing cancels and equal rows are at distance 0. A CPU that multiplies bfloat16 natively makes the
    product in bfloat16, keeps every row that its rounding error leaves possible, and compares these in float32.

    Args:
        bank: (M, D) float32 rows; may be empty until `replace` or `load_state_dict`.
        chunk_bytes: bound on the memory of one block of the distance matrix.
    """

    bank: Tensor  # (M, D), the only state that is saved
    offset: Tensor  # (D,) mean of the bank; shifted vectors are shorter, so products round less
    square: Tensor  # (M,) squared norms of the shifted bank
    rough: Tensor  # (M, D) shifted bank in bfloat16; without rows where it is not used

    def __init__(self, bank: Tensor, chunk_bytes: int = 2**26) -> None:
        super().__init__()
        self.chunk_bytes = chunk_bytes
        self.replace(bank)

    def replace(self, bank: Tensor) -> None:
        """Search these (M, D) rows from now on."""
        offset = bank.mean(0) if len(bank) else bank.new_zeros(bank.shape[1])
        shifted = bank - offset
        self.register_buffer("bank", bank)
        self.register_buffer("offset", offset, persistent=False)
        self.register_buffer("square", shifted.square().sum(1), persistent=False)
        kept = len(bank) if _multiplies_bfloat16(bank.device) else 0
        self.register_buffer("rough", shifted[:kept].bfloat16(), persistent=False)

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
        found = [self._search_chunk(chunk, k) for chunk in query.split(rows)]
        return torch.cat([distance for distance, _ in found]), torch.cat([index for _, index in found])

    def _search_chunk(self, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        shifted = query - self.offset
        index = self._only_possible(query, shifted) if k == 1 and len(self.rough) else None
        if index is None:
            score = torch.addmm(self.square, shifted, self.bank.T, alpha=-2)  # per query, distance + constant
            index = _argmin(score) if k == 1 else score.topk(k, largest=False).indices
        distance = (query[:, None] - self.bank[index]).square_().sum(2)
        distance, order = distance.sort(dim=1, stable=True)
        return distance, index.gather(1, order)

    def _only_possible(self, query: Tensor, shifted: Tensor) -> Tensor | None:
        """Return the (Q, 1) nearest rows by a bfloat16 short list; None where the list would be long.

        With b the bank's longest shifted row, the score |b|^2 - 2 q.b errs by at most 4 u |q||b| from the
        rounding of q and b, u |b|^2 from that of the norm and u (|b|^2 + 2 |q||b|) from that of the result.
        """
        score = torch.addmm(self.square.bfloat16(), shifted.bfloat16(), self.rough.T, alpha=-2).float()
        longest = self.square.max()
        length = torch.linalg.vector_norm(shifted, dim=1, keepdim=True) * longest.sqrt()
        error = ROUND_OFF * MARGIN * (6 * length + 2 * longest)
        limit = score.amin(1, keepdim=True) + 2 * error
        flat = torch.from_numpy(np.flatnonzero(score.numpy() <= limit.numpy()))  # several times faster than torch
        if len(flat) > MAX_CANDIDATES * len(query):
            return None
        row, column = flat // len(self.bank), flat % len(self.bank)
        distance = (query[row] - self.bank[column]).square_().sum(1)
        least = query.new_full((len(query),), torch.inf).scatter_reduce_(0, row, distance, "amin")
        best = distance == least[row]
        index = column.new_zeros(len(query))
        index.scatter_reduce_(0, row[best], column[best], "amin", include_self=False)
        return index[:, None]


def _multiplies_bfloat16(device: torch.device) -> bool:
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def _argmin(score: Tensor) -> Tensor:
    """Return the (Q, 1) first positions of the row minima; numpy's is several times faster on the CPU."""
    if score.device.type == "cpu":
        return torch.from_numpy(score.numpy().argmin(1))[:, None]
    return score.argmin(1, keepdim=True)
