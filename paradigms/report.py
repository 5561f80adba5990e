"""What a run leaves behind: rows, scores, pictures, models; each on disk before the next step begins."""

import logging
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from arch.base import ModelBase
from configuration.config import RunConfig, config_values
from configuration.config_text import config_text
from data_io.data_holder import Prepared, Step
from data_io.steps import ALL_CLASSES
from data_io.tensor_store import TensorStore
from paradigms.evaluation import Evaluation
from paradigms.gallery import draw_shots, draw_task
from paradigms.method_factory import Built
from paradigms.provenance import config_hash, names_of
from paradigms.summary import forgetting_measures, summarised, whole_rows
from tools import resources
from tools.record_helper import METRICS, ResultRow, append, append_summary, code_version
from tools.run_folder import RunFolder, StepFiles

logger = logging.getLogger(__name__)


class Report:
    """The results of one run, written as they come.

    Args:
        config: the run's configuration.
        folder: the run's own folder.
        prepared: the steps of the run.
        store: the cache, whose statistics tell cold from warm; None for none.
        rows: what an interrupted run has given before, each row with the number of its step.

    Attributes:
        rows: those and what came since.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        prepared: Prepared,
        store: TensorStore | None,
        rows: Iterable[tuple[int, ResultRow]] = (),
    ) -> None:
        self.config = config
        self.folder = folder
        self.prepared = prepared
        self.store = store
        self.rows = list(rows)
        self._is_resumed = config.output.resume is not None

    def save_plan(self) -> None:
        """Write what will be run: the configuration, and the files of every step."""
        self.folder.save_config(config_text(config_values(self.config), self.config.origin))
        self.folder.save_split([self._step_files(step) for step in self.prepared.steps])

    def restore(self) -> None:
        """Write the rows of steps that were finished before into the tables that have lost them."""
        for number, row in self.rows:
            self._append(self.prepared.steps[number], row)

    def add(self, step: Step, built: Built, evaluations: Sequence[Evaluation], fit_seconds: float) -> None:
        """Write the rows, scores and pictures of one step."""
        cache = "off" if self.store is None else self.store.take_statistics().status
        for evaluation in evaluations:
            row = self._row(step, built.weights, evaluation, fit_seconds, cache)
            self._append(step, row)
            self.rows.append((step.number, row))
            logger.info("%s", one_line(row))
            if evaluation.test.plan.is_whole:
                self._save_task(step, evaluation)
        if self.config.output.vis:
            self._draw(step, evaluations, built.method)

    def finish(self) -> None:
        """Write the run's row of summary.csv."""
        whole = whole_rows(self.prepared.steps, self.rows)
        rows, measures = summarised(self.config, whole), forgetting_measures(self.config, whole)
        line = append_summary(self.config.output.work_dir, rows, measures, again=self._is_resumed)
        if len(whole) > 1:
            logger.info("%s", line)

    def _append(self, step: Step, row: ResultRow) -> None:
        suffix = self._suffix(step, row.valid_task)
        append(self.config.output.work_dir, row, suffix, again=self._is_resumed)

    def _suffix(self, step: Step, valid_task: int) -> str:
        return self.config.setting_row.file_suffix(step.plan.drawn, valid_task)

    def _save_task(self, step: Step, evaluation: Evaluation) -> None:
        plan = evaluation.test.plan
        names = names_of(plan.samples, self.config.data.root)
        labels, scores = evaluation.image_label, evaluation.image_score
        self.folder.append_scores(step.number, step.plan.task.id, plan.task_id, names, labels, scores)
        if self.config.output.save_maps and evaluation.anomaly_map is not None:
            kind = np.dtype("float32" if self.config.output.save_maps == "float32" else "float16")
            self.folder.save_maps(step.number, plan.task_id, evaluation.anomaly_map, kind)

    def _draw(self, step: Step, evaluations: Sequence[Evaluation], method: ModelBase) -> None:
        """Draw every category into vis<setting>/task_<trained task>/<category>/, and augmented shots."""
        for evaluation in evaluations:
            plan = evaluation.test.plan
            vis = f"vis{self._suffix(step, plan.task_id)}"
            folder = self.folder.path / vis / f"task_{step.plan.task.id}"
            if plan.category != ALL_CLASSES:
                draw_task(folder / plan.category.replace("/", "-"), evaluation, method, self.config)
        if step.plan.copies is not None:
            draw_shots(folder, step, step.plan.copies.count)

    def _row(
        self, step: Step, weights: str, evaluation: Evaluation, fit_seconds: float, cache: str
    ) -> ResultRow:
        run, plan = self.config.run, evaluation.test.plan
        count = len(plan.samples)
        return ResultRow(
            run_id=self.folder.run_id,
            started_at=self.folder.started_at,
            paradigm=run.paradigm,
            setting=run.setting,
            setting_params=step.plan.drawn,
            dataset=run.dataset,
            model=run.model,
            net=run.net,
            backbone=run.backbone,
            weights=weights,
            seed=run.seed,
            train_task=step.plan.task.id,
            train_category=step.plan.task.name,
            valid_task=plan.task_id,
            valid_category=plan.category,
            n_train=step.train_loader.num_images,
            n_test=count,
            n_test_anomalous=int(evaluation.image_label.sum()),
            **evaluation.metrics,
            extra_metrics=evaluation.extra_metrics,
            fit_seconds=fit_seconds,
            predict_seconds=evaluation.predict_seconds,
            images_per_second=count / evaluation.predict_seconds,
            peak_memory_mb=resources.peak_memory_mb(),
            peak_gpu_memory_mb=resources.peak_gpu_memory_mb(torch.device(run.device)),
            cache=cache,
            device=run.device,
            amp=run.amp,
            config_hash=config_hash(self.config),
            data_hash=self.prepared.data_hash,
            code_version=code_version(),
        )

    def _step_files(self, step: Step) -> StepFiles:
        root, task, drawn = self.config.data.root, step.plan.task, dict(step.plan.drawn)
        tests = {
            test.plan.task_id: names_of(test.plan.samples, root) for test in step.tests if test.plan.is_whole
        }
        train = names_of(step.plan.train, root)
        return StepFiles(step.number, task.setting, drawn, task.id, train, tests)


def one_line(row: ResultRow) -> str:
    """Return what a row says, short enough for a terminal."""
    metrics = [f"{name} {value:.4f}" for name in METRICS if (value := getattr(row, name)) is not None]
    return "  ".join(
        [
            f"{row.train_category} -> {row.valid_category}"
            if row.train_task != row.valid_task
            else row.valid_category,
            *metrics,
            f"fit {row.fit_seconds:.1f} s",
            f"{row.images_per_second:.0f} images/s",
        ]
    )
