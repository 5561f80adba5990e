"""The table of the command line's flags; a new flag is a new row."""

from collections.abc import Callable
from dataclasses import dataclass

from configuration import registration

DEFAULTS = {"paradigm": "c2d", "dataset": "mvtec2d", "model": "softpatch"}  # as the flags always had them


def _task_id(word: str) -> int | str:
    return word if word == "all" else int(word)


def _gpu_id(word: str) -> int | str:
    return word if word == "cpu" else int(word)


@dataclass(frozen=True)
class Option:
    """One flag of the command line.

    Args:
        names: the long name and, where there is one, the short one.
        key: the key that it sets.
        meaning: for --help.
        metavar: what the value is called in --help; "" for a flag without a value.
        kind: makes the value of a word.
        many: whether several words follow.
        constant: what a flag without a value sets its key to.
    """

    names: tuple[str, ...]
    key: str
    meaning: str
    metavar: str = ""
    kind: Callable[[str], object] = str
    many: bool = False
    constant: bool = True


OPTIONS: dict[str, tuple[Option, ...]] = {
    "settings (exactly one)": tuple(
        Option((f"--{name}", row.flag), name, row.meaning) for name, row in registration.SETTINGS.items()
    ),
    "what is run": (
        Option(
            ("--model", "-m"),
            "model",
            f"{', '.join(registration.MODELS)}; default: {DEFAULTS['model']}",
            "NAME",
        ),
        Option(
            ("--net", "-n"),
            "net",
            f"{', '.join(registration.NETS)} or timm/<name>; default: the model YAML's",
            "NAME",
        ),
        Option(("--backbone", "-bb"), "_backbone", "backbone inside a net that carries one", "NAME"),
        Option(
            ("--weights", "-w"),
            "weights",
            "imagenet, none (random) or a .safetensors or .pth file",
            "WEIGHTS",
        ),
        Option(("--partial-weights",), "partial_weights", "let the weights lack stages that are used"),
        Option(
            ("--dataset", "-d"),
            "dataset",
            f"{', '.join(registration.DATASETS)}; default: {DEFAULTS['dataset']}",
            "NAME",
        ),
        Option(("--train-task-id", "-tid"), "train_task_id", "tasks to train, or all", "ID", _task_id, True),
        Option(
            ("--valid-task-id", "-vid"),
            "valid_task_id",
            "tasks to test, or all; default: -tid",
            "ID",
            _task_id,
            True,
        ),
        Option(("--paradigm", "-p"), "paradigm", "c2d; c3d and f2d are not built yet", "NAME"),
    ),
    "semi": (
        Option(("--semi-anomaly-num", "-san"), "semi_anomaly_num", "labelled anomalies per task", "N", int),
        Option(("--semi-overlap", "-so"), "semi_overlap", "keep them in the test set as well"),
    ),
    "fewshot": (
        Option(("--fewshot-exm", "-fe"), "fewshot_exm", "shots per task", "N", int),
        Option(("--fewshot-data-aug", "-fda"), "fewshot_data_aug", "augment the shots"),
        Option(("--fewshot-num-dg", "-fnd"), "fewshot_num_dg", "augmented copies per shot", "N", int),
        Option(
            ("--fewshot-aug-type", "-fat"),
            "fewshot_aug_type",
            "normal, rotation, scale, translate, flip, color_jitter, perspective",
            "NAME",
            many=True,
        ),
        Option(("--fewshot-feat-aug", "-ffa"), "fewshot_feat_aug", "rotate the feature maps of the shots"),
    ),
    "noisy": (
        Option(("--noisy-ratio", "-nr"), "noisy_ratio", "noise images per normal image", "SHARE", float),
        Option(("--noisy-overlap", "-no"), "noisy_overlap", "keep the noise images in the test set as well"),
    ),
    "transfer": (
        Option(
            ("--transfer-target-sample-num", "-ttn"),
            "transfer_target_sample_num",
            "normal images of the target",
            "N",
            int,
        ),
    ),
    "federated (not built yet)": (
        Option(("--fed-aggregate-method", "-fam"), "fed_aggregate_method", "how clients are joined", "NAME"),
        Option(("--num-round",), "num_round", "rounds", "N", int),
    ),
    "data": (
        Option(("--root-path", "-rp"), "root_path", "folder of all data sets", "DIR"),
        Option(("--data-path", "-dp"), "data_folder", "the data set's own folder", "DIR"),
        Option(("--server-moda", "-sm"), "server_moda", "network interface for the server table", "NAME"),
        Option(("--train-aug-type", "-tag"), "train_aug_type", "training images: normal, cutpaste", "NAME"),
        Option(("--valid-aug-type", "-vag"), "valid_aug_type", "test images: normal, cutpaste", "NAME"),
        Option(("--split",), "split_file", "repeat the split of an earlier run", "FILE"),
    ),
    "training": (
        Option(("--num-epochs", "-ne"), "num_epochs", "epochs; with -t those of the second step", "N", int),
        Option(
            ("--sampler-percentage", "-sp"),
            "_sampler_percentage",
            "share that a coreset keeps",
            "SHARE",
            float,
        ),
        Option(("--seed",), "seed", "random seed", "N", int),
        Option(("--gpu-id", "-g"), "gpu_id", "index of a GPU; cpu or -1 for none", "INDEX", _gpu_id),
        Option(("--amp",), "amp", "mixed precision: off, bf16, fp16", "NAME"),
        Option(("--resume",), "resume", "go on with the interrupted run of this folder", "DIR"),
        Option(("--debug",), "debug", "short rehearsal; results under debug/"),
    ),
    "results": (
        Option(("--work-dir", "-wd"), "work_dir", "where results go", "DIR"),
        Option(("--cache-dir",), "cache_dir", "default: cache/ in the work dir", "DIR"),
        Option(("--no-cache",), "cache", "keep nothing on disk between runs", constant=False),
        Option(("--vis", "-vis"), "vis", "draw pictures (the default)"),
        Option(("--no-vis",), "vis", "draw none", constant=False),
        Option(("--vis-em",), "vis_em", "draw the embedding of the features"),
        Option(("--save-maps",), "save_maps", "keep the anomaly maps"),
        Option(("--save-model",), "save_model", "keep the trained model"),
        Option(("--load-model",), "load_model", "evaluate a kept model; needs --load-model-dir"),
        Option(("--load-model-dir",), "load_model_dir", "folder of the kept model", "DIR"),
    ),
}
FLAG_ONLY = (*DEFAULTS, *registration.SETTINGS)  # no keys of a YAML file, so not for --set
FEDERATED_KEYS = frozenset({"fed_aggregate_method", "num_round"})
