"""Learning rates that fall in steps."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def step_schedule(optimizer: Optimizer, step_size: int, gamma: float, offset: int = 0) -> LambdaLR:
    """Return a schedule that multiplies the learning rate by `gamma` every `step_size` epochs.

    Args:
        optimizer: what is scheduled.
        step_size: epochs from one step to the next.
        gamma: factor of a step.
        offset: epochs by which the first step comes earlier than it does in torch's StepLR.
    """
    return LambdaLR(optimizer, lambda epoch: gamma ** ((epoch + offset) // step_size))
