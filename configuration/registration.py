"""What each name on the command line stands for: to add a method or a data set, add its row.

A row is (module, name in that module). `load` imports the chosen row only; `check_tables` names every row
that points nowhere. The variable IMIAD_EXTRA names a folder whose rows are added to those of methods, data
sets and nets.
"""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from configuration.errors import UserError
from configuration.extra import ROWS_FILE, extra_folder, extra_rows, reach_modules
from configuration.merge import Layer, raise_all, read_layer
from configuration.rows import ParadigmRow, Row, SettingRow

ROOT = Path(__file__).resolve().parents[1]
EXTRA = extra_folder()  # of one's own rows, files and modules; None for none
MODEL_FOLDER = "1_model_base"
DATASET_FOLDER = "3_dataset_base"

MODELS: dict[str, Row] = {
    "_example": ("arch._example", "Example"),
    "patchcore": ("arch.patchcore", "PatchCore"),
    "_patchcore": ("arch._patchcore", "PatchCoreInHouse"),
    "softpatch": ("arch.softpatch", "SoftPatch"),
    "graphcore": ("arch.graphcore", "GraphCore"),
    "padim": ("arch.padim", "PaDiM"),
    "spade": ("arch.spade", "SPADE"),
    "cfa": ("arch.cfa", "CFA"),
    "simplenet": ("arch.simplenet", "SimpleNet"),
    "fastflow": ("arch.fastflow", "FastFlow"),
    "csflow": ("arch.csflow", "CSFlow"),
    "stpm": ("arch.stpm", "STPM"),
    "reverse": ("arch.reverse", "ReverseDistillation"),
    "favae": ("arch.favae", "FAVAE"),
    "igd": ("arch.igd", "IGD"),
    "cutpaste": ("arch.cutpaste", "CutPaste"),
    "dne": ("arch.dne", "DNE"),
    "draem": ("arch.draem", "DRAEM"),
    "devnet": ("arch.devnet", "DevNet"),
    "dra": ("arch.dra", "DRA"),
}

DATASETS: dict[str, Row] = {
    "_example": ("dataset._example", "Example"),
    "mvtec2d": ("dataset.mvtec2d", "MVTec2D"),
    "mpdd": ("dataset.mpdd", "MPDD"),
    "mvtecloco": ("dataset.mvtecloco", "MVTecLOCO"),
    "mtd": ("dataset.mtd", "MTD"),
    "btad": ("dataset.btad", "BTAD"),
    "mvtec2df3d": ("dataset.mvtec2df3d", "MVTec2DF3D"),
    "coad": ("dataset.coad", "COAD"),
    "mvtec3d": ("dataset.mvtec3d", "MVTec3D"),
    "visa": ("dataset.visa", "VisA"),
    "dagm": ("dataset.dagm", "DAGM"),
    "folder": ("dataset.folder", "Folder"),
}

TIMM = "timm/"  # -n timm/<name> and -bb timm/<name> are backbones as well
BACKBONES = "models.backbones."  # a row that points here is a pretrained trunk: good for -bb, too

NETS: dict[str, Row] = {
    "resnet18": ("models.backbones.resnets", "RESNET18"),
    "wide_resnet50": ("models.backbones.resnets", "WIDE_RESNET50"),
    "vgg16": ("models.backbones.vgg", "VGG16"),
    "efficientnet_b5": ("models.backbones.efficientnets", "EFFICIENTNET_B5"),
    "efficientnet_lite0": ("models.backbones.efficientnets", "EFFICIENTNET_LITE0"),
    "vit_b_16": ("models.backbones.vit", "VIT_B_16"),
    "net_tiny": ("models.backbones.tiny", "NET_TINY"),
    "vig_ti_224_gelu": ("models.backbones.vigs", "VIG_TI"),
    "vig_s_224_gelu": ("models.backbones.vigs", "VIG_S"),
    "vig_b_224_gelu": ("models.backbones.vigs", "VIG_B"),
    "pvig_ti_224_gelu": ("models.backbones.vigs", "PVIG_TI"),
    "pvig_s_224_gelu": ("models.backbones.vigs", "PVIG_S"),
    "pvig_m_224_gelu": ("models.backbones.vigs", "PVIG_M"),
    "pvig_b_224_gelu": ("models.backbones.vigs", "PVIG_B"),
    "net_draem": ("models.draem.net_draem", "DraemNet"),
    "net_example": ("models._example.net_example", "ExampleNet"),
    "net_cfa": ("models.cfa.net_cfa", "CFANet"),
    "net_favae": ("models.favae.net_favae", "FAVAENet"),
    "net_csflow": ("models.csflow.net_csflow", "CSFlowNet"),
    "net_fastflow": ("models.fastflow.net_fastflow", "FastFlowNet"),
    "net_devnet": ("models.devnet.net_devnet", "DeviationNet"),
    "net_dra": ("models.dra.net_dra", "DRANet"),
    "net_igd": ("models.igd.net_igd", "IGDNet"),
    "net_reverse": ("models.reverse.net_reverse", "ReverseNet"),
}

SETTINGS: dict[str, SettingRow] = {
    "vanilla": SettingRow(
        "-v", "train on all normal images of a task", ("data_io.settings.vanilla", "plan_vanilla")
    ),
    "semi": SettingRow(
        "-s",
        "the same, and a few labelled anomalies",
        ("data_io.settings.semi", "plan_semi"),
        suffix="_{semi_anomaly_num}_num",
        also_reads=("anomaly_cap",),
        opened_by="semi_use_anomalies_as_normal",
    ),
    "fewshot": SettingRow(
        "-f",
        "train on a few normal images",
        ("data_io.settings.fewshot", "plan_fewshot"),
        suffix="_{types}_{fewshot_exm}_shot",
    ),
    "continual": SettingRow(
        "-c",
        "train on one task after the other, test all tasks seen so far",
        ("data_io.settings.continual", "plan_continual"),
        order="sequence",
        suffix="_{valid_task}_task",
    ),
    "noisy": SettingRow(
        "-z",
        "train on normal images with unlabelled anomalies among them",
        ("data_io.settings.noisy", "plan_noisy"),
        suffix="_{noisy_ratio}_ratio",
        also_reads=("anomaly_cap",),
    ),
    "transfer": SettingRow(
        "-t",
        "train on one task, then on a few normal images of another",
        ("data_io.settings.transfer", "plan_transfer"),
        order="pair",
        suffix="_from_{source}_to_{target}",
        flag_keys={"num_epochs": "transfer_num_epochs"},
    ),
}

PARADIGMS: dict[str, ParadigmRow] = {
    "c2d": ParadigmRow(("paradigms.centralized.c2d", "run"), ("2_train_base/centralized_learning.yaml",)),
}
PLANNED_PARADIGMS = ("c3d", "f2d")  # known by name, not built yet

# IP address of a machine -> the folder that holds its data sets, for instance "192.0.2.7": "/data/anomaly"
SERVERS: dict[str, str] = {}


def load(row: Row) -> Any:
    """Return what a row names; the only place of the project that imports by string."""
    module, name = row
    if EXTRA is not None:
        reach_modules(EXTRA)
    return getattr(import_module(module), name)


def is_backbone(net: str) -> bool:
    """Return whether a net is a pretrained trunk by itself, as every timm model is."""
    return net.startswith(TIMM) or NETS.get(net, ("", ""))[0].startswith(BACKBONES)


def source(row: Row) -> Path:
    """Return the file of the module that a row names, of this tree or of the folder of one's own."""
    name = row[0].replace(".", "/") + ".py"
    return _root_of(name) / name


def layer(name: str) -> Layer:
    """Return the keys of a YAML file under configuration/, of this tree or of the folder of one's own.

    Raises:
        UserError: no such file, or it holds no plain keys.
    """
    return read_layer(_root_of(f"configuration/{name}") / "configuration", name)


def check_tables() -> None:
    """Check without importing anything that every row has its source and its YAML file.

    Raises:
        UserError: one line per row that points nowhere.
    """
    paradigms = {name: row.run for name, row in PARADIGMS.items()}
    planners = {name: row.planner for name, row in SETTINGS.items()}
    raise_all(
        [
            *_EXTRA_PROBLEMS,
            *_table_problems("MODELS", MODELS, MODEL_FOLDER),
            *_table_problems("DATASETS", DATASETS, DATASET_FOLDER),
            *_table_problems("NETS", NETS),
            *_table_problems("PARADIGMS", paradigms),
            *_table_problems("SETTINGS", planners),
        ]
    )


def _table_problems(title: str, table: Mapping[str, Row], folder: str = "") -> Iterator[str]:
    key = title.lower().removesuffix("s")  # a YAML file names itself: `model: patchcore`, `dataset: mtd`
    seen: dict[Row, str] = {}
    for name, row in table.items():
        file = ROOT if name not in _EXTRA_ROWS.get(title, {}) else EXTRA
        where = f"{'' if file == ROOT else f'{file}/'}{ROWS_FILE}: {title}[{name!r}]"
        yaml = f"configuration/{folder}/{name}.yaml"
        if not _has_line(source(row), rf"((class|def) {re.escape(row[1])}\b|{re.escape(row[1])}(: .+?)? = )"):
            yield f"{where}: {row[0].replace('.', '/')}.py has no {row[1]}; write it or correct the row"
        if folder and not _has_line(_root_of(yaml) / yaml, rf"{key}: {re.escape(name)}\s*(#|$)"):
            yield f"{where}: {yaml} is missing or has no line '{key}: {name}'"
        if row in seen:
            yield f"{where}: the same row as {seen[row]!r}; keep one name"
        seen[row] = name


def _root_of(name: str) -> Path:
    """Return this tree if it has the file of this name, or nobody has; else the folder of one's own."""
    return ROOT if EXTRA is None or (ROOT / name).is_file() else EXTRA


def _has_line(path: Path, pattern: str) -> bool:
    if not path.is_file():
        return False
    return re.search(rf"^{pattern}", path.read_text(encoding="utf-8"), re.MULTILINE) is not None


def _add_extra() -> tuple[dict[str, dict[str, Row]], list[str]]:
    """Add the rows of the folder of one's own; return them, and what is wrong with them."""
    if EXTRA is None:
        return {}, []
    try:
        rows = extra_rows(EXTRA)
    except UserError as error:
        return {}, [str(error)]
    problems = []
    for title, table in (("MODELS", MODELS), ("DATASETS", DATASETS), ("NETS", NETS)):
        taken = [name for name in rows[title] if name in table]
        problems += [
            f"{EXTRA / ROWS_FILE}: {title}[{name!r}]: the name is taken; choose another" for name in taken
        ]
        table.update({name: row for name, row in rows[title].items() if name not in taken})
    return rows, problems


_EXTRA_ROWS, _EXTRA_PROBLEMS = _add_extra()  # here, since the flags' choices are made of the tables at once
