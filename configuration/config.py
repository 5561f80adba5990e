"""The configuration of a run: one frozen, typed record, and the function that builds it from the words typed."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Setting(str, Enum):
    """The six learning settings."""

    VANILLA = "vanilla"
    SEMI = "semi"
    FEWSHOT = "fewshot"
    CONTINUAL = "continual"
    NOISY = "noisy"
    TRANSFER = "transfer"


@dataclass(frozen=True)
class RunSection:
    """What is run: the method, its nets, the data set and its tasks."""

    paradigm: str
    setting: Setting
    model: str
    net: str
    backbone: str  # -bb, or -n where the net is itself a backbone; "" where there is none
    weights: str  # "imagenet", "none" or a path
    partial_weights: bool
    dataset: str
    train_task_ids: tuple[int, ...]
    valid_task_ids: tuple[int, ...]
    seed: int
    device: str  # as torch spells it: "cpu", "cuda:0"
    amp: str  # "off", "bf16" or "fp16"
    debug: bool


@dataclass(frozen=True)
class DataSection:
    """Where the images are and what becomes of them before a method sees them; sizes in pixels."""

    root: Path  # the data set's own folder
    num_task: int
    data_size: int
    data_crop_size: int
    mask_size: int | None  # None: the image's own size ("native")
    mask_crop_size: int | None  # None: the share of mask_size that data_crop_size is of data_size
    train_aug_type: str
    valid_aug_type: str
    train_batch_size: int
    valid_batch_size: int
    num_workers: int
    data_memory_mb: int  # decoded images above this are read from disk batch by batch
    batch_limit: int | None  # training batches in a pass; only with --debug
    split_file: Path | None  # repeat the split of an earlier run


@dataclass(frozen=True)
class SettingSection:
    """The parameters of the settings; each is used by its own setting only."""

    semi_anomaly_num: int
    semi_overlap: bool
    noisy_ratio: float
    noisy_overlap: bool
    anomaly_cap: float  # share of a task's test anomalies that semi and noisy may draw
    ref_num: int
    fewshot_exm: int
    fewshot_data_aug: bool
    fewshot_feat_aug: bool
    fewshot_num_dg: int
    fewshot_aug_type: tuple[str, ...]
    transfer_target_sample_num: int
    transfer_num_epochs: int | None  # None: num_epochs


@dataclass(frozen=True)
class TrainSection:
    """What every trained method shares."""

    num_epochs: int | None  # None for methods that do not train in epochs
    checkpoint_every: int  # epochs


@dataclass(frozen=True)
class OutputSection:
    """What is written and where."""

    work_dir: Path
    cache_dir: Path | None  # None: no cache
    cache_limit_mb: int
    vis: bool
    vis_num: int  # pictures per task
    vis_em: bool
    save_maps: bool
    save_model: bool
    load_model_dir: Path | None
    resume: Path | None


@dataclass(frozen=True)
class RunConfig:
    """Everything that a run is told, checked; nothing in it changes afterwards.

    Args:
        params: the method's own keys, an instance of its `Params`.
        dataset_params: the data set's own keys, an instance of its `Params`.
        origin: key -> the file or flag that its value comes from.
        notes: lines that the user should see at the start, such as a GPU that is not there.
    """

    run: RunSection
    data: DataSection
    setting: SettingSection
    train: TrainSection
    output: OutputSection
    params: object
    dataset_params: object
    origin: Mapping[str, str]
    notes: tuple[str, ...]
