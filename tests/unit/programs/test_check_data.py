import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from configuration.registration import DATASETS, load
from programs.check_data.__main__ import main
from tests.trees import CATEGORIES, TWO_LAYOUTS, save, write_tree

REAL = Path(__file__).resolve().parents[3] / "../shared/data/mtd"
HARMLESS = {("warning", "counts"), ("warning", "missing")}  # a miniature has few images and few classes
LAYOUTS = [(name, False) for name in CATEGORIES] + [(name, True) for name in TWO_LAYOUTS]

Report = tuple[int, set[tuple[str, str]], list[dict[str, str]]]


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Callable[[str, Path], Report]:
    """Return a run of the doctor: exit code, (level, kind) of all but harmless findings, all findings."""

    def run(name: str, root: Path) -> Report:
        code = main(["-d", name, "-dp", str(root), "--json"])
        findings = json.loads(capsys.readouterr().out)["findings"]
        return code, {(f["level"], f["kind"]) for f in findings} - HARMLESS, findings

    return run


@pytest.mark.parametrize(("name", "rearranged"), LAYOUTS)
def test_no_alarm_on_sound_data(
    name: str, rearranged: bool, tmp_path: Path, check: Callable[[str, Path], Report]
) -> None:
    code, found, _ = check(name, write_tree(name, tmp_path / name, rearranged=rearranged))
    assert (code, found) == (0, set())


class Victim(NamedTuple):
    image: Path  # anomalous
    mask: Path
    trained: Path  # an image of the training set


def _truncate_image(victim: Victim) -> None:
    victim.image.write_bytes(victim.image.read_bytes()[:-200])


def _truncate_mask(victim: Victim) -> None:
    victim.mask.write_bytes(victim.mask.read_bytes()[: victim.mask.stat().st_size // 2])


def _lose_mask(victim: Victim) -> None:
    is_one_of_several = victim.mask.parent.name == victim.image.stem
    shutil.rmtree(victim.mask.parent) if is_one_of_several else victim.mask.unlink()


def _empty_mask(victim: Victim) -> None:
    save(victim.mask, np.zeros_like(np.asarray(Image.open(victim.mask))))


def _crop_mask(victim: Victim) -> None:
    save(victim.mask, np.asarray(Image.open(victim.mask))[:, 1:])


def _soften_mask(victim: Victim) -> None:
    save(victim.mask, np.asarray(Image.open(victim.mask)) // 2 + 70)


def _test_a_training_image(victim: Victim) -> None:
    shutil.copy(victim.trained, victim.image)


def _test_a_copy_of_a_training_image(victim: Victim) -> None:
    Image.open(victim.trained).point(lambda value: value * 0.95).save(victim.image)


FAULTS = [
    (_truncate_image, ("fault", "unreadable")),
    (_truncate_mask, ("fault", "unreadable")),
    (_lose_mask, ("fault", "no mask")),
    (_empty_mask, ("warning", "empty mask")),
    (_crop_mask, ("fault", "mask size")),
    (_soften_mask, ("fault", "mask values")),
    (_test_a_training_image, ("fault", "identical")),
    (_test_a_copy_of_a_training_image, ("warning", "similar")),
]


@pytest.mark.parametrize("name", ["mvtec2d", "mvtecloco", "mvtec3d", "visa", "dagm"])
@pytest.mark.parametrize(("injure", "expected"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_each_injected_fault_is_found_and_nothing_else(
    name: str,
    injure: Callable[[Victim], None],
    expected: tuple[str, str],
    tmp_path: Path,
    check: Callable[[str, Path], Report],
) -> None:
    root = write_tree(name, tmp_path / name)
    dataset = load(DATASETS[name])(root)
    anomalous = next(sample for sample in dataset.samples(0, "test") if sample.image_label)
    victim = Victim(anomalous.path, anomalous.mask_paths[0], dataset.samples(0, "train")[0].path)
    injure(victim)
    code, found, findings = check(name, root)
    assert found == {expected}
    assert code == (2 if expected[0] == "fault" else 0)
    [culprit] = [finding for finding in findings if (finding["level"], finding["kind"]) == expected]
    assert str(victim.image) in culprit["text"] or str(victim.mask) in culprit["text"]


def test_masks_of_a_folder_are_optional(tmp_path: Path, check: Callable[[str, Path], Report]) -> None:
    root = write_tree("folder", tmp_path)
    shutil.rmtree(root / "ground_truth" / "hole")
    assert check("folder", root)[:2] == (0, {("warning", "no mask")})


def test_half_a_class_is_a_fault(tmp_path: Path, check: Callable[[str, Path], Report]) -> None:
    root = write_tree("mpdd", tmp_path)
    shutil.rmtree(root / "bracket_black" / "train")
    assert check("mpdd", root)[:2] == (2, {("fault", "incomplete")})


def test_lost_saturation_thresholds_are_a_fault(tmp_path: Path, check: Callable[[str, Path], Report]) -> None:
    root = write_tree("mvtecloco", tmp_path)
    (root / "screw_bag" / "defects_config.json").unlink()
    assert check("mvtecloco", root)[:2] == (2, {("fault", "incomplete")})


def test_other_counts_and_absent_classes_are_warnings(
    tmp_path: Path, check: Callable[[str, Path], Report]
) -> None:
    code, _, findings = check("mpdd", write_tree("mpdd", tmp_path, categories=["tubes"]))
    assert code == 0
    assert [finding["kind"] for finding in findings] == ["missing"] * 5 + ["counts"]
    assert "published are 122 / 32 / 69" in findings[-1]["text"]


def test_no_data_at_all_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-d", "btad", "-dp", str(tmp_path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert str(tmp_path) in output.err


def test_the_table_has_a_line_per_class_and_long_lists_are_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_tree("btad", tmp_path)
    for path in (root / "01").rglob("*.bmp"):
        path.write_bytes(b"")
    assert main(["-d", "btad", "-dp", str(root)]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert "btad: found in the layout train/ok, test/ok, test/ko" in lines
    assert any(line.split() == ["1", "02", "5", "3", "4", "4", "ko", "4"] for line in lines)
    assert sum(line.startswith("fault: 01: unreadable: ") for line in lines) == 11
    assert "fault: 01: unreadable: 2 more; --json has all" in lines
    assert lines[-1].startswith("btad: 12 faults, ")


@pytest.mark.data
def test_the_four_empty_masks_of_mtd_are_reported_without_a_fault(
    check: Callable[[str, Path], Report],
) -> None:
    if not REAL.is_dir():
        pytest.skip("the real MTD images are not beside the checkout")
    code, found, findings = check("mtd", REAL)
    assert (code, found) == (0, {("warning", "empty mask"), ("warning", "similar")})
    empty = {
        finding["text"].split(":")[0].split("/")[-1]
        for finding in findings
        if finding["kind"] == "empty mask"
    }
    assert empty == {
        f"{stem}.png" for stem in ("exp3_num_45042", "exp4_num_124690", "exp4_num_352527", "exp4_num_45057")
    }
