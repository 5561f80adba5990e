"""One step of a run: learn a task, then score the test sets; every paradigm does both in this way."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from arch.base import ModelBase, Runtime
from configuration.config import RunConfig
from data_io.data_holder import Step
from paradigms.evaluation import Evaluation, evaluate_tests

AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def fit(step: Step, method: ModelBase, runtime: Runtime) -> None:
    """Train a method on a step's images, or go on with an interrupted training."""
    method.net.train()
    method.train_model(step.train_loader, step.plan.task, runtime)


def score(step: Step, method: ModelBase) -> Sequence[Evaluation]:
    """Return what the test sets of a step give; what happens once, in the first batch, is timed nowhere."""
    method.prediction([next(iter(step.train_loader.for_scoring()))])
    return evaluate_tests(method, step.tests)


def precision(config: RunConfig) -> AbstractContextManager[object]:
    """Return the context in which a method is trained and scores, mixed precision where it is asked for.

    It keeps no copies of weights: one context spans all steps, and a copy would miss every update.
    """
    if config.run.amp == "off":
        return nullcontext()
    return torch.autocast(config.run.device.split(":")[0], AMP_TYPES[config.run.amp], cache_enabled=False)
