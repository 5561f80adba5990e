"""What keys a method with a memory bank takes."""

from pathlib import Path

import pytest

from configuration.config import RunConfig, load_config
from configuration.errors import UserError


def config_of(work_dir: Path, *words: str) -> RunConfig:
    common = ["-v", "-m", "patchcore", "-n", "net_tiny", "-d", "_example", "-g", "cpu", "-w", "none"]
    return load_config([*common, "-wd", str(work_dir), *words])


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("_sampler_percentage=0", r"_sampler_percentage must be in \(0, 1\], not 0.0"),
        ("_sampler_percentage=1.1", r"_sampler_percentage must be in \(0, 1\], not 1.1"),
        ("_patch_size=2", "_patch_size must be odd, not 2"),
        ("_patch_size=-1", "_patch_size must be odd, not -1"),
        ("_anomaly_scorer_num_nn=0", "_anomaly_scorer_num_nn and _reweight_b must be at least 1"),
        ("_reweight_b=0", "_anomaly_scorer_num_nn and _reweight_b must be at least 1"),
    ],
)
def test_keys_out_of_range_are_refused(key: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=problem):
        config_of(tmp_path, "--set", key)


def test_keys_at_the_ends_of_their_range_are_taken(tmp_path: Path) -> None:
    for key in ("_sampler_percentage=1", "_patch_size=1", "_anomaly_scorer_num_nn=1", "_reweight_b=1"):
        config_of(tmp_path, "--set", key)


def test_a_share_without_effect_is_refused(tmp_path: Path) -> None:
    identity = ["--set", "_sampler_name=identity"]
    config_of(tmp_path, *identity)
    config_of(tmp_path, *identity, "-sp", "1")
    config_of(tmp_path, "-sp", "0.5")
    with pytest.raises(UserError, match="--sampler-percentage: the sampler identity keeps all patches"):
        config_of(tmp_path, *identity, "-sp", "0.5")
