"""Where a run stands, kept on disk so that an interrupted run can go on: `--resume`."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paradigms.provenance import LATER_KEYS
from tools.checkpoint import forged, load_training, require_agreement, save_training
from tools.files import LOCK, locked
from tools.record_helper import ResultRow

FILE = "checkpoint.pt"


@dataclass(frozen=True)
class Standing:
    """Where an interrupted run stands.

    Args:
        started_at: when the run began.
        step: number of the step that comes next or is unfinished.
        method: what the method has learned before it; None where the step starts with a new model.
        training: the state of the unfinished training; None where it has not begun.
        fit_seconds: time that this training has taken.
        rows: what the finished steps gave, each with the number of its step.
    """

    started_at: str
    step: int = 0
    method: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None
    fit_seconds: float = 0.0
    rows: tuple[tuple[int, ResultRow], ...] = ()

    def __post_init__(self) -> None:
        numbers = [self.step, *(number for number, _ in self.rows)]
        if not isinstance(self.step, int) or min(numbers) < 0 or not 0 <= self.fit_seconds < math.inf:
            raise ValueError("a number out of range")
        if not all(isinstance(part, Mapping | None) for part in (self.method, self.training)):
            raise TypeError("a state of another kind")


class Checkpoints:
    """Write and read the standing of one run.

    Args:
        folder: the run's own folder.
        identity: all that the run's results depend on: only the same run may go on.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str]) -> None:
        self.path = folder / FILE
        self.identity = dict(identity)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no other process go on with the run, which would double its rows.

        Raises:
            UserError: another process is at it.
        """
        folder = self.path.parent
        with locked(folder, f"--resume {folder}: another process is at this run; wait until it has ended"):
            try:
                yield
            finally:
                if not self.path.exists():  # nobody can go on with the run any more
                    with suppress(OSError):
                        (folder / LOCK).unlink()

    def read(self) -> Standing:
        """Return where the interrupted run stands.

        Raises:
            UserError: there is none, it is damaged, or it is of another run.
        """
        state = load_training(self.path)
        begun = f"--resume {self.path.parent}: begun with"
        with forged(self.path):
            require_agreement(begun, {**LATER_KEYS, **state.pop("identity", {})}, self.identity)
            rows = tuple((int(number), ResultRow(**row)) for number, row in state.pop("rows"))
            return Standing(**state, rows=rows)

    def write(self, standing: Standing) -> None:
        """Keep where the run stands.

        Raises:
            UserError: the file cannot be written.
        """
        rows = [(number, asdict(row)) for number, row in standing.rows]
        save_training(self.path, {**vars(standing), "rows": rows, "identity": self.identity})

    def remove(self) -> None:
        """Forget it: the run has finished."""
        self.path.unlink(missing_ok=True)
