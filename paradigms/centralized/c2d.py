"""The 2D paradigm: the order of events of a run, in every setting."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from arch.base import ModelBase, Runtime
from configuration import registration
from configuration.config import RunConfig
from configuration.errors import UserError
from data_io.data_holder import DataHolder, Step
from data_io.tensor_store import TensorStore
from paradigms.interruption import Checkpoints, Standing
from paradigms.kept_models import KeptModels
from paradigms.method_factory import Built, build_method
from paradigms.provenance import identity
from paradigms.report import Report
from paradigms.step import fit, precision, score
from tools.checkpoint import forged
from tools.progress import progress, progress_bar
from tools.record_helper import ResultRow, check_writable
from tools.resources import keep_freed_memory, naming_what_takes_memory, reset_peak_memory
from tools.run_folder import RunFolder

logger = logging.getLogger(__name__)
MEBIBYTES = 1024  # in a gibibyte


@naming_what_takes_memory()
def run(config: RunConfig) -> tuple[ResultRow, ...]:
    """Run a configuration from the data to the last row; return its rows.

    The work folder, the weights, every image and every model to load are checked before anything is written
    or trained.

    Raises:
        UserError: data, weights, models or the work folder are not as they should be, or take more memory
            than there is.
    """
    output = config.output
    check_writable(output.work_dir)
    if config.data.memory_limit_mb is None:
        keep_freed_memory()
    store = None
    if output.cache_dir is not None:
        store = TensorStore(output.cache_dir, int(output.cache_limit_gb * MEBIBYTES))
    built = build_method(config, store)
    dataset_class = registration.load(registration.DATASETS[config.run.dataset])
    prepared = DataHolder(dataset_class, config, built.method.needs, store, progress).create()
    models = KeptModels(config, built.weights)
    models.check(prepared.steps)
    with _begun(config, prepared.data_hash) as (folder, checkpoints, begun), folder.log():
        standing = begun
        report = Report(config, folder, prepared, store, standing.rows)
        for note in (*prepared.notes, *built.notes):
            logger.info("%s", note)
        report.save_plan()
        report.restore()
        if standing.method is not None:
            with forged(checkpoints.path):
                built.method.load_run_state(standing.method)
        checkpoints.write(standing)
        for step in prepared.steps[standing.step :]:
            if step.plan.is_fresh and step.number > standing.step:
                built = build_method(config, store)
            run_step(step, built, models, report, checkpoints, standing)
            standing = _after(step, prepared.steps, built.method, report)
            checkpoints.write(standing)
        report.finish()
        checkpoints.remove()
    return tuple(row for _, row in report.rows)


@contextmanager
def _begun(config: RunConfig, data_hash: str) -> Iterator[tuple[RunFolder, Checkpoints, Standing]]:
    """Hold the folder of a new run, or of the one that `--resume` names; yield it and where it stands.

    Raises:
        UserError: the run to go on with is none of the work folder, or another process is at it.
    """
    work_dir, path = config.output.work_dir, config.output.resume
    made_of = identity(config, data_hash)
    if path is None:
        folder = RunFolder.create(work_dir)
        checkpoints = Checkpoints(folder.path, made_of)
        with checkpoints.held():
            yield folder, checkpoints, Standing(folder.started_at)
        return
    if path.resolve().parent != (work_dir / "runs").resolve():
        raise UserError(
            f"--resume {path}: not a run of {work_dir}; set -wd to the folder of that run's runs/"
        )
    checkpoints = Checkpoints(path, made_of)
    with checkpoints.held():
        standing = checkpoints.read()
        yield RunFolder.reopen(path, standing.started_at, standing.step), checkpoints, standing


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
    built: Built,
    models: KeptModels,
    report: Report,
    checkpoints: Checkpoints,
    standing: Standing,
) -> None:
    """Train, go on with a training or load a model, score the test sets, write the results."""
    method = built.method
    reset_peak_memory(method.device)
    start = time.perf_counter() - standing.fit_seconds

    def keep(training: dict[str, Any]) -> None:
        seconds = time.perf_counter() - start
        checkpoints.write(replace(standing, method=None, training=training, fit_seconds=seconds))

    runtime = Runtime(method.device, progress_bar, built.folder_images, keep, standing.training)
    if built.features is not None:
        step = step.with_features(built.features.read)
    with precision(report.config):
        if not models.load(step, method):
            fit(step, method, runtime)
            models.save(step, method, report.folder.path)
        if method.device.type == "cuda":
            torch.cuda.synchronize(method.device)
        fit_seconds = step.decode_seconds + time.perf_counter() - start
        evaluations = score(step, method)
    report.add(step, built, evaluations, fit_seconds)
    if built.features is not None:
        built.features.forget()
