"""The pictures of one tested task: images with their maps, scores, embedding, augmented shots."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from arch.base import ModelBase
from configuration.config import RunConfig
from data_io.data_holder import Step, TestData
from data_io.loaders import ScoringLoader
from data_io.records import derive_seed
from paradigms.evaluation import Evaluation
from tools import pictures

NUM_SHOWN_SHOTS = 24  # augmented images on the contact sheet, at the most


def draw_task(folder: Path, evaluation: Evaluation, method: ModelBase, config: RunConfig) -> None:
    """Write the pictures of one tested task into a folder: `<kind>_<stem>.png`, scores.png, embedding.png."""
    plan = evaluation.test.plan
    maps = evaluation.anomaly_map
    limits = (0.0, 1.0)
    if maps is not None:
        limits = pictures.color_limits(maps if isinstance(maps, np.ndarray) else _flat(maps))
    pictures.save_pictures(folder, _pictures(evaluation, config), limits)
    place = dict.fromkeys((config.run.dataset, plan.category))  # once, where both are called alike
    title = f"{config.run.model} on {'/'.join(place)}"
    if evaluation.metrics["image_auroc"] is not None:
        title += f"   image AUROC {evaluation.metrics['image_auroc']:.3f}"
    pictures.save_scores(folder / "scores.png", evaluation.image_score, evaluation.image_label, title)
    if config.output.vis_em and method.backbone is not None:
        labels = evaluation.image_label
        vectors = _embeddings(evaluation.test.loader, method)
        shown = {"normal": vectors[labels == 0], "anomalous": vectors[labels == 1]}
        pictures.save_embedding(
            folder / "embedding.png", {name: v for name, v in shown.items() if len(v)}, title
        )


def draw_shots(folder: Path, step: Step, num_generated: int) -> None:
    """Write a contact sheet of the first augmented shots."""
    count = min(step.train_loader.num_images, NUM_SHOWN_SHOTS)
    image = next(iter(step.train_loader.in_order(torch.arange(count)))).image
    pixels = (image.permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy()
    copies = num_generated + 1
    titles = [
        f"shot {index // copies + 1}" + (f", copy {index % copies}" if index % copies else "")
        for index in range(count)
    ]
    pictures.save_contact_sheet(folder / "shots.png", pixels, titles, columns=copies)


def _pictures(evaluation: Evaluation, config: RunConfig) -> Iterator[pictures.Picture]:
    test, maps = evaluation.test, evaluation.anomaly_map
    for row, remark in _chosen(evaluation, config).items():
        sample = test.plan.samples[row]
        yield pictures.Picture(
            name=f"{sample.kind}_{sample.path.stem}",
            image=_pixels(test, row),
            ground_truth_mask=test.ground_truth_mask[row],
            anomaly_map=None if maps is None else maps[row],
            image_score=float(evaluation.image_score[row]),
            remark=remark,
        )


def _chosen(evaluation: Evaluation, config: RunConfig) -> dict[int, str]:
    """Return `vis_num` rows, each with a remark: the worst errors of both kinds, then others at random."""
    order = np.argsort(evaluation.image_score, kind="stable")
    labels = evaluation.image_label[order]
    highest_normal, lowest_anomalous = order[labels == 0][::-1].tolist(), order[labels == 1].tolist()
    remarks: dict[int, str] = {}
    for rank in range(-(-config.output.vis_num // 4)):
        for rows, what in (
            (highest_normal, "highest scores of normal"),
            (lowest_anomalous, "lowest of anomalous"),
        ):
            remark = f"number {rank + 1} of the {what} images"
            remarks |= dict.fromkeys(rows[rank : rank + 1], remark)
    others = [row for row in range(len(order)) if row not in remarks]
    seed = derive_seed(config.run.seed, "pictures", evaluation.test.plan.task_id)
    random.Random(seed).shuffle(others)
    chosen = {**remarks, **dict.fromkeys(others, "")}
    return dict(list(chosen.items())[: config.output.vis_num])


def _flat(maps: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([found.reshape(-1) for found in maps])


def _pixels(test: TestData, row: int) -> pictures.Array:
    return np.asarray(test.loader.pixels(row).permute(1, 2, 0).cpu())


@torch.no_grad()
def _embeddings(loader: ScoringLoader, method: ModelBase) -> pictures.Array:
    """Return the (N, C) means of the deepest feature maps."""
    assert method.backbone is not None
    deepest = method.backbone.layers[-1]
    maps = ((batch.features or method.backbone(batch.image))[deepest] for batch in loader)
    return np.concatenate([found.flatten(2).mean(dim=2).cpu().numpy() for found in maps])
