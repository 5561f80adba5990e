from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from arch.dra import NORMAL, PSEUDO, SEEN
from augmentation.cut_paste import paste_patches
from configuration.config import load_config
from configuration.errors import UserError
from data_io.images import folder_images
from data_io.records import Task
from data_io.table import Storage
from models.backbones.backbone import Backbone
from models.dra.net_dra import DRANet, HeadScores
from paradigms.method_factory import build_method
from tests.conftest import RunProgram
from tests.loaders import MadeLoader, random_images, scoring, train

SIDE = 64  # pixels
TASK = Task(id=0, name="squares", setting="semi", step=0, seed=0)


def build(work_dir: Path, *keys: str) -> Any:
    common = ["-s", "-m", "dra", "-bb", "net_tiny", "-d", "_example", "-w", "none", "-g", "cpu"]
    words = [
        word for key in (f"data_size={SIDE}", f"data_crop_size={SIDE}", *keys) for word in ("--set", key)
    ]
    return build_method(load_config([*common, "-wd", str(work_dir), *words]), store=None).method


def small_net(num_scales: int = 2) -> DRANet:
    torch.manual_seed(0)
    return DRANet(Backbone("net_tiny", ["layer3"]), num_scales, top_share=0.1).eval()


def ramps(count: int, seed: int) -> Tensor:
    """Return images whose colours tell the place, with noise: a pasted patch stands out."""
    image = 0.05 * random_images(count, SIDE, seed)
    image[:, 0] += torch.linspace(0.1, 0.8, SIDE)
    image[:, 1] += torch.linspace(0.1, 0.8, SIDE)[:, None]
    return image


def scores_of(*values: float) -> HeadScores:
    return HeadScores(*(torch.tensor([value]) for value in values))


def test_the_net_has_the_published_number_of_parameters() -> None:
    net = DRANet(Backbone("resnet18", ["layer4"]), num_scales=2, top_share=0.1)
    counts = [
        sum(p.numel() for part in parts for p in part.parameters())
        for parts in ([net.holistic], [net.seen], [net.pseudo], [net.residual, net.composite], [net])
    ]
    assert counts == [131_585, 513, 513, 2_361_345, 13_670_468]


def test_the_score_adds_the_heads_for_anomalies_and_takes_off_that_for_normality() -> None:
    assert scores_of(1, 2, 3, 4).image_score().item() == 8
    assert scores_of(1.5, 2, 3, 4).image_score() < scores_of(1, 2, 3, 4).image_score()


@pytest.mark.parametrize(
    ("label", "targets"),
    [
        (NORMAL, {"holistic": 1, "seen": 0, "pseudo": 0, "composite": 0}),
        (SEEN, {"holistic": 0, "seen": 1, "composite": 1}),
        (PSEUDO, {"holistic": 0, "pseudo": 1, "composite": 1}),
    ],
)
def test_each_head_learns_its_own_question(label: int, targets: dict[str, int], tmp_path: Path) -> None:
    method = build(tmp_path)
    asked: list[tuple[float, int]] = []

    def criterion(score: Tensor, target: Tensor) -> Tensor:
        asked.extend(zip(score.tolist(), target.long().tolist(), strict=True))
        return score.sum()

    method.criterion = criterion
    scores = scores_of(1, 2, 3, 4)
    method.head_loss(scores, torch.tensor([label]))
    assert asked == [(float(getattr(scores, head)), target) for head, target in targets.items()]


def test_a_batch_without_pseudo_or_seen_anomalies_has_a_finite_loss(tmp_path: Path) -> None:
    method = build(tmp_path)
    for labels in ([NORMAL, NORMAL], [SEEN, SEEN], [PSEUDO, PSEUDO], [NORMAL, SEEN]):
        scores = HeadScores(*(torch.ones(2, requires_grad=True) for _ in range(4)))
        loss = method.head_loss(scores, torch.tensor(labels))
        loss.backward()
        assert torch.isfinite(loss)


def test_half_of_the_normal_images_become_pseudo_anomalies(tmp_path: Path) -> None:
    method = build(tmp_path)
    torch.manual_seed(0)
    image, label = random_images(48, side=8), torch.tensor([NORMAL] * 32 + [SEEN] * 16)
    shares = []
    for _ in range(200):
        changed, new_label = method.with_pseudo(image, label)
        is_changed = (changed != image).any(dim=1).flatten(1).any(1)
        assert torch.equal(is_changed, new_label == PSEUDO)
        assert torch.equal(new_label[32:], label[32:])
        shares.append((new_label[:32] == PSEUDO).float().mean())
    assert torch.stack(shares).mean().item() == pytest.approx(0.5, abs=0.02)
    assert (label <= 1).all(), "the labels of the loader stay as they are"


def test_without_pseudo_anomalies_a_batch_stays_as_it_is(tmp_path: Path) -> None:
    image, label = random_images(4, side=8), torch.tensor([0, 0, 1, 1])
    for key in ("_pseudo=none", "_pseudo_prob=0.0"):
        changed, new_label = build(tmp_path, key).with_pseudo(image, label)
        assert torch.equal(changed, image)
        assert torch.equal(new_label, label)


def test_pseudo_anomalies_can_be_images_of_other_products(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (255, 0, 0)).save(tmp_path / "red.png")
    method = build(tmp_path, "_pseudo=outlier", f"_outlier={tmp_path}", "_pseudo_prob=1.0")
    storage = Storage(method.device, memory_mb=100, num_workers=1)
    method.other_images = folder_images(tmp_path, SIDE, storage)
    image, label = torch.zeros(3, 3, SIDE, SIDE), torch.tensor([NORMAL, SEEN, NORMAL])
    changed, new_label = method.with_pseudo(image, label)
    assert new_label.tolist() == [PSEUDO, SEEN, PSEUDO]
    assert [tuple(one[:, 5, 5].tolist()) for one in changed] == [(1, 0, 0), (0, 0, 0), (1, 0, 0)]
    assert len(method.with_pseudo(image[1:2], label[1:2])[0]) == 1, "a batch may have no normal image"
    with pytest.raises(UserError, match="outlier and a folder for _outlier go together"):
        build(tmp_path, "_pseudo=outlier")


def test_references_come_first_and_are_never_pasted(tmp_path: Path) -> None:
    method = build(tmp_path, "_pseudo_prob=1.0", "_rotation=0.0", "train_batch_size=12")
    seen: list[tuple[Tensor, int]] = []

    def forward(image: Tensor, num_references: int) -> tuple[HeadScores, list[Tensor]]:
        seen.append((image, num_references))
        return HeadScores(*(torch.ones(len(image) - num_references) for _ in range(4))), []

    method.net.forward = forward
    made = MadeLoader(random_images(12, SIDE), 12, image_label=torch.tensor([0] * 10 + [1] * 2))
    method.loss(next(iter(made)))
    ((image, num_references),) = seen
    assert num_references == 5
    is_same = (image == made.image).flatten(1).all(1)
    assert is_same.tolist() == [True] * 5 + [False] * 5 + [True] * 2


def test_an_image_like_its_references_has_the_bias_of_the_composite_head() -> None:
    net = small_net()
    features = net.features(random_images(1, SIDE))
    for parameter in (net.residual[0].bias, net.residual[1].bias):
        nn.init.zeros_(parameter)  # type: ignore[arg-type]
    scores, _ = net.compare(features, [feature_map[0] for feature_map in features])
    torch.testing.assert_close(scores.composite, abs(net.composite.convolution.bias))  # type: ignore[arg-type]


def test_kept_references_score_as_those_of_the_batch_in_any_order() -> None:
    net, image, reference = small_net(), random_images(7, SIDE), random_images(5, SIDE, seed=1)
    with torch.no_grad():
        expected, _ = net(torch.cat([reference, image]), num_references=5)
        for order in ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1]):
            net.set_references(reference[order])
            for one, other in zip(net(image)[0], expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        singles = torch.cat([net(image[i : i + 1])[0].image_score() for i in range(7)])
        torch.testing.assert_close(singles, net(image)[0].image_score(), rtol=1e-5, atol=1e-5)


def test_training_keeps_the_references_as_the_trained_trunk_sees_them(tmp_path: Path) -> None:
    method = build(tmp_path, "_steps_per_epoch=1", "num_epochs=1", "train_batch_size=12")
    label = (torch.arange(16) >= 12).long()
    made = MadeLoader(random_images(16, SIDE), 12, label, reference_image=random_images(5, SIDE, seed=1))
    train(method, made, TASK)
    method.net.eval()
    with torch.no_grad():
        features = method.net.features(made.reference_image)
    for kept, feature_map in zip(method.net.references, features, strict=True):
        torch.testing.assert_close(kept, feature_map.mean(0))
    restored = build(tmp_path)
    restored.load_state_dict(method.state_dict())
    assert all(
        torch.equal(*pair) for pair in zip(restored.net.references, method.net.references, strict=True)
    )


def test_the_map_is_the_sum_of_the_heads_that_look_at_patches(tmp_path: Path) -> None:
    method = build(tmp_path, "_map=heads", "_n_scales=1")
    method.net.eval()
    with torch.no_grad():
        method.net.set_references(random_images(3, SIDE, seed=1))
        found = method.predict_batch(scoring(method, random_images(2, SIDE), torch.arange(2)))
        (feature_map,) = method.net.features(random_images(2, SIDE))
        heads = [method.net.seen(feature_map), method.net.pseudo(feature_map)]
        heads.append(method.net.composite(method.net.residual(method.net.references[0] - feature_map)))
    total = torch.stack(heads).abs().sum(0)
    enlarged = nn.functional.interpolate(total[:, None], size=SIDE, mode="bilinear")[:, 0]
    torch.testing.assert_close(found.anomaly_map, enlarged)


def test_seen_squares_and_pasted_patches_are_found_in_60_steps(tmp_path: Path) -> None:
    keys = [
        "_steps_per_epoch=20",
        "num_epochs=3",
        "train_batch_size=14",
        "ref_num=2",
        "_rotation=0.0",
        "_base_lr=0.001",
    ]
    method = build(tmp_path, *keys)
    image = ramps(24, seed=0)
    image[16:, :, 20:36, 20:36] = 1
    made = MadeLoader(image, 14, (torch.arange(24) >= 16).long(), reference_image=image[:2])
    train(method, made, TASK)
    torch.manual_seed(1)
    pasted, white = paste_patches(ramps(8, seed=1)), ramps(8, seed=2)
    white[:, :, 30:46, 8:24] = 1
    scores = [
        torch.from_numpy(method.prediction([scoring(method, part, torch.arange(len(part)))]).image_score)
        for part in (ramps(8, seed=3), white, pasted)
    ]
    for anomalous in scores[1:]:
        auroc = roc_auc_score([0] * 8 + [1] * 8, torch.cat([scores[0], anomalous]))
        assert auroc > 0.98, "one pair of images may be the wrong way round"


def test_defects_of_the_generated_product_are_found(run_program: RunProgram) -> None:
    small = [f"data_size={SIDE}", f"data_crop_size={SIDE}", "train_batch_size=19", "_steps_per_epoch=10"]
    keys = [
        *small,
        "_base_lr=0.001",
        "_rotation=0.0",
        "_n_scales=1",
        "_layer=layer2",
        "ref_num=3",
        "_map=heads",
    ]
    words = [word for key in keys for word in ("--set", key)]
    model = ["-m", "dra", "-n", "net_dra", "-bb", "net_tiny"]
    (row,) = run_program("-s", "-san", "10", *model, "-d", "_example", "-ne", "4", *words)
    assert float(row["image_auroc"]) > 0.85
    assert float(row["pixel_auroc"]) > 0.9
