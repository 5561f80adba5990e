"""Trained models on disk: `--save-model` keeps one for each step, `--load-model-dir` takes them up again."""

from collections.abc import Sequence
from pathlib import Path

from arch.base import ModelBase
from configuration.config import RunConfig
from data_io.data_holder import Step
from paradigms.provenance import LATER_KEYS, made_from
from tools.checkpoint import check_model, forged, load_model, save_model


class KeptModels:
    """The models of one run.

    Args:
        config: the run's configuration.
        weights: what the `weights` column says of the backbone.
    """

    def __init__(self, config: RunConfig, weights: str) -> None:
        self.config = config
        self.weights = weights

    def check(self, steps: Sequence[Step]) -> None:
        """Check the models that are to be loaded, one at a time.

        Raises:
            UserError: one cannot be read, or was made in another way.
        """
        folder = self.config.output.load_model_dir
        for step in steps if folder is not None else ():
            assert folder is not None
            check_model(_file(folder, step), made_from(self.config, step, self.weights), LATER_KEYS)

    def load(self, step: Step, method: ModelBase) -> bool:
        """Put the model of a step into the method; return whether one is to be loaded."""
        folder = self.config.output.load_model_dir
        if folder is None:
            return False
        path = _file(folder, step)
        with forged(path):
            method.load_state_dict(load_model(path))
        method.net.to(method.device)
        return True

    def save(self, step: Step, method: ModelBase, run_folder: Path) -> None:
        """Keep the trained model where `--save-model` asks for it."""
        if self.config.output.save_model:
            path = _file(run_folder / "models", step)
            save_model(path, method.state_dict(), made_from(self.config, step, self.weights))


def _file(folder: Path, step: Step) -> Path:
    return folder / f"step_{step.plan.task.step}_task_{step.plan.task.id}.safetensors"
