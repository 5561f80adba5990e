from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stub_house import House, stub_house


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with stub_house(tmp_path, monkeypatch) as built:
        yield built
