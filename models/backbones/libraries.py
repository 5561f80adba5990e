"""Libraries of nets that take seconds to import: not before one of their nets is built."""

import importlib
from typing import Any


def torchvision_models() -> Any:
    """Return the module torchvision.models."""
    return importlib.import_module("torchvision.models")


def timm() -> Any:
    """Return the module timm."""
    return importlib.import_module("timm")
