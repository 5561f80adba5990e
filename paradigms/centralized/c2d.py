"""The 2D paradigm: the order of events of a run, in every setting."""

import logging
import time
from contextlib import AbstractContextManager, nullcontext

import torch

from arch.base import ModelBase
from configuration import registration
from configuration.config import RunConfig
from data_io.data_holder import DataHolder, Step
from data_io.feature_cache import FeatureCache
from data_io.tensor_store import TensorStore
from paradigms.evaluation import evaluate_tests
from paradigms.method_factory import build_method
from paradigms.report import Report
from tools.progress import progress
from tools.record_helper import check_writable
from tools.resources import reset_peak_memory
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
    store = None
    if output.cache_dir is not None:
        store = TensorStore(output.cache_dir, int(output.cache_limit_gb * MEBIBYTES))
    method, weights = build_method(config, store)
    dataset_class = registration.load(registration.DATASETS[config.run.dataset])
    holder = DataHolder(dataset_class, config, method.needs_labels, method.needs_reference, store, progress)
    steps = holder.create()
    folder = RunFolder.create(output.work_dir)
    with folder.log():
        report = Report(config, folder, holder, store)
        for note in dict.fromkeys(holder.notes):
            logger.info("%s", note)
        if weights == NONE:
            logger.warning("the backbone starts from random weights (-w none)")
        report.save_plan(steps)
        for step in steps:
            if step.plan.is_fresh and step.number > 0:
                method, weights = build_method(config, store)
            run_step(step, method, weights, report)
        report.finish()


def run_step(step: Step, method: ModelBase, weights: str, report: Report) -> None:
    """Train or load, score the test sets, write the results."""
    reset_peak_memory(method.device)
    with _precision(report.config):
        start = time.perf_counter()
        if not report.load(method, step, weights):
            method.net.train()
            method.train_model(step.train_loader, step.plan.task)
            report.save(method, step, weights)
        if method.device.type == "cuda":
            torch.cuda.synchronize(method.device)
        fit_seconds = step.decode_seconds + time.perf_counter() - start
        _warm_up(method, step)
        evaluations = evaluate_tests(method, step.tests, report.holder)
    report.add(step, method, weights, evaluations, fit_seconds)
    if isinstance(method.feature_reader, FeatureCache):
        method.feature_reader.forget()


def _warm_up(method: ModelBase, step: Step) -> None:
    """Score one batch of training images, so that no timing pays for what happens once."""
    method.net.eval()
    with torch.set_grad_enabled(method.needs_grad):
        method.predict_batch(next(iter(step.train_loader)))


def _precision(config: RunConfig) -> AbstractContextManager[object]:
    if config.run.amp == "off":
        return nullcontext()
    return torch.autocast(config.run.device.split(":")[0], AMP_TYPES[config.run.amp])
