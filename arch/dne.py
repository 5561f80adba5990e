"""DNE: CutPaste that remembers the Gaussian of every task's normal embeddings and scores by all of them.

Source: Li et al., "Towards Continual Adaptation in Industrial Anomaly Detection", ACM Multimedia 2022; the
authors' code is not public.
Differs from the source: where a trunk has batch norms they keep their statistics, for the paper's, a
transformer, has none. Learning rate, length of training and head are those of IM-IAD.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from arch.base import Prediction, Runtime
from arch.kinds.cut_paste import CutPasteMethod, CutPasteParams
from configuration.config import RunConfig
from data_io.records import BatchLoader, ScoringBatch, Task, TrainBatch
from models.common.density import Gaussian, NearestGaussian, fit_gaussian
from models.common.gaussian import inverse_root
from models.dne.mixture import mix_moments, mix_samples


class DNE(CutPasteMethod):
    """Learn task after task with one net; what is kept of a task is its Gaussian, as the net saw it then.

    Training writes the memory, once per task; scoring only reads.
    """

    @dataclass(frozen=True)
    class Params(CutPasteParams):
        """The keys of 1_model_base/dne.yaml that begin with an underscore."""

        mixture: Literal["sample", "moments", "min"]
        renormalize: bool  # bring samples of past Gaussians to length 1
        eval_classifier: Literal["density", "head"]
        fix_head: bool  # from the second task on

    params: Params

    def __init__(self, config: RunConfig, params: Params) -> None:
        self.density = NearestGaussian()
        super().__init__(config, params, self.density)

    def begin_task(self, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        """Fix the head where it is to be fixed."""
        super().begin_task(loader, task, runtime)
        self.is_head_fixed = self.params.fix_head and task.step > 0
        self.net.head.requires_grad_(not self.is_head_fixed)

    def loss(self, batch: TrainBatch) -> Tensor:
        """Return the cross-entropy; a fixed head keeps its statistics as well."""
        if self.is_head_fixed:
            self.net.head.eval()
        return super().loss(batch)

    def learn_density(self, embedding: Tensor, num_images: int, task: Task) -> None:
        """Remember this task's Gaussian, and mix those of all tasks."""
        gaussian = fit_gaussian(embedding, self.params.shrinkage)._replace(num_images=num_images)
        inverse_root(gaussian.covariance[None])  # later tasks draw from it, if it can be factorised
        self.density.fit(self._mixed(gaussian, embedding, task))
        self.net.memory.append(gaussian)

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Score images by the mixture, or by what the head takes for pasted."""
        if self.params.eval_classifier == "head":
            return Prediction(image_score=self.net.made_probability(batch.image), anomaly_map=None)
        return super().predict_batch(batch)

    def _mixed(self, gaussian: Gaussian, embedding: Tensor, task: Task) -> list[Gaussian]:
        """Return the Gaussians to score by: one for all tasks, or one for each."""
        params, past = self.params, self.net.memory.gaussians
        match params.mixture:
            case "min":
                return [*past, gaussian]
            case "moments":
                return [mix_moments([*past, gaussian])]
            case "sample":
                generator = task.generator("samples of past tasks")
                views = len(embedding) / gaussian.num_images
                return [mix_samples(past, embedding, views, generator, params.renormalize, params.shrinkage)]
