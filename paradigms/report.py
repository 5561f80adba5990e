"""What a run leaves behind: rows, scores, pictures, models; each on disk before the next step begins."""

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from arch.base import ModelBase
from configuration.config import RunConfig, Setting, config_values
from data_io.data_holder import DataHolder, Step
from data_io.records import Sample
from data_io.steps import POOLED
from data_io.tensor_store import TensorStore
from metric.forgetting import forgetting
from paradigms.evaluation import Evaluation
from paradigms.gallery import draw_shots, draw_task
from tools import resources
from tools.checkpoint import load_model, save_model
from tools.record_helper import (
    METRICS,
    ResultRow,
    append,
    append_summary,
    code_version,
    config_hash,
    evaluated,
    setting_suffix,
)
from tools.run_folder import RunFolder, StepFiles

logger = logging.getLogger(__name__)
NOT_HASHED = (
    "root",
    "root_origin",
    "device",
    "num_workers",
    "data_memory_mb",
    "feature_memory_mb",
    "memory_limit_mb",
)  # change no result
NOT_TRAINED = (
    "train_task_ids",  # the step and its task stand in the name of the file
    "valid_task_ids",
    "split_file",
    "valid_batch_size",
    "valid_aug_type",
    "mask_size",
    "mask_crop_size",
    "amp",
    "compile",
    "checkpoint_every",
)  # change the results of a trained model at most, not the model


class Report:
    """The results of one run, written as they come.

    Args:
        config: the run's configuration.
        folder: the run's own folder.
        holder: where the data come from.
        store: the cache, whose statistics tell cold from warm; None for none.
        rows: what an interrupted run has given before, each row with the number of its step.

    Attributes:
        rows: those and what came since.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        holder: DataHolder,
        store: TensorStore | None,
        rows: Iterable[tuple[int, ResultRow]] = (),
    ) -> None:
        self.config = config
        self.folder = folder
        self.holder = holder
        self.store = store
        self.rows = list(rows)
        self._written = evaluated(config.output.work_dir, folder.run_id)

    def save_plan(self, steps: Sequence[Step]) -> None:
        """Write what will be run: the configuration, and the files of every step."""
        self.folder.save_config(config_values(self.config), self.config.origin)
        self.folder.save_split([self._step_files(step) for step in steps])

    def add(
        self,
        step: Step,
        method: ModelBase,
        weights: str,
        evaluations: Sequence[Evaluation],
        fit_seconds: float,
    ) -> None:
        """Write the rows, scores and pictures of one step, and the model where it is asked for."""
        cache = "off" if self.store is None else self.store.take_statistics().status
        for evaluation in evaluations:
            row = self._row(step, weights, evaluation, fit_seconds, cache)
            if (row.train_task, row.valid_task, row.valid_category) not in self._written:
                append(self.config.output.work_dir, row)
            self.rows.append((step.number, row))
            logger.info("%s", one_line(row))
        for evaluation in whole_tasks(evaluations):
            self._save_task(step, evaluation)
        if self.config.output.vis:
            self._draw(step, evaluations, method)

    def finish(self) -> None:
        """Write the run's row of summary.csv."""
        whole = {(number, row.valid_task): row for number, row in self.rows}  # a task's last row is the whole
        rows = list(whole.values())
        setting = self.config.run.setting
        last_step = self.rows[-1][0]
        if setting is Setting.CONTINUAL:
            rows = [row for (number, _), row in whole.items() if number == last_step]
        if setting is Setting.TRANSFER:
            rows = [whole[last_step, self.config.run.valid_task_ids[0]]]
        measures: dict[str, float | None] = {}
        if setting is Setting.CONTINUAL:
            for metric in METRICS:
                table = self._score_table(whole, metric)
                measures[f"fm_{metric}"], measures[f"fm_all_{metric}"] = forgetting(table)
        append_summary(self.config.output.work_dir, rows, measures)

    def load(self, method: ModelBase, step: Step, weights: str) -> bool:
        """Put what `--load-model-dir` holds for this step into the method; return whether there was any."""
        state = trained_state(self.config, self.holder, step, weights)
        if state is None:
            return False
        method.load_state_dict(state)
        method.net.to(method.device)
        return True

    def save(self, method: ModelBase, step: Step, weights: str) -> None:
        """Keep the trained model where `--save-model` asks for it."""
        if not self.config.output.save_model:
            return
        path = _model_file(self.folder.path / "models", step)
        save_model(path, method.state_dict(), made_from(self.config, self.holder, step, weights))

    def _save_task(self, step: Step, evaluation: Evaluation) -> None:
        plan = evaluation.test.plan
        names = names_of(plan.samples, self.holder)
        labels, scores = evaluation.image_label, evaluation.image_score
        self.folder.append_scores(step.number, step.plan.task.id, plan.task_id, names, labels, scores)
        if self.config.output.save_maps and evaluation.anomaly_map is not None:
            self.folder.save_maps(step.number, plan.task_id, evaluation.anomaly_map)

    def _draw(self, step: Step, evaluations: Sequence[Evaluation], method: ModelBase) -> None:
        """Draw every category into vis<setting>/task_<trained task>/<category>/, and augmented shots."""
        setting, task = self.config.run.setting, step.plan.task
        for evaluation in evaluations:
            plan = evaluation.test.plan
            suffix = setting_suffix(setting.value, step.plan.drawn, plan.task_id)
            folder = self.folder.path / f"vis{suffix}" / f"task_{task.id}"
            if plan.category != POOLED:
                draw_task(folder / plan.category.replace("/", "-"), evaluation, method, self.config)
        if setting is Setting.FEWSHOT and self.config.setting.fewshot_data_aug:
            draw_shots(folder, step, self.config.setting.fewshot_num_dg)

    def _row(
        self, step: Step, weights: str, evaluation: Evaluation, fit_seconds: float, cache: str
    ) -> ResultRow:
        run, plan = self.config.run, evaluation.test.plan
        count = len(plan.samples)
        return ResultRow(
            run_id=self.folder.run_id,
            started_at=self.folder.started_at,
            paradigm=run.paradigm,
            setting=run.setting.value,
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
            peak_gpu_memory_mb=resources.peak_gpu_memory_mb(self.holder.device),
            cache=cache,
            device=run.device,
            amp=run.amp,
            config_hash=hash_of(self.config),
            data_hash=self.holder.data_hash,
            code_version=code_version(),
        )

    def _score_table(self, whole: Mapping[tuple[int, int], ResultRow], metric: str) -> NDArray[np.float64]:
        """Return the (T, T) scores of a continual run by step and task, NaN where there is none."""
        tasks = self.config.run.train_task_ids
        rows = [
            [getattr(whole.get((step, task)), metric, None) for task in tasks] for step in range(len(tasks))
        ]
        return np.array(rows, np.float64)

    def _step_files(self, step: Step) -> StepFiles:
        tests = {test.plan.task_id: names_of(test.plan.samples, self.holder) for test in step.tests}
        task, drawn = step.plan.task, dict(step.plan.drawn)
        train = names_of(step.plan.train, self.holder)
        return StepFiles(step.number, task.setting, drawn, task.id, train, tests)


def hash_of(config: RunConfig) -> str:
    """Return the hash of all that can change a result."""
    return config_hash(_texts(config, NOT_HASHED))


def identity(config: RunConfig, holder: DataHolder) -> dict[str, str]:
    """Return all that the results of a run depend on, the code apart."""
    return {**_texts(config, NOT_HASHED), "data_hash": holder.data_hash}


def names_of(samples: Sequence[Sample], holder: DataHolder) -> list[str]:
    """Return the files of samples, relative to the data set's folder."""
    return [sample.path.relative_to(holder.dataset.root).as_posix() for sample in samples]


def made_from(config: RunConfig, holder: DataHolder, step: Step, weights: str) -> dict[str, str]:
    """Return all that a trained model depends on, as the metadata of its file."""
    files = "\n".join(names_of(step.plan.train, holder)).encode()
    return {
        **_texts(config, NOT_HASHED + NOT_TRAINED),
        "weights": weights,
        "training_images": hashlib.blake2b(files, digest_size=6).hexdigest(),
    }


def _texts(config: RunConfig, ignored: Collection[str]) -> dict[str, str]:
    """Return the values of a configuration without those of the output and those to ignore."""
    values = {**config_values(config), "setting": config.run.setting.value}
    dropped = {*vars(config.output), *ignored}
    return {key: str(value) for key, value in values.items() if key not in dropped}


def trained_state(
    config: RunConfig, holder: DataHolder, step: Step, weights: str
) -> dict[str, Tensor] | None:
    """Return what `--load-model-dir` holds for a step; None where no model is to be loaded.

    Raises:
        UserError: it cannot be read, or was trained in another way.
    """
    folder = config.output.load_model_dir
    if folder is None:
        return None
    return load_model(_model_file(folder, step), made_from(config, holder, step, weights))[0]


def whole_tasks(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return one evaluation per tested task: the last one of a task stands for all of its categories."""
    return list({evaluation.test.plan.task_id: evaluation for evaluation in evaluations}.values())


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


def _model_file(folder: Path, step: Step) -> Path:
    return folder / f"step_{step.plan.task.step}_task_{step.plan.task.id}.safetensors"
