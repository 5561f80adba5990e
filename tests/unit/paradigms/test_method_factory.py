import shutil
from pathlib import Path

import pytest
import torch

from arch.kinds.gradient import GradientMethod
from configuration.config import RunConfig, load_config
from configuration.errors import UserError
from data_io.records import TrainBatch
from paradigms.method_factory import build_method
from tests.loaders import random_images


@pytest.mark.parametrize("model", ["patchcore", "padim", "stpm", "fastflow"])
def test_a_layer_that_is_no_map_is_refused_in_one_line(model: str, tmp_path: Path) -> None:
    words = ["-v", "-m", model, "-n", "net_tiny", "-d", "_example", "-g", "cpu", "-w", "none", "-wd"]
    config = load_config([*words, str(tmp_path), "--set", "_layers=[layer1, layer2, pooled]"])
    with pytest.raises(
        UserError, match=r"^--set _layers: _layers names pooled, which is no map; leave it out$"
    ):
        build_method(config, store=None)


def small_reverse(work_dir: Path, *words: str) -> RunConfig:
    common = ["-v", "-m", "reverse", "-n", "net_tiny", "-d", "_example", "-g", "cpu", "-w", "none"]
    small = ["--set", "data_size=64", "--set", "data_crop_size=64"]
    return load_config([*common, *small, "-wd", str(work_dir), *words])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_a_compiled_net_gives_the_same_loss_and_gradient(tmp_path: Path) -> None:
    images = random_images(4)
    found = []
    for words in ([], ["--set", "compile=true"]):
        method = build_method(small_reverse(tmp_path, *words), store=None).method
        assert isinstance(method, GradientMethod)
        loss = method.loss(TrainBatch(images, torch.arange(4)))
        loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in method.net.parameters())])
    for plain, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-3, atol=1e-5)


def test_without_a_compiler_compiling_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        UserError, match=r"^compile: true needs a C\+\+ compiler, and there is no no-such-compiler"
    ):
        build_method(small_reverse(tmp_path, "--set", "compile=true"), store=None)
    build_method(small_reverse(tmp_path), store=None)


def test_the_random_start_is_that_of_the_seed(tmp_path: Path) -> None:
    def start(*words: str) -> torch.Tensor:
        made = build_method(small_reverse(tmp_path, *words), store=None)
        assert made.weights == "none"
        values = made.method.state_dict().values()
        return torch.cat([value.flatten() for value in values if value.is_floating_point()])

    first = start()
    torch.manual_seed(1)
    assert torch.equal(start(), first)
    assert not torch.equal(start("--seed", "67"), first)


def test_what_libraries_compute_is_repeatable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    torch.use_deterministic_algorithms(False)
    build_method(small_reverse(tmp_path), store=None)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.benchmark


def test_the_column_of_weights_says_where_they_are_from(tmp_path: Path) -> None:
    common = ["-v", "-d", "_example", "-g", "cpu", "-wd", str(tmp_path)]
    shipped = load_config([*common, "-m", "stpm", "-n", "net_tiny"])
    assert build_method(shipped, store=None).weights == "imagenet"
    own = load_config([*common, "-m", "_example"])
    assert build_method(own, store=None).weights == "", "its net has no backbone"


def test_a_backbone_of_one_input_size_names_it(tmp_path: Path) -> None:
    sizes = ["--set", "data_size=128", "--set", "data_crop_size=128"]
    words = ["-v", "-m", "cutpaste", "-n", "vit_b_16", "-d", "_example", "-g", "cpu", "-w", "none"]
    config = load_config([*words, "-wd", str(tmp_path), *sizes])
    with pytest.raises(UserError, match=r"^data_crop_size 128: vit_b_16 takes 224; --set data_crop_size$"):
        build_method(config, store=None)
