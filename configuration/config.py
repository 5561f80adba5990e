"""The configuration of a run: one frozen, typed record, and how it is built from a command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar, get_type_hints

from configuration import command_line, registration
from configuration.checks import check_method, task_ids
from configuration.coercion import fill
from configuration.command_line import Request
from configuration.errors import UserError
from configuration.merge import raise_all
from configuration.paths import data_folder
from configuration.resolve import Resolved, resolve
from configuration.rows import SettingRow

AugType = Literal["normal", "cutpaste"]
Resize = Literal["squash", "short_side"]
ShotAugType = Literal["normal", "rotation", "scale", "translate", "flip", "color_jitter", "perspective"]
Amp = Literal["off", "bf16", "fp16"]


class Record(Protocol):
    """A frozen dataclass: keys of a method's or a data set's own, which only their owner reads by name."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True)
class RunSection:
    """What is run: the method, its nets, the data set and its tasks."""

    paradigm: str
    setting: str
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
    amp: Amp
    debug: bool


@dataclass(frozen=True)
class DataSection:
    """Where the images are and what becomes of them before a method sees them; sizes in pixels."""

    root: Path  # the data set's own folder
    root_origin: str  # how it was found, for the error that finds it empty
    num_task: int
    data_size: int
    data_crop_size: int
    data_resize: Resize
    mask_size: int | None  # None: the image's own size ("native")
    mask_crop_size: int | None  # None: the share of mask_size that data_crop_size is of data_size
    mask_threshold: float | None  # grey value from which a mask marks, or share of 255; None: the data set's
    white_level: float | None  # grey value of white in images of more than 8 bits; None: told by the images
    train_aug_type: AugType
    valid_aug_type: AugType
    train_batch_size: int
    valid_batch_size: int
    num_workers: int
    data_memory_mb: int  # decoded images above this are read from disk batch by batch
    feature_memory_mb: int  # frozen features above this are read from the cache or computed again
    memory_limit_mb: int | None  # at most a quarter of it for each of the two above; None: no limit
    batch_limit: int | None  # training batches in a pass; only with --debug
    split_file: Path | None  # repeat the split of an earlier run


@dataclass(frozen=True)
class SettingSection:
    """The parameters of the settings; each is used by its own setting only."""

    semi_anomaly_num: int
    semi_overlap: bool
    semi_kind: str | None  # None: all kinds of defects
    semi_use_anomalies_as_normal: bool  # by methods that know no labels, which are refused otherwise
    noisy_ratio: float
    noisy_overlap: bool
    anomaly_cap: float  # share of a task's test anomalies that semi and noisy may draw
    ref_num: int
    fewshot_exm: int
    fewshot_data_aug: bool
    fewshot_feat_aug: bool
    fewshot_num_dg: int
    fewshot_aug_type: tuple[ShotAugType, ...]
    transfer_target_sample_num: int
    transfer_num_epochs: int | None  # None: num_epochs


@dataclass(frozen=True)
class TrainSection:
    """What every trained method shares."""

    num_epochs: int | None  # None for methods that do not train in epochs
    checkpoint_every: int  # epochs
    compile: bool  # compile the net of the method


@dataclass(frozen=True)
class OutputSection:
    """What is written and where."""

    work_dir: Path
    cache_dir: Path | None  # None: no cache
    cache_limit_gb: float
    vis: bool
    vis_num: int  # pictures per task
    vis_em: bool
    save_maps: bool | Literal["float16", "float32"]  # True: float16
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
    params: Record
    dataset_params: Record
    origin: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def setting_row(self) -> SettingRow:
        """What the registration says of the setting."""
        return registration.SETTINGS[self.run.setting]


_SECTIONS = (RunSection, DataSection, SettingSection, TrainSection, OutputSection)
_DERIVED = frozenset(
    {"paradigm", "setting", "model", "dataset", "backbone", "train_task_ids", "valid_task_ids", "device"}
    | {"root", "root_origin"}
)
# keys of the YAML files that become another field, or a field of another type
_TRANSLATED: dict[str, Any] = {
    "train_task_id": tuple[int | Literal["all"], ...],
    "valid_task_id": tuple[int | Literal["all"], ...] | None,
    "gpu_id": int | Literal["cpu"],
    "root_path": Path | None,
    "data_folder": Path | None,
    "data_path": str,
    "server_moda": str,
    "mask_size": int | Literal["native"],
    "weights": Literal["imagenet", "none"] | Path,
    "cache": bool,
    "load_model": bool,
}

T = TypeVar("T")


def load_config(argv: Sequence[str]) -> RunConfig:
    """Build the configuration of a run from the words of its command line and the YAML files.

    Raises:
        UserError: one line per problem: file, key or flag, and how to mend it.
        SystemExit: --help was given and has been answered.
    """
    return configured(command_line.parse(argv))


def configured(request: Request) -> RunConfig:
    """Build the configuration of a run from what was typed and the YAML files.

    What needs no method is checked first, so that a wrong flag is refused before torch is imported.

    Raises:
        UserError: one line per problem: file, key or flag, and how to mend it.
    """
    registration.check_tables()
    resolved = resolve(request, _hints())
    model, dataset = str(resolved.names["model"].value), str(resolved.names["dataset"].value)
    method = registration.load(registration.MODELS[model])
    dataset_class = registration.load(registration.DATASETS[dataset])
    raise_all(check_method(method, resolved.names, resolved.setting, resolved.backbone, resolved.plain))
    params = fill(method.Params, resolved.method, "_", resolved.nets, resolved.files.model)
    dataset_params = fill(dataset_class.Params, resolved.dataset, "", resolved.nets, resolved.files.dataset)
    config = _build(resolved, params, dataset_params)
    reason = method.unsupported(config, params)
    if reason is not None:
        raise UserError(f"--model {model}: {reason}")
    return config


def config_values(config: RunConfig) -> dict[str, Any]:
    """Return every value of a configuration by its name, those of the method's own with their underscore."""
    sections = (config.run, config.data, config.setting, config.train, config.output)
    plain = {name: value for section in sections for name, value in vars(section).items()}
    del plain["root_origin"]  # stands with the other origins
    return {**plain, **method_values(config), **vars(config.dataset_params)}


def method_values(config: RunConfig) -> dict[str, Any]:
    """Return the values of the method's own keys, by their names with the underscore."""
    return {f"_{name}": value for name, value in vars(config.params).items()}


def _hints() -> dict[str, Any]:
    """Return the type of every key that the framework reads; most have the name of a field."""
    found = {key: hint for section in _SECTIONS for key, hint in get_type_hints(section).items()}
    return {key: hint for key, hint in found.items() if key not in _DERIVED} | _TRANSLATED


def _build(resolved: Resolved, params: Record, dataset_params: Record) -> RunConfig:
    """Fill the records; torch is asked for the device here and nowhere else."""
    from configuration.device import choose_device  # imports torch, which takes seconds

    plain = {key: value.value for key, value in resolved.plain.items()}
    train_ids, valid_ids = task_ids(resolved.plain)
    device, notes = choose_device(plain["gpu_id"])
    root, root_origin = data_folder(
        plain["data_folder"], plain["root_path"], plain["data_path"], plain["server_moda"]
    )
    values = {
        **plain,
        **{key: value.value for key, value in resolved.names.items()},
        "setting": resolved.setting,
        "backbone": resolved.backbone.value,
        "train_task_ids": train_ids,
        "valid_task_ids": valid_ids,
        "device": device,
        "root": root,
        "root_origin": root_origin,
        "weights": str(plain["weights"]),
        "num_epochs": plain.get("num_epochs"),
        **_held_in_memory(plain),
        "mask_size": None if plain["mask_size"] == "native" else plain["mask_size"],
        "work_dir": plain["work_dir"] / "debug" if plain["debug"] else plain["work_dir"],
        "cache_dir": (plain["cache_dir"] or plain["work_dir"] / "cache") if plain["cache"] else None,
    }
    return RunConfig(
        run=_section(RunSection, values),
        data=_section(DataSection, values),
        setting=_section(SettingSection, values),
        train=_section(TrainSection, values),
        output=_section(OutputSection, values),
        params=params,
        dataset_params=dataset_params,
        origin=_origins(resolved, root_origin),
        notes=notes,
    )


def _held_in_memory(plain: Mapping[str, Any]) -> dict[str, int]:
    """Return how much of images and of features may be held, in MiB: at most half of a limit together.

    The other half is for the program, the net and what a method learns.
    """
    limit = plain["memory_limit_mb"]
    keys = ("data_memory_mb", "feature_memory_mb")
    return {key: plain[key] if limit is None else min(plain[key], limit // 4) for key in keys}


def _section(section: type[T], values: Mapping[str, Any]) -> T:
    return section(**{name: values[name] for name in get_type_hints(section)})


def _origins(resolved: Resolved, root_origin: str) -> dict[str, str]:
    """Return the origin of every key, and of the fields that are made of keys."""
    values = {**resolved.plain, **resolved.names, **resolved.method, **resolved.dataset}
    made_of = {"train_task_ids": "train_task_id", "valid_task_ids": "valid_task_id", "device": "gpu_id"}
    values |= {field: values[key] for field, key in made_of.items()}
    values["backbone"] = resolved.backbone
    origins = {key: value.origin for key, value in values.items()}
    origins.setdefault("num_epochs", "the method trains in no epochs")
    return {**origins, "setting": f"--{resolved.setting}", "root": root_origin}
