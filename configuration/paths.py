"""Where the images are: the data set's folder, from what was typed, the environment or the server table."""

import fcntl
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from configuration import registration
from configuration.merge import merge
from configuration.options import DEFAULTS

DATA_VARIABLE = "IMIAD_DATA"
_SIOCGIFADDR = 0x8915  # Linux: ask for the IPv4 address of a network interface


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
        return Path(environment[DATA_VARIABLE]).expanduser().absolute(), f"${DATA_VARIABLE}"
    address = address_of(interface) if registration.SERVERS else None
    if address in registration.SERVERS:
        return Path(registration.SERVERS[address]), f"server table, {interface} is {address}"
    return registration.ROOT / "data", f"the default ./data (no -dp, -rp or ${DATA_VARIABLE})"


def address_of(interface: str) -> str | None:
    """Return the IPv4 address of a network interface; None where there is no such interface or address."""
    request = struct.pack("256s", interface.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])
