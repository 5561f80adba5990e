"""Hashes and identities: the same as ever for runs that use nothing new."""

import pytest

from configuration.config import config_values, load_config
from paradigms import provenance
from paradigms.provenance import LATER_KEYS, config_hash, identity

PATCHCORE = "-v -m patchcore -n net_tiny -d _example -g cpu"
HASHES = {  # of the first version: a hash that moves closes interrupted runs and reruns finished ones
    PATCHCORE: "0be4035cf16b",
    "-s -san 3 -m dra -n net_tiny -d mvtec2d -tid 2 -g cpu --set semi_kind=hole": "a067eac3d2a7",
    "-f -fe 2 -fda -fat rotation flip -m _patchcore -n resnet18 -d mtd -g cpu --set mtd_split=small": (
        "8d264b723174"
    ),
    "-c -m padim -n resnet18 -d visa -tid 3 1 -g cpu --amp bf16": "d90f4e8b4538",
    "-z -nr 0.2 -m stpm -n resnet18 -d btad -g cpu --seed 3": "a7b531aff829",
    "-t -ttn 4 -m reverse -d coad -tid 0 -vid 1 -ne 5 -g cpu": "732b4625bbc0",
}


@pytest.mark.parametrize("line", HASHES)
def test_the_hash_of_a_run_is_that_of_the_first_version(line: str) -> None:
    assert config_hash(load_config(line.split())) == HASHES[line], "list a new key in LATER_KEYS"


def test_a_value_that_can_change_a_result_changes_the_hash() -> None:
    hashes = {
        config_hash(load_config([*PATCHCORE.split(), *words]))
        for words in ((), ("--seed", "3"), ("--set", "_patch_size=5"), ("-tid", "1"), ("--amp", "bf16"))
    }
    assert len(hashes) == 5


@pytest.mark.parametrize(
    "words", [("-wd", "elsewhere"), ("--no-vis",), ("--set", "num_workers=1"), ("-dp", "elsewhere")]
)
def test_a_value_that_changes_no_result_changes_no_hash(words: tuple[str, ...]) -> None:
    assert config_hash(load_config([*PATCHCORE.split(), *words])) == HASHES[PATCHCORE]


def test_a_later_key_counts_where_it_differs_from_its_default_only(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load_config(PATCHCORE.split())
    typed = load_config([*PATCHCORE.split(), "--set", "vis_num=3", "--set", "_reweight=paper"])
    with_key = config_hash(typed)
    monkeypatch.setattr(provenance, "LATER_KEYS", {**LATER_KEYS, "_reweight": "none"})
    assert config_hash(plain) != HASHES[PATCHCORE], "it is not counted any more"
    assert config_hash(typed) == with_key
    assert (identity(plain, "data")["_reweight"], identity(typed, "data")["_reweight"]) == ("none", "paper")


def test_later_keys_are_keys() -> None:
    assert set(LATER_KEYS) <= set(config_values(load_config(PATCHCORE.split())))
