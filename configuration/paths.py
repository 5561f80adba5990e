"""Where the images are: the data set's folder, from what was typed, the environment or the server table."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from configuration import registration
from configuration.errors import UserError
from configuration.merge import merge
from configuration.options import DEFAULTS
from configuration.text import expanded

DATA_VARIABLE = "IMIAD_DATA"


def data_folder(own: Path | None, root: Path | None, data_path: str, interface: str) -> tuple[Path, str]:
    """Return the data set's folder and how it was found.

    Args:
        own: the folder itself, as typed with -dp.
        root: folder of all data sets, as typed with -rp.
        data_path: the data set's place in the folder of all data sets; a leading slash means nothing.
        interface: network interface whose address the server table is asked for.
    """
    if own is not None:
        return own, "-dp"
    found, origin = (root, "-rp") if root is not None else _root(interface, os.environ)
    return found / data_path.lstrip("/"), f"{origin}, joined with data_path {data_path!r}"


def data_root(name: str, own: Path | None, root: Path | None = None) -> Path:
    """Return the folder where a run would look for a data set, given what was typed with -dp and -rp."""
    files = registration.PARADIGMS[DEFAULTS["paradigm"]].train_files
    train = merge(*(registration.layer(file) for file in files))
    data = registration.layer(f"{registration.DATASET_FOLDER}/{name}.yaml")
    return data_folder(own, root, str(data["data_path"].value), str(train["server_moda"].value))[0]


def _root(interface: str, environment: Mapping[str, str]) -> tuple[Path, str]:
    if environment.get(DATA_VARIABLE):
        try:
            return expanded(environment[DATA_VARIABLE]).absolute(), f"${DATA_VARIABLE}"
        except ValueError as error:
            raise UserError(f"${DATA_VARIABLE} {error}; set it to the folder of all data sets") from None
    address = address_of(interface) if registration.SERVERS else None
    if address in registration.SERVERS:
        return Path(registration.SERVERS[address]), f"server table, {interface} is {address}"
    return registration.ROOT / "data", f"the default ./data (no -dp, -rp or ${DATA_VARIABLE})"


def address_of(interface: str) -> str | None:
    """Return the IPv4 address of a network interface; None where there is no such interface or address."""
    import psutil  # here, as it is seldom needed

    addresses = psutil.net_if_addrs().get(interface, [])
    return next((found.address for found in addresses if found.family == socket.AF_INET), None)
