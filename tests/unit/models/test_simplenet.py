from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from configuration.config import load_config
from data_io.records import Task
from loss_function.margin import margin_loss
from models.simplenet.net_simplenet import SimpleNetHeads, draw_noise
from paradigms.method_factory import build_method
from tests.loaders import MadeLoader, cached, random_images, scoring, train


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plain_judgement(heads: SimpleNetHeads, adapted: Tensor) -> Tensor:
    """Judge adapted features layer by layer."""
    discriminator = heads.discriminator
    hidden = discriminator.norm(discriminator.first(adapted))
    return discriminator.last(F.leaky_relu(hidden, 0.2))[:, 0]


def test_the_loss_is_that_worked_by_hand() -> None:
    true, fake = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.0])
    assert margin_loss(true, fake, 0.5).item() == pytest.approx(0.5)
    assert margin_loss(torch.full((3,), 0.5), torch.full((3,), -0.5), 0.5).item() == 0


def test_the_heads_have_the_published_numbers_of_parameters() -> None:
    heads = SimpleNetHeads(width=1536, hidden=1024)
    assert sum(p.numel() for p in heads.adaptor.parameters()) == 2_360_832
    assert sum(p.numel() for p in heads.discriminator.parameters()) == 1_576_960


def test_one_shared_linear_map_has_the_values_and_gradients_of_two_layers() -> None:
    torch.manual_seed(0)
    heads = SimpleNetHeads(width=12, hidden=16)
    feature, noise = random(40, 12), 0.3 * random(40, 12, seed=1)
    adapted = heads.adaptor(feature)
    plain = plain_judgement(heads, torch.cat([adapted, adapted + noise]))
    fused = torch.cat(heads.judge_with_noise(feature, noise))
    torch.testing.assert_close(fused, plain)
    gradients = []
    for judged in (plain, fused):
        heads.zero_grad()
        margin_loss(judged[:40], judged[40:], 0.5).backward()
        gradients.append([p.grad.clone() for p in heads.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_scoring_judges_as_the_layers_do() -> None:
    heads = SimpleNetHeads(width=12, hidden=16).eval()
    feature = random(10, 12)
    torch.testing.assert_close(heads(feature), plain_judgement(heads, heads.adaptor(feature)))


@pytest.mark.parametrize(("num_scales", "factor"), [(1, 1.0), (3, ((1 + 1.21 + 1.4641) / 3) ** 0.5)])
def test_noise_has_the_declared_spread(num_scales: int, factor: float) -> None:
    torch.manual_seed(0)
    noise = draw_noise(torch.zeros(1000, 1600), 0.015, num_scales)
    assert noise.mean().item() == pytest.approx(0, abs=2e-4)
    assert noise.std().item() == pytest.approx(0.015 * factor, rel=0.01)
    spread = noise.std(1)
    assert (spread.max() / spread.min() > 1.17).item() == (num_scales == 3), "one scale per patch"


def test_heads_learn_to_tell_equal_features_from_noisy_ones() -> None:
    torch.manual_seed(0)
    heads = SimpleNetHeads(width=32, hidden=64)
    feature = random(1, 32).expand(256, 32)
    optimizer = torch.optim.Adam(heads.parameters(), lr=1e-3)
    shares = []
    for _ in range(150):
        true, fake = heads.judge_with_noise(feature, draw_noise(feature, 0.3, 1))
        shares.append(((true >= 0.5).float().mean() + (fake <= -0.5).float().mean()).item() / 2)
        optimizer.zero_grad()
        margin_loss(true, fake, 0.5).backward()
        optimizer.step()
    assert shares[0] < 0.7
    assert shares[-1] > 0.95


def build(tmp_path: Path, *words: str) -> Any:
    common = ["-c", "-m", "simplenet", "-n", "net_tiny", "-d", "_example", "-w", "none", "-g", "cpu"]
    small = ["_target_embed_dimension=48", "_pretrain_embed_dimension=48", "_dsc_hidden=32"]
    keys = [word for key in small for word in ("--set", key)]
    config = load_config([*common, "-wd", str(tmp_path), "-tid", "0", "1", *keys, *words])
    return build_method(config, store=None).method


def images() -> MadeLoader:
    return MadeLoader(random_images(5), batch_size=2)


def task(step: int) -> Task:
    return Task(id=step, name=f"task {step}", setting="continual", step=step, seed=0)


def test_passes_are_epochs_times_gan_epochs_and_later_ones_run_no_backbone(tmp_path: Path) -> None:
    method = build(tmp_path, "-ne", "2", "--set", "_gan_epochs=3")
    before = {key: value.clone() for key, value in method.backbone.state_dict().items()}
    steps = []
    optimizers = method.optimizers()
    optimizers[1].register_step_post_hook(lambda *_: steps.append(1))
    method.optimizers = lambda: optimizers
    features = cached(method)
    train(method, images(), task(0), features.read)
    assert len(steps) == 2 * 3 * 3
    assert features.num_extracted == 5
    assert all(torch.equal(value, before[key]) for key, value in method.backbone.state_dict().items())
    assert all(parameter.grad is None for parameter in method.backbone.parameters())


def test_cached_features_train_the_same_weights(tmp_path: Path) -> None:
    states = []
    for is_cached in (True, False):
        method = build(tmp_path, "-ne", "1", "--set", "_gan_epochs=2")
        train(method, images(), task(0), cached(method).read if is_cached else None)
        states.append(method.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_the_image_score_is_the_worst_patch_before_smoothing(tmp_path: Path) -> None:
    method = build(tmp_path)
    method.net.eval()
    batch = scoring(method, images().image, torch.arange(5))
    with torch.no_grad():
        found = method.predict_batch(batch)
        maps = method.backbone.extract(batch)
        patch_score = -method.net(method.embedding([maps["layer2"], maps["layer3"]])).view(5, 64)
    torch.testing.assert_close(found.image_score, patch_score.amax(1))
    assert (found.anomaly_map.amax((1, 2)) < found.image_score).all()


@pytest.mark.parametrize("mode", ["finetune", "replace"])
def test_the_next_task_starts_where_its_key_says(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build(tmp_path, "-ne", "1", "--set", f"_continual={mode}")
    first = {key: value.clone() for key, value in method.state_dict().items()}
    train(method, images(), task(0))
    trained = {key: value.clone() for key, value in method.state_dict().items()}
    monkeypatch.setattr(method, "num_epochs", lambda _task: 0)
    train(method, images(), task(1))
    expected = trained if mode == "finetune" else first
    assert all(torch.equal(value, expected[key]) for key, value in method.state_dict().items())
    assert not torch.equal(first["adaptor.weight"], trained["adaptor.weight"])
