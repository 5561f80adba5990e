"""What each name on the command line stands for: to add a method or a data set, add its row.

A row is (module, name in that module). `load` imports the chosen row only; `check_tables` names every row
that points nowhere.
"""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from configuration.errors import UserError

Row = tuple[str, str]

ROOT = Path(__file__).resolve().parents[1]
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

BACKBONE = "backbone"  # a pretrained trunk, good for -n and for -bb
OWN = "own"  # the net of one method, good for -n only
TIMM = "timm/"  # -n timm/<name> and -bb timm/<name> are backbones as well

NETS: dict[str, tuple[str, str]] = {
    "resnet18": (BACKBONE, "ResNet-18, ImageNet weights of torchvision"),
    "wide_resnet50": (BACKBONE, "Wide ResNet-50-2, ImageNet weights of torchvision"),
    "vgg16": (BACKBONE, "VGG-16 without batch norm, ImageNet weights of torchvision"),
    "efficientnet_b5": (BACKBONE, "EfficientNet-B5, ImageNet weights of torchvision"),
    "vit_b_16": (BACKBONE, "ViT-B/16, ImageNet weights of torchvision"),
    "net_tiny": (BACKBONE, "small convolutional net whose weights ship in checkpoints/"),
    "vig_ti_224_gelu": (BACKBONE, "Vision GNN, tiny, ImageNet weights of its authors"),
    "vig_s_224_gelu": (BACKBONE, "Vision GNN, small, ImageNet weights of its authors"),
    "vig_b_224_gelu": (BACKBONE, "Vision GNN, base, ImageNet weights of its authors"),
    "pvig_ti_224_gelu": (BACKBONE, "pyramid Vision GNN, tiny, ImageNet weights of its authors"),
    "pvig_s_224_gelu": (BACKBONE, "pyramid Vision GNN, small, ImageNet weights of its authors"),
    "pvig_m_224_gelu": (BACKBONE, "pyramid Vision GNN, medium, ImageNet weights of its authors"),
    "pvig_b_224_gelu": (BACKBONE, "pyramid Vision GNN, base, ImageNet weights of its authors"),
    "net_draem": (OWN, "the two nets of draem"),
    "net_example": (OWN, "the net of _example"),
    "net_cfa": (OWN, "the net of cfa; -bb chooses its backbone"),
    "net_favae": (OWN, "the net of favae; -bb chooses its backbone"),
    "net_csflow": (OWN, "the net of csflow; -bb chooses its backbone"),
    "net_fastflow": (OWN, "the net of fastflow; -bb chooses its backbone"),
    "net_devnet": (OWN, "the net of devnet; -bb chooses its backbone"),
    "net_dra": (OWN, "the net of dra; -bb chooses its backbone"),
    "net_igd": (OWN, "the net of igd; -bb chooses its backbone"),
    "net_reverse": (OWN, "the net of reverse; -bb chooses its backbone"),
}

SETTINGS: dict[str, str] = {
    "vanilla": "train on all normal images of a task",
    "semi": "the same, and a few labelled anomalies",
    "fewshot": "train on a few normal images",
    "continual": "train on one task after the other, test all tasks seen so far",
    "noisy": "train on normal images with unlabelled anomalies among them",
    "transfer": "train on one task, then on a few normal images of another",
}

PARADIGMS: dict[str, Row] = {
    "c2d": ("paradigms.centralized.c2d", "run"),
}
PLANNED_PARADIGMS = ("c3d", "f2d")  # known by name, not built yet

# IP address of a machine -> the folder that holds its data sets, for instance "192.0.2.7": "/data/anomaly"
SERVERS: dict[str, str] = {}


def load(row: Row) -> Any:
    """Return what a row names; the only place of the project that imports by string."""
    module, name = row
    return getattr(import_module(module), name)


def is_backbone(net: str) -> bool:
    """Return whether a net is a pretrained trunk by itself, as every timm model is."""
    return net.startswith(TIMM) or NETS.get(net, (OWN, ""))[0] == BACKBONE


def check_tables() -> None:
    """Check without importing anything that every row has its class and its YAML file.

    Raises:
        UserError: one line per row that points nowhere.
    """
    tables: list[tuple[str, Mapping[str, Row], str]] = [
        ("MODELS", MODELS, f"configuration/{MODEL_FOLDER}"),
        ("DATASETS", DATASETS, f"configuration/{DATASET_FOLDER}"),
        ("PARADIGMS", PARADIGMS, ""),
    ]
    problems = [line for table in tables for line in _table_problems(*table)]
    if problems:
        raise UserError("\n".join(problems))


def _table_problems(title: str, table: Mapping[str, Row], folder: str) -> Iterator[str]:
    key = title.lower().removesuffix("s")  # a YAML file names itself: `model: patchcore`, `dataset: mtd`
    seen: dict[Row, str] = {}
    for name, row in table.items():
        where = f"configuration/registration.py: {title}[{name!r}]"
        module, attribute = row
        source = module.replace(".", "/") + ".py"
        if not _has_line(ROOT / source, rf"(class|def) {re.escape(attribute)}\b"):
            yield f"{where}: {source} has no {attribute}; write it or correct the row"
        if folder and not _has_line(ROOT / folder / f"{name}.yaml", rf"{key}: {re.escape(name)}\s*(#|$)"):
            yield f"{where}: {folder}/{name}.yaml is missing or has no line '{key}: {name}'"
        if row in seen:
            yield f"{where}: the same row as {seen[row]!r}; keep one name"
        seen[row] = name


def _has_line(path: Path, pattern: str) -> bool:
    if not path.is_file():
        return False
    return re.search(rf"^{pattern}", path.read_text(encoding="utf-8"), re.MULTILINE) is not None
