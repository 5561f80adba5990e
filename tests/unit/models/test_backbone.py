from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

from models.backbones.backbone import Backbone
from models.backbones.table import row_of
from tests.loaders import batch_of
from tools.weights import find_weights

REAL_WEIGHTS = (
    Path(__file__).resolve().parents[3] / "../shared/weights/resnet18_imagenet_conv1_to_layer3.safetensors"
)


def random_image(count: int, size: int = 64) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(7))


def disturb_norms(net: nn.Module) -> None:
    """Give BatchNorm layers statistics that matter, as training would."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features, generator=generator) / 10
            module.running_var = torch.rand(module.num_features, generator=generator) + 0.5


@pytest.fixture(scope="module")
def resnet() -> Any:
    torch.manual_seed(0)
    net: nn.Module = torchvision.models.resnet18().eval()
    disturb_norms(net)
    return net


@pytest.mark.parametrize(
    ("name", "channels", "strides"),
    [
        ("resnet18", [64, 128, 256], [4, 8, 16]),
        ("wide_resnet50", [256, 512, 1024], [4, 8, 16]),
        ("net_tiny", [64, 128, 256], [4, 8, 16]),
        ("vgg16", [256, 512, 512], [4, 8, 16]),
        ("efficientnet_b5", [40, 64, 176], [4, 8, 16]),
        ("timm/resnet10t", [64, 128, 256], [4, 8, 16]),
        ("timm/mobilenetv3_small_050", [8, 16, 24], [4, 8, 16]),
    ],
)
def test_maps_have_the_declared_widths_and_strides(
    name: str, channels: list[int], strides: list[int]
) -> None:
    layers = ("layer1", "layer2", "layer3")
    backbone = Backbone(name, layers).freeze()
    assert backbone.channels == dict(zip(layers, channels, strict=True))
    assert backbone.strides == dict(zip(layers, strides, strict=True))
    for layer, feature in backbone.extract(batch_of(random_image(2, 96))).items():
        assert feature.shape == (2, backbone.channels[layer], *[96 // backbone.strides[layer]] * 2)


def test_frozen_resnet_gives_the_features_of_torchvision(resnet: Any) -> None:
    backbone = Backbone("resnet18", ("layer2", "layer4", "pooled"))
    assert not backbone.load_weights(resnet.state_dict(), partial=False)
    found = backbone.freeze().extract(batch_of(random_image(3)))

    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        stem = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1((random_image(3) - mean) / std))))
        layer2 = resnet.layer2(resnet.layer1(stem))
        layer4 = resnet.layer4(resnet.layer3(layer2))
        pooled = resnet.avgpool(layer4).flatten(1)
    torch.testing.assert_close(found["layer2"], layer2, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["layer4"], layer4, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["pooled"], pooled, rtol=1e-4, atol=1e-4)


def test_vgg_gives_the_features_of_torchvision() -> None:
    torch.manual_seed(0)
    features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
    net = nn.ModuleDict({"features": features})
    layers = ("layer0", "layer1", "layer2", "layer3", "pooled")
    backbone = Backbone("vgg16", layers)
    assert not backbone.load_weights(net.state_dict(), partial=False)
    found = backbone.freeze().extract(batch_of(random_image(1)))
    plain, stages = (random_image(1) - backbone.mean) / backbone.std, []
    with torch.no_grad():
        for module in features:
            if isinstance(module, nn.MaxPool2d):
                stages.append(plain)
            plain = module(plain)
    for layer, expected in zip(layers, [*stages[1:], stages[4].mean((2, 3))], strict=True):
        torch.testing.assert_close(found[layer], expected, rtol=1e-4, atol=1e-5)


def test_images_can_be_taken_as_they_are() -> None:
    normalising, plain = (Backbone("net_tiny", ("layer1",)) for _ in range(2))
    plain.load_state_dict(normalising.state_dict())
    plain.skip_normalisation()
    image = random_image(1)
    shown = image * normalising.std + normalising.mean
    torch.testing.assert_close(plain(image), normalising(shown), rtol=1e-3, atol=1e-4)
    assert plain.fingerprint() != normalising.fingerprint()


@torch.no_grad()
def test_frozen_efficientnet_gives_the_features_of_torchvision() -> None:
    torch.manual_seed(0)
    net: Any = torchvision.models.efficientnet_b5().eval()
    disturb_norms(net)
    backbone = Backbone("efficientnet_b5", ("layer1", "layer4"))
    assert not backbone.load_weights(net.state_dict(), partial=False)
    found = backbone.freeze().extract(batch_of(random_image(2)))

    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    layer1 = net.features[:3]((random_image(2) - mean) / std)
    layer4 = net.features[3:7](layer1)
    assert len(net.features[6]) == 9, "the last of the nine blocks of stage 6"
    assert layer4.shape == (2, 304, 2, 2)
    torch.testing.assert_close(found["layer1"], layer1, rtol=1e-4, atol=1e-4 * layer1.std().item())
    torch.testing.assert_close(found["layer4"], layer4, rtol=1e-4, atol=1e-4 * layer4.std().item())


def test_vit_gives_the_class_token_of_torchvision_and_maps_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def narrow_vit() -> Any:
        torch.manual_seed(0)
        return torchvision.models.VisionTransformer(
            224, 16, num_layers=12, num_heads=2, hidden_dim=16, mlp_dim=32
        )

    monkeypatch.setattr(torchvision.models, "vit_b_16", narrow_vit)
    net = narrow_vit().eval()
    net.heads = nn.Identity()
    names_of_the_released_file = {
        key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value
        for key, value in net.state_dict().items()
    }
    backbone = Backbone("vit_b_16", ("layer1", "layer4", "pooled"))
    assert not backbone.load_weights(names_of_the_released_file, partial=False)
    image = torch.full((2, 3, 224, 224), 0.5)
    image[1, :, 2 * 16 : 3 * 16, 9 * 16 : 10 * 16] = 1.0
    with torch.no_grad():
        found = backbone.freeze()(image)
        expected = net((image - backbone.mean) / backbone.std)
    torch.testing.assert_close(found["pooled"], expected, rtol=1e-4, atol=1e-4)
    assert found["layer4"].shape == (2, 16, 14, 14)
    difference = (found["layer1"][1] - found["layer1"][0]).abs().sum(0)
    assert divmod(int(difference.argmax()), 14) == (2, 9)


def test_fixed_size_is_demanded() -> None:
    with pytest.raises(ValueError, match="timm/vit_tiny_patch16_224 takes 224x224 pixels, not 256x192"):
        Backbone("timm/vit_tiny_patch16_224", ("layer3",))(torch.zeros(1, 3, 256, 192))
    assert row_of("vit_b_16").input_size == (224, 224)


@pytest.mark.parametrize("name", ["resnet18", "net_tiny", "timm/mobilenetv3_small_050"])
def test_features_do_not_depend_on_the_batch(name: str) -> None:
    torch.manual_seed(0)
    backbone = Backbone(name, ("layer2", "layer3")).freeze()
    image = random_image(11)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    together, shuffled = backbone.extract(batch_of(image)), backbone.extract(batch_of(image[order]))
    alone = [backbone.extract(batch_of(one[None])) for one in image]
    for layer, feature in together.items():
        assert torch.equal(feature[order], shuffled[layer])
        assert torch.equal(feature, torch.cat([features[layer] for features in alone]))


def test_extracted_features_are_plain_tensors_that_a_head_can_learn_from() -> None:
    backbone = Backbone("net_tiny", ("layer3",)).freeze()
    feature = backbone.extract(batch_of(random_image(2)))["layer3"]
    assert feature.is_contiguous()
    assert not feature.requires_grad
    head = nn.Conv2d(256, 1, 1)
    head(feature).sum().backward()
    assert head.weight.grad is not None


def test_unfrozen_backbone_can_be_trained() -> None:
    backbone = Backbone("net_tiny", ("layer2",))
    assert backbone.training
    backbone(random_image(2))["layer2"].sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    with pytest.raises(RuntimeError, match="freeze"):
        backbone.extract(batch_of(random_image(1)))


def test_frozen_backbone_stays_frozen() -> None:
    backbone = Backbone("resnet18", ("layer1",)).freeze()
    before = backbone.extract(batch_of(random_image(2)))["layer1"]
    nn.Sequential(backbone).train()
    backbone(random_image(2))
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    assert torch.equal(before, backbone.extract(batch_of(random_image(2)))["layer1"])
    with pytest.raises(RuntimeError, match="freeze"):
        backbone.load_weights({}, partial=True)


def test_modules_behind_the_deepest_layer_are_not_kept() -> None:
    keys: Iterable[str] = Backbone("resnet18", ("layer2",)).state_dict()
    assert not [key for key in keys if "layer3" in key or "layer4" in key or "fc" in key]
    with torch.device("meta"):
        keys = row_of("vit_b_16").build(("layer2",)).state_dict()
    assert {key.split(".")[2] for key in keys if "encoder.layers" in key} == {
        f"encoder_layer_{number}" for number in range(6)
    }


def test_missing_entries_are_refused_or_kept_random_if_partial(resnet: Any) -> None:
    state = {key: value for key, value in resnet.state_dict().items() if not key.startswith("layer2")}
    backbone = Backbone("resnet18", ("layer2",))
    with pytest.raises(ValueError, match=r"lack 25 of 50 entries in use: layer2\.0\.conv1\.weight"):
        backbone.load_weights(state, partial=False)
    random_start = backbone.state_dict()["trunk.layer2.0.conv1.weight"].clone()
    assert backbone.load_weights(state, partial=True)
    assert torch.equal(backbone.state_dict()["trunk.layer2.0.conv1.weight"], random_start)
    assert torch.equal(backbone.state_dict()["trunk.conv1.weight"], resnet.conv1.weight)
    with pytest.raises(ValueError, match="lack 50 of 50"):
        backbone.load_weights({"fc.weight": torch.zeros(1)}, partial=True)


def test_wrong_shape_is_refused_by_name(resnet: Any) -> None:
    state = {**resnet.state_dict(), "layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    with pytest.raises(
        ValueError, match=r"layer1\.0\.conv1\.weight is \(64, 64, 1, 1\), not \(64, 64, 3, 3\)"
    ):
        Backbone("resnet18", ("layer1",)).load_weights(state, partial=False)


@pytest.mark.parametrize("model", ["convnext_atto", "mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_timm_nets_take_the_state_dict_of_the_whole_model(model: str) -> None:
    import timm

    whole = timm.create_model(model).eval()
    backbone = Backbone(f"timm/{model}", ("layer3",))
    assert not backbone.load_weights(whole.state_dict(), partial=False)
    for key, value in backbone.trunk.state_dict().items():
        assert any(
            value.shape == other.shape and torch.equal(value, other) for other in whole.state_dict().values()
        ), key


@pytest.mark.parametrize(
    ("name", "layers", "message"),
    [
        (
            "resnet19",
            ("layer1",),
            "no backbone is called 'resnet19'; there are efficientnet_b5, efficientnet_lite0, resnet18, ",
        ),
        (
            "resnet18",
            ("layer5",),
            "resnet18 has no layer layer5; it has layer1, layer2, layer3, layer4, pooled",
        ),
        ("resnet18", (), "it has layer1"),
        ("net_tiny", ("layer4",), "net_tiny has no layer layer4; it has layer1, layer2, layer3, pooled"),
        ("timm/vit_tiny_patch16_224", ("layer1",), "it has layer3, pooled"),
        ("timm/no_such_model", ("layer1",), "timm gives no feature maps of a model 'no_such_model'"),
    ],
)
def test_unknown_names_and_layers_are_refused(name: str, layers: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Backbone(name, layers)


def test_timm_normalisation_is_the_models_own() -> None:
    assert Backbone("timm/vit_tiny_patch16_224", ("layer3",)).mean.flatten().tolist() == [0.5, 0.5, 0.5]


def test_fingerprint_tells_weights_apart_and_not_layers(resnet: Any) -> None:
    def fingerprint(state: dict[str, Tensor], layers: tuple[str, ...]) -> str:
        backbone = Backbone("resnet18", layers)
        backbone.load_weights(state, partial=False)
        return backbone.freeze().fingerprint()

    state = resnet.state_dict()
    changed = {**state, "layer2.0.conv1.weight": state["layer2.0.conv1.weight"] + 1e-6}
    same = fingerprint(state, ("layer1", "layer2"))
    assert same == fingerprint(state, ("layer2",))
    assert same != fingerprint(changed, ("layer2",))
    assert fingerprint(state, ("layer1",)) == fingerprint(changed, ("layer1",))


@pytest.mark.weights
@pytest.mark.skipif(not REAL_WEIGHTS.exists(), reason="needs the real ResNet-18 weights in the shared folder")
def test_real_weights_load_to_layer3_and_no_further() -> None:
    state = load_file(REAL_WEIGHTS)
    assert not Backbone("resnet18", ("layer1", "layer3")).load_weights(state, partial=False)
    assert not Backbone("timm/resnet18", ("layer2", "layer3")).load_weights(state, partial=False)
    with pytest.raises(ValueError, match=r"layer4\.0\.conv1\.weight"):
        Backbone("resnet18", ("pooled",)).load_weights(state, partial=False)
    assert Backbone("resnet18", ("pooled",)).load_weights(state, partial=True)


@pytest.mark.parametrize("prefix", ["", "module.", "encoder_q.", "model.feature_extractor.", "a.b.c."])
def test_a_prefix_of_other_tools_is_found(prefix: str) -> None:
    backbone = Backbone("net_tiny", ("layer1", "layer2"))
    names = [prefix + name for name in backbone.trunk.state_dict()]
    assert backbone.prefix_of([*names, "epoch.head.weight"]) == prefix


def test_names_of_the_file_are_shown_where_they_do_not_fit() -> None:
    backbone = Backbone("net_tiny", ("layer1",))
    strange = {f"strange.{number}": torch.ones(1) for number in range(5)}
    with pytest.raises(
        ValueError, match=r"the file has strange\.0, strange\.1, strange\.2, \.\.\.; give a file of"
    ):
        backbone.load_weights(strange, partial=False)
    (name, *_) = backbone.trunk.state_dict()
    with pytest.raises(ValueError, match="or --partial-weights"):
        backbone.load_weights({name: backbone.trunk.state_dict()[name]}, partial=False)


@pytest.mark.parametrize(
    ("ending", "value", "line"),
    [
        ("weight", float("nan"), "not finite"),
        ("weight", float("inf"), "not finite"),
        ("running_var", -1.0, "negative"),
    ],
)
def test_numbers_that_no_trained_net_has_are_refused(ending: str, value: float, line: str) -> None:
    backbone = Backbone("resnet18", ("layer1",))
    state = {key: tensor.clone() for key, tensor in backbone.trunk.state_dict().items()}
    next(tensor for key, tensor in state.items() if key.endswith(ending)).view(-1)[0] = value
    with pytest.raises(ValueError, match=line):
        backbone.load_weights(state, partial=False)


def test_efficientnet_lite0_has_complete_weights_without_a_download_and_computes_as_timm() -> None:
    backbone = Backbone("efficientnet_lite0", ("layer1", "layer2", "layer3", "layer4", "pooled"))
    state, described = find_weights(backbone.name, backbone.source, "imagenet", [])
    assert state is not None
    assert described == "imagenet"
    assert not backbone.load_weights(state, partial=False)
    net: Any = timm.create_model("tf_efficientnet_lite0").eval()
    net.load_state_dict(state)
    image = random_image(2)
    with torch.no_grad():
        expected = net.forward_features((image - 0.5) / 0.5)
        stages = net.forward_intermediates((image - 0.5) / 0.5, intermediates_only=True)
    found = backbone.freeze().extract(batch_of(image))
    torch.testing.assert_close(found["pooled"], expected.mean((2, 3)), rtol=1e-3, atol=1e-3)
    for layer, stage in zip(("layer1", "layer2", "layer3", "layer4"), stages[1:], strict=True):
        torch.testing.assert_close(found[layer], stage, rtol=1e-3, atol=1e-3)
    assert backbone.strides == {"layer1": 4, "layer2": 8, "layer3": 16, "layer4": 32}


def test_efficientnet_lite0_knows_a_photograph() -> None:
    state, _ = find_weights("efficientnet_lite0", row_of("efficientnet_lite0").source, "imagenet", [])
    assert state is not None
    net = timm.create_model("tf_efficientnet_lite0").eval()
    net.load_state_dict(state)
    photograph = Image.fromarray(load_sample_image("flower.jpg")).resize((341, 228)).crop((58, 2, 282, 226))
    image = torch.from_numpy(np.array(photograph)).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        assert int(net((image - 0.5) / 0.5).argmax()) == 985, "ImageNet's number of the daisy"
