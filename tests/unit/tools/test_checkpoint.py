from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from configuration.errors import UserError
from tools.checkpoint import check_model, load_model, load_training, save_model, save_training

METADATA = {"model": "patchcore", "net": "resnet18", "backbone": "resnet18", "weights": "imagenet"}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tmp_path / "model.safetensors", {"bank": torch.arange(4000.0)}, METADATA)
    return tmp_path / "model.safetensors"


def test_a_state_comes_back_as_it_was_with_its_metadata(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    state: dict[str, Tensor] = dict(net.state_dict())
    bank = torch.randn(6, 5)
    state |= {
        "shared": bank,
        "view": bank[1:3],
        "turned": bank.T,
        "half": bank.bfloat16(),
        "empty": torch.zeros(0, 3),
        "parameter": nn.Parameter(torch.ones(2)),
    }
    save_model(tmp_path / "a/model.safetensors", state, METADATA)
    check_model(tmp_path / "a/model.safetensors", METADATA, {})
    found = load_model(tmp_path / "a/model.safetensors")
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        torch.testing.assert_close(found[name], tensor.detach(), rtol=0, atol=0)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["model.safetensors"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.safetensors: .*--save-model"):
        check_model(tmp_path / "none.safetensors", {}, {})
    with pytest.raises(UserError, match="no model to load"):
        check_model(tmp_path, {}, {})


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file_is_damaged(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(UserError, match="damaged"):
        check_model(saved, {}, {})


@pytest.mark.parametrize("place", [3, 60, -1, -9000])
def test_an_altered_file_is_not_loaded(saved: Path, place: int) -> None:
    content = bytearray(saved.read_bytes())
    content[place] ^= 1
    saved.write_bytes(content)
    with pytest.raises(UserError):
        check_model(saved, METADATA, {})


def test_weights_from_elsewhere_are_no_checkpoint(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(2)}, tmp_path / "net.safetensors")
    with pytest.raises(UserError, match="not written by --save-model"):
        check_model(tmp_path / "net.safetensors", {}, {})


def test_the_checkpoint_of_another_model_is_refused(saved: Path) -> None:
    with pytest.raises(UserError, match="trained with model 'patchcore', and the run has 'padim'"):
        check_model(saved, {"model": "padim"}, {})


def test_an_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_model(tmp_path / "file/model.safetensors", {"a": torch.zeros(1)}, METADATA)


def test_a_key_that_came_later_had_its_default(saved: Path) -> None:
    check_model(saved, {**METADATA, "later": "2"}, {"later": "2"})
    with pytest.raises(UserError, match="trained with later '2', and the run has '3'"):
        check_model(saved, {**METADATA, "later": "3"}, {"later": "2"})


def test_a_file_that_changes_after_its_check_is_not_loaded(saved: Path) -> None:
    check_model(saved, METADATA, {})
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(UserError, match="wrong checksum"):
        load_model(saved)


def test_a_flipped_bit_of_an_interrupted_run_is_found_wherever_it_is(tmp_path: Path) -> None:
    state = {"step": 2, "rows": [], "training": {"epoch": 3, "weight": torch.arange(60.0)}}
    path = tmp_path / "checkpoint.pt"
    save_training(path, state)
    whole = path.read_bytes()
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            load_training(path)
    path.write_bytes(whole)
    assert torch.equal(load_training(path)["training"]["weight"], torch.arange(60.0))


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02}q\x00."])
def test_what_is_no_interrupted_run_is_damaged(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        load_training(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("weight", [1.0, float("nan")]), ("weight", [float("inf")]), ("bn.running_var", [1.0, -1.0])],
)
def test_numbers_that_no_training_leaves_are_refused(name: str, value: list[float], tmp_path: Path) -> None:
    tensor = torch.tensor(value)
    save_training(tmp_path / "checkpoint.pt", {"training": {"parts": [{name: tensor}]}})
    with pytest.raises(UserError, match=f"{name} holds"):
        load_training(tmp_path / "checkpoint.pt")
    save_model(tmp_path / "model.safetensors", {name: tensor}, METADATA)
    with pytest.raises(UserError, match=f"{name} holds"):
        check_model(tmp_path / "model.safetensors", METADATA, {})
    best = {"best_error": torch.tensor(float("inf"))}
    save_training(tmp_path / "checkpoint.pt", best)
    assert load_training(tmp_path / "checkpoint.pt") == best
