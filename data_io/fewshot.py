"""The few-shot setting: training on a handful of normal images."""

import random

from configuration.errors import UserError
from data_io.draws import draw
from data_io.records import Split


def take_shots(split: Split, num_shots: int, rng: random.Random) -> Split:
    """Return the split with min(num_shots, N) of its N training samples, in the order of the draw.

    Args:
        split: training and test samples of one task; the test set stays whole.
        num_shots: wanted number of shots; those of a smaller number are the first of a larger one.
        rng: the draw's own generator.

    Raises:
        UserError: no shot is asked for.
    """
    if num_shots < 1:
        raise UserError(
            f"cannot train on {num_shots} images; set fewshot_exm (-fe) "
            "or transfer_target_sample_num (-ttn) to at least 1"
        )
    return Split(draw(split.train, num_shots, rng), split.test)
