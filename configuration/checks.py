"""What makes no sense although every value by itself does; each check yields one line per problem."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from configuration import registration
from configuration.merge import Value, nearest
from configuration.options import FEDERATED_KEYS

Values = Mapping[str, Value]

_MOST = 2**31 - 1  # what a count can be everywhere
LARGEST_SIDE = 2**14  # pixels

_RANGES: dict[str, tuple[float, float]] = {
    "num_task": (1, 10_000),
    "data_size": (1, LARGEST_SIDE),
    "data_crop_size": (1, LARGEST_SIDE),
    "mask_size": (1, LARGEST_SIDE),
    "mask_crop_size": (1, LARGEST_SIDE),
    "mask_threshold": (1e-6, 255),
    "white_level": (1e-6, 1e12),
    "train_batch_size": (1, math.inf),
    "valid_batch_size": (1, math.inf),
    "num_workers": (0, 1024),
    "data_memory_mb": (0, math.inf),
    "feature_memory_mb": (0, math.inf),
    "memory_limit_mb": (1000, math.inf),  # the libraries alone take most of that
    "batch_limit": (1, math.inf),
    "semi_anomaly_num": (0, math.inf),
    "noisy_ratio": (0, math.inf),
    "anomaly_cap": (0, 1),
    "ref_num": (1, math.inf),
    "fewshot_exm": (1, math.inf),
    "fewshot_num_dg": (0, math.inf),
    "transfer_target_sample_num": (1, math.inf),
    "transfer_num_epochs": (1, math.inf),
    "num_epochs": (1, math.inf),
    "checkpoint_every": (1, math.inf),
    "cache_limit_gb": (0, 1_000_000),
    "vis_num": (0, math.inf),
    "gpu_id": (-1, math.inf),
    "seed": (0, 2**63 - 1),
    # numbers that optimisers and schedules refuse, whatever the method
    "_lr": (0, math.inf),
    "_base_lr": (0, math.inf),
    "_dsc_lr": (0, math.inf),
    "_adaptor_lr": (0, math.inf),
    "_gamma": (0, math.inf),
    "_momentum": (0, math.inf),
    "_weight_decay": (0, math.inf),
    "_beta1": (0, 0.9999),
    "_beta2": (0, 0.9999),
}


def check_names(settings: Sequence[str], names: Values, typed: Values) -> Iterator[str]:
    """One setting is chosen, and the paradigm, the method and the data set stand in their tables."""
    if len(settings) != 1:
        given = " ".join(f"--{name}" for name in settings) or "no setting"
        yield f"{given}: give exactly one of {', '.join(f'--{name}' for name in registration.SETTINGS)}"
    if names["paradigm"].value in registration.PLANNED_PARADIGMS:
        yield f"--paradigm {names['paradigm'].value}: not built yet; use {', '.join(registration.PARADIGMS)}"
    else:
        yield from _check_name("paradigm", names["paradigm"], registration.PARADIGMS)
    for key in sorted(FEDERATED_KEYS & typed.keys()):
        yield f"{typed[key].origin}: for federated training (f2d), which is not built yet"
    yield from _check_name("method", names["model"], registration.MODELS)
    yield from _check_name("data set", names["dataset"], registration.DATASETS)


def _check_name(kind: str, name: Value, table: Mapping[str, object]) -> Iterator[str]:
    if name.value not in table:
        yield f"{name.origin} {name.value}: no such {kind}{nearest(str(name.value), table) or '; see --list'}"


def check_nets(net: Value, backbone: Value, inside: Value | None) -> Iterator[str]:
    """The net is there and the backbone is one; no other is asked for inside a net that is itself a backbone.

    Args:
        net: the chosen net.
        backbone: the trunk of that net; "" where there is none.
        inside: the method's key of the backbone inside its net, where it declares one.
    """
    yield from _check_net(net)
    if backbone.value and backbone != net:
        yield from _check_net(backbone)
        if backbone.value in registration.NETS and not registration.is_backbone(str(backbone.value)):
            yield f"{backbone.origin} {backbone.value}: not a backbone; see --list"
    if inside and inside.is_typed and backbone == net:
        yield f"{inside.origin}: --net {net.value} is itself a backbone; leave it out"


def _check_net(net: Value) -> Iterator[str]:
    if not re.fullmatch(f"{registration.TIMM}.+", str(net.value)):
        is_ours = str(net.value).startswith((registration.TIMM, "net_"))
        hint = "" if is_ours else f"; if it is a model of timm, write {registration.TIMM}{net.value}"
        yield from (problem + hint for problem in _check_name("net", net, registration.NETS))


def check_values(values: Values, setting: str) -> Iterator[str]:
    """Every number is in its range, everything typed is of use, and what belongs together fits."""
    yield from _check_ranges(values)
    yield from _check_use(values, setting)
    yield from _check_semi(values)
    yield from _check_augmentation(values)
    yield from _check_files(values)
    yield from _check_sizes(values)


def _check_ranges(values: Values) -> Iterator[str]:
    """Every number is in its range."""
    for key, (low, high) in _RANGES.items():
        number = values[key].value if key in values else None
        if isinstance(number, int | float) and not low <= number <= high:
            wanted = f"at least {low}" if high == math.inf else f"in {low} to {high}"
            yield values[key].problem(key, f"must be {wanted}, not {number}")
    for key, value in values.items():
        is_bound = _RANGES.get(key, (0, math.inf))[1] < math.inf
        if isinstance(value.value, int) and not is_bound and abs(value.value) > _MOST:
            yield value.problem(key, f"must be at most {_MOST}, not {value.value}")
    if "num_epochs" in values and values["num_epochs"].value is None:
        yield values["num_epochs"].problem("num_epochs", "must be at least 1, not null")


_NEEDS = (  # key, the switch that it has no effect without, what to call the switch
    ("fewshot_aug_type", "fewshot_data_aug", "-fda"),
    ("fewshot_num_dg", "fewshot_data_aug", "-fda"),
    ("batch_limit", "debug", "--debug"),
    ("cache_dir", "cache", "the cache, which --no-cache turns off"),
    ("load_model_dir", "load_model", "--load-model"),
    ("vis_em", "vis", "pictures, which --no-vis turns off"),
    ("vis_num", "vis", "pictures, which --no-vis turns off"),
)


def _check_use(values: Values, setting: str) -> Iterator[str]:
    """What was typed is read in this setting; a flag is never ignored."""
    for key, value in values.items():
        readers = [
            name
            for name, row in registration.SETTINGS.items()
            if key.startswith(f"{name}_") or key in row.also_reads
        ]
        if value.is_typed and readers and setting not in readers:
            yield value.problem(
                key, f"read by the setting {' or '.join(readers)} only, and this is {setting}"
            )
    for key, switch, name in _NEEDS:
        if _is_typed(values, key) and not _get(values, switch):
            yield values[key].problem(key, f"has no effect without {name}")


def _check_semi(values: Values) -> Iterator[str]:
    """Labelled anomalies of one kind are no part of the test set."""
    if _get(values, "semi_kind") is not None and _get(values, "semi_overlap"):
        yield values["semi_kind"].problem(
            "semi_kind", "the test set lacks this kind; leave semi_overlap false"
        )


def _check_augmentation(values: Values) -> Iterator[str]:
    """Test images stay as they are; what becomes of training images is checked with the method."""
    if _get(values, "valid_aug_type") not in (None, "normal"):
        yield values["valid_aug_type"].problem("valid_aug_type", "test images are never changed; use normal")


def _check_files(values: Values) -> Iterator[str]:
    """What a run goes on from exists, and is one thing only."""
    if _get(values, "load_model") and _get(values, "load_model_dir") is None:
        yield values["load_model"].problem("load_model", "say where the model is with --load-model-dir DIR")
    if _get(values, "load_model") and _get(values, "resume") is not None:
        yield values["resume"].problem(
            "resume", "goes on with a training, which --load-model skips; give one"
        )
    for key, is_there in (("load_model_dir", "is_dir"), ("resume", "is_dir"), ("split_file", "is_file")):
        path = _get(values, key)
        if path is not None and not getattr(path, is_there)():
            yield values[key].problem(key, f"no such {'folder' if is_there == 'is_dir' else 'file'}: {path}")


def _check_sizes(values: Values) -> Iterator[str]:
    """A crop lies within its image."""
    for crop, size in (("data_crop_size", "data_size"), ("mask_crop_size", "mask_size")):
        inner, outer = _get(values, crop), _get(values, size)
        if isinstance(inner, int) and isinstance(outer, int) and inner > outer:
            yield values[crop].problem(crop, f"{inner} pixels do not fit into {size} {outer}")
        if isinstance(inner, int) and outer == "native":
            yield values[crop].problem(crop, "is no number of pixels of a mask of native size; leave it null")


def task_ids(values: Values) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the tasks to train and those to test; the same tasks come in the order of training."""
    everything = tuple(range(values["num_task"].value))
    train, valid = (values[key].value for key in ("train_task_id", "valid_task_id"))
    train = everything if train == ("all",) else train
    valid = everything if valid == ("all",) else valid
    return train, train if valid is None or set(valid) == set(train) else valid


def check_tasks(values: Values, setting: str) -> Iterator[str]:
    """The tasks exist and may be trained and tested together in this setting."""
    if not {"num_task", "train_task_id", "valid_task_id"} <= values.keys():
        return  # one of them is reported already
    if values["num_task"].value > _RANGES["num_task"][1]:
        return  # so is this
    train, valid = task_ids(values)
    yield from _check_ids(values, "train_task_id", train)
    if values["valid_task_id"].value is not None:
        yield from _check_ids(values, "valid_task_id", valid)
    is_same = set(train) == set(valid)
    match registration.SETTINGS[setting].order:
        case "pair" if len(train) > 1 or len(valid) > 1 or is_same:
            yield f"--{setting}: give one source task with -tid and one other target task with -vid"
        case "sequence" if not is_same:
            yield f"--{setting}: the tasks trained on are the ones tested; leave -vid out"
        case "each" if len(train) > 1 and not is_same:
            yield f"--{setting}: every task has a model of its own; leave -vid out, or give a single -tid"


def _check_ids(values: Values, key: str, ids: Sequence[int]) -> Iterator[str]:
    last = values["num_task"].value - 1
    outside = [str(task_id) for task_id in ids if task_id not in range(last + 1)]
    if outside:
        yield values[key].problem(
            key, f"no task {', '.join(outside)}; choose from 0 to {last}, or all by itself"
        )
    if not ids or len(set(ids)) < len(ids):
        yield values[key].problem(key, "name one task or more, each once")


def check_method(method: Any, names: Values, setting: str, backbone: Value, plain: Values) -> Iterator[str]:
    """The method runs in this setting with this net, and has a use for what was typed.

    Args:
        method: the method's class, which says what it can.
        names: the chosen paradigm, model and net.
        setting: the chosen setting.
        backbone: the trunk of that net; "" where there is none.
        plain: the framework's keys.
    """
    undeclared = list(check_declared(method))
    if undeclared:
        yield from undeclared
        return
    name, net, paradigm = (str(names[key].value) for key in ("model", "net", "paradigm"))
    if paradigm not in method.paradigms:
        yield f"--paradigm {paradigm}: {name} runs with -p {' or '.join(method.paradigms)}"
    if not any(fnmatchcase(net, pattern) for pattern in method.nets):
        wanted = ", ".join(pattern.replace("*", "<name>") for pattern in method.nets)
        yield f"{names['net'].origin} {net}: {name} runs with {wanted}"
    yield from _check_setting(method, name, setting, plain)
    for key in ("weights", "partial_weights"):
        if not backbone.value and _is_typed(plain, key) and _get(plain, key) != "none":
            yield plain[key].problem(key, f"{name} has no pretrained backbone")
    train_aug_type = _get(plain, "train_aug_type")
    if train_aug_type is not None and train_aug_type not in method.train_aug_types:
        wanted = ", ".join(method.train_aug_types)
        yield plain["train_aug_type"].problem(
            "train_aug_type", f"{name} has no use for {train_aug_type}; use {wanted}"
        )
    if _is_typed(plain, "ref_num") and not method.needs.reference:
        yield plain["ref_num"].problem("ref_num", f"{name} compares with no reference images")
    if _get(plain, "fewshot_feat_aug") and not method.rotates_features:
        yield plain["fewshot_feat_aug"].problem("fewshot_feat_aug", f"{name} has no patch features to rotate")


def check_declared(method: Any) -> Iterator[str]:
    """A method's class says what every method has to say."""
    for key in ("nets", "settings"):
        if not hasattr(method, key):
            yield f"{method.__module__}: {method.__name__} must declare '{key}'; see docs/adding.md"


def _check_setting(method: Any, name: str, setting: str, plain: Values) -> Iterator[str]:
    """The method knows the setting, or a key lets it run all the same."""
    opening = registration.SETTINGS[setting].opened_by
    if setting in method.settings:
        if opening and _is_typed(plain, opening):
            yield plain[opening].problem(opening, f"{name} knows them for anomalies")
    elif not (opening and _get(plain, opening)):
        able = [
            other
            for other, row in registration.MODELS.items()
            if setting in getattr(registration.load(row), "settings", ())
        ]
        others = f"; {', '.join(able)} can" if able else ""
        yield f"--{setting}: {name} does not run in this setting: {method.setting_reason}{others}"


def _get(values: Values, key: str) -> Any:
    return values[key].value if key in values else None


def _is_typed(values: Values, key: str) -> bool:
    return key in values and values[key].is_typed
