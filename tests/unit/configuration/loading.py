"""Configurations of the stub house, and what is said of words that make none."""

import pytest

from configuration.config import RunConfig, load_config
from configuration.errors import UserError
from tests.stub_house import House


def refused(*words: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_config(words)
    return str(caught.value).splitlines()


def built(house: House, *words: str) -> RunConfig:
    return load_config((*house.vanilla, *words))


def trained(*words: str, setting: str = "-v") -> RunConfig:
    return load_config((setting, "-m", "trained", "-d", "bolts", "-g", "cpu", *words))
