"""The 2D paradigm: the order of events of a run, in every setting."""

import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from arch.base import ModelBase
from configuration import registration
from configuration.config import RunConfig
from configuration.errors import UserError
from data_io.data_holder import DataHolder, Step
from data_io.feature_cache import FeatureCache
from data_io.tensor_store import TensorStore
from paradigms.evaluation import evaluate_tests
from paradigms.interruption import Checkpoints, Standing
from paradigms.method_factory import build_method
from paradigms.report import Report, identity, trained_state
from tools.progress import progress
from tools.record_helper import check_writable
from tools.resources import keep_freed_memory, reset_peak_memory
from tools.run_folder import RunFolder
from tools.weights import NONE

logger = logging.getLogger(__name__)
MEBIBYTES = 1024  # in a gibibyte
AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def run(config: RunConfig) -> None:
    """Run a configuration from the data to the last row.

    The work folder, the weights and every image are checked before anything is written or trained.

    Raises:
        UserError: data, weights or the work folder are not as they should be.
    """
    output = config.output
    check_writable(output.work_dir)
    if config.data.memory_limit_mb is None:
        keep_freed_memory()
    store = None
    if output.cache_dir is not None:
        store = TensorStore(output.cache_dir, int(output.cache_limit_gb * MEBIBYTES))
    method, weights = build_method(config, store)
    dataset_class = registration.load(registration.DATASETS[config.run.dataset])
    holder = DataHolder(dataset_class, config, method.needs_labels, method.needs_reference, store, progress)
    steps = holder.create()
    for step in steps:
        trained_state(config, holder, step, weights)  # refuses models that do not fit
    folder, standing = _begin(config, holder)
    checkpoints = Checkpoints(folder.path, identity(config, holder))
    with folder.log():
        report = Report(config, folder, holder, store, standing.rows)
        for note in dict.fromkeys(holder.notes):
            logger.info("%s", note)
        if weights == NONE:
            logger.warning("the backbone starts from random weights (-w none)")
        report.save_plan(steps)
        if standing.method is not None:
            method.load_run_state(standing.method)
        checkpoints.write(standing)
        for step in steps[standing.step :]:
            if step.plan.is_fresh and step.number > standing.step:
                method, weights = build_method(config, store)
            run_step(step, method, weights, report, checkpoints, standing)
            standing = _after(step, steps, method, report)
            checkpoints.write(standing)
        report.finish()
    checkpoints.remove()


def _begin(config: RunConfig, holder: DataHolder) -> tuple[RunFolder, Standing]:
    """Return the folder of a new run, or of the one that `--resume` names, and where it stands."""
    work_dir, path = config.output.work_dir, config.output.resume
    if path is None:
        folder = RunFolder.create(work_dir)
        return folder, Standing(folder.started_at)
    if path.resolve().parent != (work_dir / "runs").resolve():
        raise UserError(
            f"--resume {path}: not a run of {work_dir}; set -wd to the folder of that run's runs/"
        )
    standing = Checkpoints(path, identity(config, holder)).read()
    return RunFolder.reopen(path, standing.started_at, standing.step), standing


def _after(step: Step, steps: Sequence[Step], method: ModelBase, report: Report) -> Standing:
    """Return where the run stands when a step is done."""
    following = steps[step.number + 1 : step.number + 2]
    goes_on = any(not step.plan.is_fresh for step in following)
    return Standing(
        report.folder.started_at,
        step=step.number + 1,
        method=method.run_state() if goes_on else None,
        rows=tuple(report.rows),
    )


def run_step(
    step: Step,
    method: ModelBase,
    weights: str,
    report: Report,
    checkpoints: Checkpoints,
    standing: Standing,
) -> None:
    """Train, go on with a training or load a model, score the test sets, write the results."""
    reset_peak_memory(method.device)
    start = time.perf_counter() - standing.fit_seconds

    def keep(training: dict[str, Any]) -> None:
        seconds = time.perf_counter() - start
        checkpoints.write(replace(standing, method=None, training=training, fit_seconds=seconds))

    method.keep, method.interrupted = keep, standing.training
    with precision(report.config):
        if not report.load(method, step, weights):
            method.net.train()
            method.train_model(step.train_loader, step.plan.task)
            report.save(method, step, weights)
        if method.device.type == "cuda":
            torch.cuda.synchronize(method.device)
        fit_seconds = step.decode_seconds + time.perf_counter() - start
        method.prediction([next(iter(step.train_loader))])  # no timing pays for what happens once
        evaluations = evaluate_tests(method, step.tests, report.holder)
    report.add(step, method, weights, evaluations, fit_seconds)
    if isinstance(method.feature_reader, FeatureCache):
        method.feature_reader.forget()


def precision(config: RunConfig) -> AbstractContextManager[object]:
    """Return the context in which a method is trained and scores, mixed precision where it is asked for.

    It keeps no copies of weights: one context spans all steps, and a copy would miss every update.
    """
    if config.run.amp == "off":
        return nullcontext()
    return torch.autocast(config.run.device.split(":")[0], AMP_TYPES[config.run.amp], cache_enabled=False)
