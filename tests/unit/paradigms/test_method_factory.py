import shutil
from pathlib import Path

import pytest
import torch

from arch.gradient_method import GradientMethod
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
        method, _ = build_method(small_reverse(tmp_path, *words), store=None)
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
