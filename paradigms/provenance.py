"""What a run and a trained model are made from: what the hash covers, and what must agree to go on."""

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path

from configuration.config import RunConfig, config_values
from data_io.data_holder import Step
from data_io.records import Sample

NOT_HASHED = (  # change no result
    "root",
    "device",
    "num_workers",
    "data_memory_mb",
    "feature_memory_mb",
    "memory_limit_mb",
)
NOT_TRAINED = (  # change the results of a trained model at most, not the model
    "train_task_ids",  # the step and its task stand in the name of the file
    "valid_task_ids",
    "split_file",
    "valid_batch_size",
    "valid_aug_type",
    "mask_size",
    "mask_crop_size",
    "mask_threshold",
    "amp",
    "compile",
    "checkpoint_every",
)
# Keys that came after the first version, each with its default as text. They enter the hash where they differ
# from it only, and a run or a model from before them had the default: a new key closes no interrupted run.
LATER_KEYS = {
    "data_resize": "squash",
    "mask_threshold": "None",
    "white_level": "None",
}


def config_hash(config: RunConfig) -> str:
    """Return 12 hex digits that depend on all values that can change a result."""
    texts = {key: text for key, text in _texts(config, NOT_HASHED).items() if LATER_KEYS.get(key) != text}
    text = json.dumps(texts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def identity(config: RunConfig, data_hash: str) -> dict[str, str]:
    """Return all that the results of a run depend on, the code apart."""
    return {**_texts(config, NOT_HASHED), "data_hash": data_hash}


def made_from(config: RunConfig, step: Step, weights: str) -> dict[str, str]:
    """Return all that a trained model depends on, as the metadata of its file."""
    files = "\n".join(names_of(step.plan.train, config.data.root)).encode()
    return {
        **_texts(config, NOT_HASHED + NOT_TRAINED),
        "weights": weights,
        "training_images": hashlib.blake2b(files, digest_size=6).hexdigest(),
    }


def names_of(samples: Sequence[Sample], root: Path) -> list[str]:
    """Return the files of samples, relative to the data set's folder."""
    return [sample.path.relative_to(root).as_posix() for sample in samples]


def _texts(config: RunConfig, ignored: Collection[str]) -> dict[str, str]:
    """Return the values of a configuration but those of the output and those to ignore."""
    dropped = {*vars(config.output), *ignored}
    return {key: str(value) for key, value in config_values(config).items() if key not in dropped}
