"""The data folder: own folder, root, environment, server table, default."""

from pathlib import Path

import pytest

from configuration import paths, registration
from configuration.paths import address_of, data_folder


def test_the_first_that_is_given_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    own, root = Path("/own"), Path("/root")
    monkeypatch.setenv("IMIAD_DATA", "/variable")
    monkeypatch.setattr(registration, "SERVERS", {"192.0.2.7": "/server"})
    monkeypatch.setattr(paths, "address_of", {"eno1": "192.0.2.7"}.get)
    assert data_folder(own, root, "/mtd", "eno1") == (own, "-dp")
    assert data_folder(None, root, "/mtd", "eno1")[0] == Path("/root/mtd")
    assert data_folder(None, None, "/mtd", "eno1")[0] == Path("/variable/mtd")
    monkeypatch.delenv("IMIAD_DATA")
    folder, origin = data_folder(None, None, "mtd", "eno1")
    assert (folder, "eno1 is 192.0.2.7" in origin) == (Path("/server/mtd"), True)
    folder, origin = data_folder(None, None, "mtd", "absent0")
    assert (folder, "./data" in origin) == (registration.ROOT / "data/mtd", True)


def test_the_folder_of_the_environment_may_begin_at_home_or_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    for typed, folder in (("~/data", Path("/home/me/data")), ("data", tmp_path / "data")):
        monkeypatch.setenv("IMIAD_DATA", typed)
        found = data_folder(None, None, "//mtd", "eno1")
        assert found == (folder / "mtd", "$IMIAD_DATA, joined with data_path '//mtd'")
    monkeypatch.setenv("IMIAD_DATA", "")
    assert data_folder(None, None, "mtd", "eno1")[0] == registration.ROOT / "data/mtd"


def test_an_absent_interface_has_no_address() -> None:
    assert address_of("absent0") is None
    assert address_of("a name that is too long for an interface") is None


@pytest.mark.skipif(not Path("/sys/class/net/lo").exists(), reason="this machine has no loopback interface")
def test_the_loopback_interface_has_its_address() -> None:
    assert address_of("lo") == "127.0.0.1"
