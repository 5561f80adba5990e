from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from configuration.config import load_config
from data_io.records import FeatureReader, Task
from loss_function.flow import flow_loss
from models.fastflow.net_fastflow import FastFlowNet, FlowBlock, MapFlow, cell_scores
from paradigms.method_factory import build_method
from tests.conftest import RunProgram
from tests.loaders import MadeLoader, cached, for_method, random_images, train

RESNET18 = [(64, 64, 64), (128, 32, 32), (256, 16, 16)]
WIDE_RESNET50 = [(256, 64, 64), (512, 32, 32), (1024, 16, 16)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def disturbed(module: nn.Module, spread: float = 0.3) -> Any:
    """Return the module in float64, its parameters moved away from where a flow is easy."""
    generator = torch.Generator().manual_seed(5)
    for parameter in module.parameters():
        parameter.data += spread * torch.randn(parameter.shape, generator=generator)
    return module.double()


@pytest.mark.parametrize(
    ("shapes", "steps", "ratio", "conv3x3_only", "flows", "norms"),
    [
        (RESNET18, 8, 1.0, False, 2_593_024, 917_504),
        (RESNET18, 8, 1.0, True, 4_657_408, 917_504),
        (WIDE_RESNET50, 8, 1.0, False, 41_337_856, 3_670_016),
        ([(768, 24, 24)], 20, 0.16, False, 7_074_500, 2 * 768 * 24 * 24),
    ],
)
def test_nets_have_the_published_numbers_of_parameters(
    shapes: list[tuple[int, int, int]], steps: int, ratio: float, conv3x3_only: bool, flows: int, norms: int
) -> None:
    with torch.device("meta"):
        net = FastFlowNet(shapes, steps, ratio, conv3x3_only, norm_affine=True, clamp=2.0)
        plain = FastFlowNet(shapes, steps, ratio, conv3x3_only, norm_affine=False, clamp=2.0)
    assert sum(parameter.numel() for parameter in plain.parameters()) == flows
    assert sum(parameter.numel() for parameter in net.parameters()) == flows + norms


def test_a_block_whose_subnet_gives_0_only_permutes() -> None:
    block, feature_map = FlowBlock(6, 3, 3, clamp=2.0), random(2, 6, 4, 4)
    nn.init.zeros_(block.subnet.last.weight)
    assert block.subnet.last.bias is not None
    nn.init.zeros_(block.subnet.last.bias)
    with torch.no_grad():
        found, log_det = block(feature_map)
    torch.testing.assert_close(found, feature_map[:, block.permutation.order], rtol=1e-5, atol=1e-6)
    assert log_det.abs().max() < 6 * 16 * 1e-6


@pytest.mark.parametrize("channels", [4, 5])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_a_block_is_undone_and_has_the_log_determinant_of_its_jacobian(
    channels: int, kernel_size: int
) -> None:
    block = disturbed(FlowBlock(channels, 3, kernel_size, clamp=2.0))
    assert block.subnet.first.in_channels == (3 if channels == 5 else 2)
    assert block.subnet.last.out_channels == 4
    feature_map = random(1, channels, 2, 2).double()
    found, log_det = block(feature_map)
    torch.testing.assert_close(block.inverse(found), feature_map, rtol=0, atol=1e-9)
    jacobian = torch.autograd.functional.jacobian(lambda x: block(x)[0], feature_map)
    expected = torch.linalg.slogdet(jacobian.view(4 * channels, -1)).logabsdet
    assert abs(expected.item()) > 1e-3, "a test on a flow that keeps volumes would prove nothing"
    assert log_det.item() == pytest.approx(expected.item(), abs=1e-10)


def test_a_block_is_freias_with_the_same_weights() -> None:
    modules = pytest.importorskip("FrEIA.modules", reason="FrEIA, the oracle of this test, is not installed")

    def subnet(channels_in: int, channels_out: int) -> nn.Module:
        first = nn.Conv2d(channels_in, 5, 3, padding=1)
        return nn.Sequential(first, nn.ReLU(), nn.Conv2d(5, channels_out, 3, padding=1))

    ours = FlowBlock(7, 5, 3, clamp=2.0)
    oracle = modules.AllInOneBlock(
        [(7, 6, 6)], subnet_constructor=subnet, affine_clamping=2.0, permute_soft=False
    )
    disturbed(ours)
    oracle.double()
    with torch.no_grad():
        for theirs, convolution in zip((0, 2), (ours.subnet.first, ours.subnet.last), strict=True):
            oracle.subnet[theirs].load_state_dict(convolution.state_dict())
        oracle.global_scale.copy_(ours.gate.view(1, 7, 1, 1))
        oracle.global_offset.copy_(ours.offset.view(1, 7, 1, 1))
        oracle.w_perm.copy_(torch.eye(7)[ours.permutation.order][:, :, None, None])
    feature_map = random(3, 7, 6, 6).double()
    (expected,), expected_log_det = oracle([feature_map])
    found, log_det = ours(feature_map)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(log_det, expected_log_det, rtol=1e-7, atol=1e-7)


def test_mixed_precision_stays_inside_the_subnets() -> None:
    net, feature_map = MapFlow((6, 8, 8), 2, 1.0, False, norm_affine=True, clamp=2.0), random(2, 6, 8, 8)
    latent, log_det = net(feature_map)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, mixed_log_det = net(feature_map)
    assert mixed.dtype == mixed_log_det.dtype == torch.float32
    torch.testing.assert_close(mixed, latent, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(mixed_log_det, log_det, rtol=0.05, atol=0.05)
    assert not torch.equal(mixed, latent)


def test_scores_are_likelihoods_below_0_and_strong_anomalies_keep_their_order() -> None:
    assert torch.equal(cell_scores(torch.zeros(1, 3, 2, 2)), -torch.ones(1, 2, 2))
    constant = cell_scores(torch.full((1, 5, 2, 2), 1.7))
    torch.testing.assert_close(constant, -torch.exp(torch.tensor(-0.5 * 1.7**2)).expand(1, 2, 2))
    far = cell_scores(torch.tensor([40.0, 60.0]).sqrt().view(1, 1, 1, 2)).flatten()
    assert -1 <= far[0] < far[1] <= 0, "q = 20 against 30"


def test_an_affine_norm_can_lower_the_loss_without_changing_the_latents() -> None:
    """Why `_norm_affine: false` exists: the norm before the flow has no log-determinant of its own."""
    flow: Any = MapFlow((4, 3, 3), 1, 1.0, False, norm_affine=True, clamp=2.0).double()
    block = flow.blocks[0]
    nn.init.zeros_(block.subnet.last.weight)
    nn.init.zeros_(block.subnet.last.bias)
    feature_map, factor = random(2, 4, 3, 3).double(), 3.0
    latent, log_det = flow(feature_map)
    with torch.no_grad():
        flow.norm.weight /= factor
        flow.norm.bias /= factor
        wanted = (
            10 * factor
        )  # 0.1 softplus(gate) = factor, and softplus_0.5(x) = wanted for x = 2 ln(e^(wanted/2) - 1)
        block.gate.fill_(2 * torch.expm1(torch.tensor(wanted / 2, dtype=torch.float64)).log())
    same, larger = flow(feature_map)
    torch.testing.assert_close(same, latent, rtol=1e-5, atol=1e-5)
    lower = flow_loss([latent], log_det) - flow_loss([same], larger)
    assert lower.item() == pytest.approx(36 * log(factor), rel=1e-4)


def build(tmp_path: Path, *words: str) -> Any:
    common = ["-c", "-m", "fastflow", "-n", "net_fastflow", "-bb", "net_tiny", "-d", "_example", "-w", "none"]
    small = ["_flow_steps=2", "data_size=64", "data_crop_size=64"]
    keys = [word for key in small for word in ("--set", key)]
    config = load_config([*common, "-g", "cpu", "-wd", str(tmp_path), "-tid", "0", "1", *keys, *words])
    return build_method(config, store=None).method


def images() -> MadeLoader:
    return MadeLoader(random_images(4), batch_size=3)


def task(step: int) -> Task:
    return Task(id=step, name=f"task {step}", setting="continual", step=step, seed=0)


def losses(method: Any, read: FeatureReader | None = None) -> list[float]:
    return [method.loss(batch).item() for batch in for_method(method, images(), read)]


def test_maps_of_nets_that_do_not_pad_have_flows_of_their_size(tmp_path: Path) -> None:
    method = build(tmp_path, "-bb", "timm/inception_v3", "--set", "_layers=[layer1]", "-ne", "1")
    train(method, images(), task(0))


@pytest.mark.parametrize(
    ("backbone", "kernel"), [("resnet18", 3), ("timm/resnet18.tv_in1k", 3), ("wide_resnet50", 1)]
)
def test_every_second_subnet_of_wide_nets_has_small_kernels(
    backbone: str, kernel: int, tmp_path: Path
) -> None:
    first, second = build(tmp_path, "-bb", backbone).net.flows[0].blocks
    assert first.subnet.first.kernel_size == (3, 3)
    assert second.subnet.first.kernel_size == (kernel, kernel)


def test_training_lowers_the_loss_and_reads_the_backbone_once(tmp_path: Path) -> None:
    method = build(tmp_path, "-ne", "15")
    before = {key: value.clone() for key, value in method.backbone.state_dict().items()}
    first = sum(losses(method))
    features = cached(method)
    train(method, images(), task(0), features.read)
    assert sum(losses(method)) < first - 1000
    assert features.num_extracted == 4
    assert all(torch.equal(value, before[key]) for key, value in method.backbone.state_dict().items())
    assert all(parameter.grad is None for parameter in method.backbone.parameters())


def test_cached_features_give_the_same_loss(tmp_path: Path) -> None:
    method = build(tmp_path)
    read = cached(method).read
    assert [losses(method, read) for _ in range(2)] == [losses(method)] * 2


def test_the_seed_decides_the_flow(tmp_path: Path) -> None:
    states = [build(tmp_path, "--seed", seed).state_dict() for seed in ("1", "1", "2")]
    key = "flows.0.blocks.1.permutation.order"
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0][key], states[2][key])


def test_the_image_score_is_the_highest_pixel_of_the_mean_of_the_maps(tmp_path: Path) -> None:
    method = build(tmp_path)
    batch = next(iter(for_method(method, images())))
    with torch.no_grad():
        found = method.predict_batch(batch)
        maps = method.backbone.extract(batch)
        latents = [flow(maps[layer])[0] for flow, layer in zip(method.net.flows, maps, strict=True)]
    likelihoods = [(-0.5 * latent.square().mean(1, keepdim=True)).exp() for latent in latents]
    large = [nn.functional.interpolate(-one, size=64, mode="bilinear") for one in likelihoods]
    torch.testing.assert_close(found.anomaly_map, torch.cat(large, dim=1).mean(1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.image_score, found.anomaly_map.amax((1, 2)))


def test_the_vision_transformer_has_one_flow() -> None:
    config = load_config(
        ["-v", "-m", "fastflow", "-n", "vit_b_16", "-d", "_example", "-w", "none", "-g", "cpu"]
    )
    params: Any = config.params
    assert (config.data.data_size, config.data.data_crop_size) == (224, 224)
    assert (params.layers, params.flow_steps, params.hidden_ratio) == (("layer3",), 20, 0.16)


def test_few_epochs_tell_the_defects_of_the_example(run_program: RunProgram) -> None:
    words = ["-v", "-m", "fastflow", "-n", "net_fastflow", "-bb", "net_tiny", "-d", "_example", "-tid", "0"]
    small = ["data_size=128", "data_crop_size=128", "_flow_steps=2", "train_batch_size=8", "_lr=0.002"]
    (row,) = run_program(*words, "-ne", "10", *(word for key in small for word in ("--set", key)))
    assert float(row["image_auroc"]) > 0.85
    assert float(row["pixel_auroc"]) > 0.95
