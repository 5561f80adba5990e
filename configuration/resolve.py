"""From a command line and the YAML files to one checked value per key, without importing torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from configuration import registration
from configuration.checks import check_names, check_nets, check_tasks, check_values
from configuration.coercion import coerced
from configuration.command_line import Request
from configuration.errors import UserError
from configuration.merge import Layer, Value, by_net, merge, nearest, raise_all, unknown_keys
from configuration.options import DEFAULTS, FLAG_ONLY

BACKBONE_KEY = "_backbone"  # of nets that carry a backbone; the framework reads it, no Params has it
OPTIONAL_KEYS = frozenset({"num_epochs"})  # declared by the methods that train in epochs


class Files(NamedTuple):
    """The YAML files of a run, by their names under configuration/; of several, a later one is stronger."""

    dataset: str
    train: tuple[str, ...]
    model: str


@dataclass(frozen=True)
class Resolved:
    """Everything that can be known and checked quickly.

    Args:
        names: the chosen paradigm, model, dataset and net.
        backbone: the pretrained trunk; "" where there is none.
        plain: the framework's keys, each of the type that its hint says.
        method: the keys of the method's own, as YAML reads them.
        dataset: the keys of the data set's own, as YAML reads them.
        files: the YAML files that the keys come from.
    """

    setting: str
    names: Mapping[str, Value]
    backbone: Value
    plain: Layer
    method: Layer
    dataset: Layer
    files: Files

    @property
    def nets(self) -> tuple[str, str]:
        """The names that a table by net is asked for, in this order."""
        return str(self.names["net"].value), str(self.backbone.value)


def resolve(request: Request, hints: Mapping[str, object]) -> Resolved:
    """Lay the layers over each other and check all that needs no method.

    Args:
        request: what was typed.
        hints: type of every key of the framework.

    Raises:
        UserError: one line per problem.
    """
    names = _names(request, hints)
    setting = request.settings[0]
    files = _files(names)
    layers = _read(files)
    typed = {key: value for key, value in request.values.items() if key not in FLAG_ONLY}
    merged = merge(*layers, typed)
    names["net"] = _text("net", merged.get("net", Value("", files.model)))
    backbone = _backbone(names["net"], merged)
    plain, type_problems = coerced(merged, hints, (str(names["net"].value), str(backbone.value)))
    method = {key: merged[key] for key in layers[2] if key.startswith("_") and key != BACKBONE_KEY}
    raise_all(
        [
            *request.problems,
            *_undeclared(request, merge(*layers), str(names["model"].value)),
            *_misplaced(layers, hints, str(names["dataset"].value)),
            *_missing(merged, hints, files),
            *check_nets(names["net"], backbone, merged[BACKBONE_KEY] if BACKBONE_KEY in layers[2] else None),
            *type_problems,
            *check_values(merge(method, plain), setting),
            *check_tasks(plain, setting),
        ]
    )
    dataset = {key: merged[key] for key in layers[0] if key not in hints}
    return Resolved(setting, names, backbone, _rehearsed(plain), method, dataset, files)


def _names(request: Request, hints: Mapping[str, object]) -> dict[str, Value]:
    """Return paradigm, data set and model; where these are wrong there is no telling which files to read."""
    names = {
        key: request.values.get(key, Value(name, f"--{key} (default)")) for key, name in DEFAULTS.items()
    }
    problems = [*check_names(request.settings, names, request.values)]
    if problems:
        raise_all([*request.problems, *problems, *coerced(request.values, hints, ())[1]])
    return names


def _files(names: Layer) -> Files:
    return Files(
        f"{registration.DATASET_FOLDER}/{names['dataset'].value}.yaml",
        registration.PARADIGMS[names["paradigm"].value].train_files,
        f"{registration.MODEL_FOLDER}/{names['model'].value}.yaml",
    )


def _read(files: Files) -> tuple[Layer, Layer, Layer]:
    """Return the keys of the data set, the training and the method."""
    problems: list[str] = []
    layers: dict[str, Layer] = {}
    for file in (files.dataset, *files.train, files.model):
        try:
            layer = registration.layer(file)
            layers[file] = {key: value for key, value in layer.items() if key not in ("dataset", "model")}
        except UserError as error:
            problems.append(str(error))
    raise_all(problems)
    return layers[files.dataset], merge(*(layers[file] for file in files.train)), layers[files.model]


def _backbone(net: Value, merged: Layer) -> Value:
    if registration.is_backbone(str(net.value)):
        return net
    inside = merged.get(BACKBONE_KEY, Value("", net.origin))
    try:
        return _text(BACKBONE_KEY, Value(by_net(inside.value, [str(net.value)]), inside.origin))
    except ValueError as error:
        raise UserError(inside.problem(BACKBONE_KEY, str(error))) from None


def _text(key: str, value: Value) -> Value:
    if not isinstance(value.value, str):
        raise UserError(value.problem(key, f"must be a name, not {value.value}"))
    return value


def _undeclared(request: Request, declared: Layer, model: str) -> Iterator[str]:
    """Yield a line per typed key that no YAML file of this run declares."""
    for key, value in request.values.items():
        needs = _renamed().get(key, key)
        if needs in declared or key in FLAG_ONLY:
            continue
        if value.origin.startswith("--set") and needs == key:
            yield f"{value.origin}: no YAML file of this run has this key{nearest(key, declared)}"
        else:
            yield f"{value.origin}: {model} has no use for it; its YAML files have no '{needs}'"


def _misplaced(layers: Sequence[Layer], hints: Mapping[str, object], dataset: str) -> Iterator[str]:
    """Yield a line per key of a YAML file that is neither the framework's nor, by its prefix, the file's."""
    for layer, prefix in zip(layers, (f"{dataset}_", None, "_"), strict=True):
        plain = {key: value for key, value in layer.items() if prefix is None or not key.startswith(prefix)}
        flags = [key for key in plain if key in registration.SETTINGS]
        yield from (
            f"{plain.pop(key).origin}: '{key}' is chosen on the command line only, by --{key}"
            for key in flags
        )
        yield from unknown_keys(plain, hints)


def _missing(merged: Layer, hints: Mapping[str, object], files: Files) -> Iterator[str]:
    for key in hints:
        if key not in merged and key not in OPTIONAL_KEYS:
            yield f"{' or '.join((files.dataset, *files.train, files.model))}: key '{key}' is missing"


def _rehearsed(plain: Layer) -> Layer:
    """Return the keys with what --debug does to them: one epoch in every step, whatever else is asked for."""
    if not plain["debug"].value:
        return {**plain, "batch_limit": Value(None, "no --debug")}
    short = {key: Value(1, "--debug") for key in ("num_epochs", *_renamed()) if key in plain}
    return {**plain, **short}


def _renamed() -> dict[str, str]:
    """Return the keys that a flag sets in one setting -> those that it sets in the others."""
    return {own: key for row in registration.SETTINGS.values() for key, own in row.flag_keys.items()}
