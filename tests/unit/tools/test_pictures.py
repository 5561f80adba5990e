import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from tools.pictures import (
    Picture,
    _Sheet,
    color_limits,
    save_contact_sheet,
    save_embedding,
    save_pictures,
    save_scores,
)

ROOT = Path(__file__).resolve().parents[3]
GREEN = np.array([0, 230, 118])


def picture(name: str, is_anomalous: bool = True, level: float = 1.0) -> Picture:
    image = np.full((64, 96, 3), 128, np.uint8)
    mask = np.zeros((32, 48), np.uint8)
    mask[10:20, 10:30] = is_anomalous
    anomaly_map = np.full((64, 96), level, np.float32)
    return Picture(name, image, mask if is_anomalous else None, anomaly_map, image_score=level)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def num_green(path: Path) -> int:
    return int((np.abs(pixels(path) - GREEN).max(axis=2) < 30).sum())


def test_each_image_has_its_own_ground_truth_on_a_sheet_that_is_used_again(tmp_path: Path) -> None:
    save_pictures(tmp_path, [picture("hole_1"), picture("good_1", False), picture("hole_2")], (0.0, 2.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good_1.png", "hole_1.png", "hole_2.png"]
    assert num_green(tmp_path / "hole_1.png") > 100
    assert num_green(tmp_path / "good_1.png") == 0
    assert num_green(tmp_path / "hole_2.png") == num_green(tmp_path / "hole_1.png")


def test_one_colour_scale_serves_the_whole_task(tmp_path: Path) -> None:
    levels = {"low": 0.0, "middle": 0.5, "high": 1.0}
    save_pictures(tmp_path, [picture(name, False, level) for name, level in levels.items()], (0.0, 1.0))
    shown = []
    for name in levels:
        found = pixels(tmp_path / f"{name}.png")
        height, width = found.shape[:2]
        shown.append(found[height // 2 + 10, int(0.6 * width)].sum())  # inside the third of four panels
    assert shown[0] < shown[1] < shown[2]
    assert shown[0] < 50


def test_without_maps_there_are_two_panels(tmp_path: Path) -> None:
    with_map, plain = picture("a"), picture("b")
    plain = Picture(plain.name, plain.image, plain.ground_truth_mask, None, 0.5)
    save_pictures(tmp_path, [with_map], (0.0, 1.0))
    save_pictures(tmp_path, [plain], (0.0, 1.0))
    assert pixels(tmp_path / "b.png").shape[1] < 0.6 * pixels(tmp_path / "a.png").shape[1]


def test_the_colour_scale_reaches_the_highest_value_of_the_task() -> None:
    anomaly_map = np.random.default_rng(0).random((4, 64, 64)).astype(np.float32)
    anomaly_map[0, 0, 0] = 3.5
    low, high = color_limits(anomaly_map)
    assert 0 < low < 0.05
    assert high == 3.5
    assert color_limits(np.full((2, 4, 4), 3.0)) == (3.0, 3.0)


@pytest.mark.parametrize("label", [[0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
def test_scores_are_drawn_for_any_mix_of_labels(tmp_path: Path, label: list[int]) -> None:
    save_scores(tmp_path / "scores.png", np.array([0.1, 0.9, 0.9, 0.9]), np.array(label), "title")
    assert pixels(tmp_path / "scores.png").std() > 0


def test_the_embedding_keeps_groups_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    groups = {"normal": rng.standard_normal((30, 20)), "anomalous": rng.standard_normal((30, 20)) + 9}
    save_embedding(tmp_path / "two.png", groups, "title")
    save_embedding(tmp_path / "one.png", {"normal": np.ones((1, 1))}, "a single number")
    found = pixels(tmp_path / "two.png")
    blue = np.nonzero((found[..., 2] - found[..., 0] > 60).sum(axis=0))[0]
    orange = np.nonzero((found[..., 0] - found[..., 2] > 60).sum(axis=0))[0]
    assert abs(np.median(blue) - np.median(orange)) > 200


def test_the_contact_sheet_shows_every_image(tmp_path: Path) -> None:
    image = np.zeros((5, 16, 16, 3), np.uint8)
    image[:, :, :, 0] = 255
    save_contact_sheet(tmp_path / "sheet.png", image, [f"image {number}" for number in range(5)], columns=3)
    found = pixels(tmp_path / "sheet.png")
    red = (found[..., 0] > 200) & (found[..., 1] < 50)
    assert red.mean() > 0.5
    assert red[: found.shape[0] // 2, -60:].mean() > 0.5
    assert not red[found.shape[0] // 2 + 20 :, -60:].any()


def test_importing_pictures_imports_no_library_that_is_slow_to_import() -> None:
    program = "import sys, tools.pictures; sys.exit(bool({'matplotlib', 'sklearn'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_titles_say_what_is_shown_whatever_a_name_holds() -> None:
    sheet = _Sheet(picture("a"), (0.0, 1.0))
    sheet.fill(
        replace(picture("cost_$5_and_$x_{\n"), remark="number 1 of the highest scores of normal images")
    )
    title = sheet.title.get_text()
    assert title.startswith(r"cost_\$5_and_\$x_{\n   image score 1   (number 1 of")
    assert sheet.panels[1].get_title() == "ground truth"
    sheet.figure.draw_without_rendering()
    sheet.fill(picture("b", is_anomalous=False))
    assert sheet.panels[1].get_title() == "no mask"


def test_the_legend_of_the_scores_covers_no_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr("tools.pictures._save", lambda figure, _path: figures.append(figure))
    scores = np.concatenate([np.zeros(40), np.ones(40)])
    save_scores(tmp_path / "scores.png", scores, (scores > 0).astype(int), "title")
    figures[0].draw_without_rendering()
    histogram = figures[0].axes[0]
    legend = histogram.get_legend()
    assert legend is not None
    bars = [bar for bar in histogram.patches if isinstance(bar, Rectangle) and bar.get_height()]
    boxes = [bar.get_window_extent() for bar in bars]
    assert boxes
    assert not any(legend.get_window_extent().overlaps(box) for box in boxes)
