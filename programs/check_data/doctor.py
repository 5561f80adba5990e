"""The doctor: look through a data set before hours are spent on it."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from configuration.errors import UserError
from data_io.masks import mask_threshold
from data_io.records import Sample
from dataset.base import DatasetBase
from dataset.mvtec_layout import Counts, Expected, MVTecLayout
from programs.check_data.image_checks import (
    Look,
    Problem,
    look_at,
    look_problems,
    mask_problems,
    twin_problems,
)
from tools.progress import progress

SHOWN = 10  # problems of one kind in one category; --json has all


@dataclass(frozen=True)
class Category:
    """One class as it lies on disk, and what it should be.

    Args:
        threshold: smallest grey value of a mask that counts as marked.
    """

    task_id: int
    name: str
    train: Sequence[Sample]
    test: Sequence[Sample]
    expected: Expected
    threshold: float

    @property
    def counts(self) -> Counts:
        """The number of images."""
        num_anomalous = sum(sample.image_label for sample in self.test)
        return Counts(len(self.train), len(self.test) - num_anomalous, num_anomalous)

    @property
    def kinds(self) -> dict[str, int]:
        """Kind of defect -> number of test images."""
        return dict(sorted(Counter(sample.kind for sample in self.test if sample.image_label).items()))

    @property
    def num_masks(self) -> int:
        """The number of mask files."""
        return sum(len(sample.mask_paths) for sample in self.test)


@dataclass(frozen=True)
class Finding:
    """A problem and the class that has it."""

    level: str
    category: str
    kind: str
    text: str


def examine(dataset: DatasetBase, threshold: float | None = None) -> tuple[list[Category], list[Finding]]:
    """Check a whole data set.

    Args:
        dataset: the data set.
        threshold: as the key `mask_threshold`.

    Raises:
        UserError: nothing of it is there.
    """
    categories: list[Category] = []
    findings: list[Finding] = []
    with ThreadPoolExecutor() as pool:
        for task_id, name in enumerate(dataset.classes):
            category, problems = find_category(dataset, task_id, threshold)
            if category is not None:
                categories.append(category)
                problems += check_category(category, pool)
            findings += [Finding(level, name, kind, text) for level, kind, text in problems]
    if not categories:
        raise UserError(findings[0].text)
    return categories, findings


def find_category(
    dataset: DatasetBase, task_id: int, threshold: float | None
) -> tuple[Category | None, list[Problem]]:
    """List one class; None where it is not on disk, which is a warning, while half a class is a fault."""
    samples: dict[str, list[Sample]] = {"train": [], "test": []}
    errors: list[str] = []
    for split in samples:
        try:
            samples[split] = dataset.samples(task_id, split)
        except UserError as error:
            errors.append(str(error))
    if not any(samples.values()):
        return None, [Problem("warning", "missing", errors[0])]
    expected = Expected(mask_values=None)
    if isinstance(dataset, MVTecLayout):
        try:
            expected = dataset.expected(task_id)
        except UserError as error:
            errors.append(str(error))
    name = dataset.classes[task_id]
    if threshold is not None:
        expected = replace(expected, mask_values=None)
    marks_from = mask_threshold(threshold, dataset)
    category = Category(task_id, name, samples["train"], samples["test"], expected, marks_from)
    problems = [Problem("fault", "incomplete", error) for error in errors]
    if not errors:
        problems += [
            Problem("warning", "left out", f"{left.path}: {left.reason}")
            for left in dataset.left_out(task_id)
        ]
    return category, problems


def check_category(category: Category, pool: Executor) -> Iterator[Problem]:
    """Yield what differs from the published counts, what is broken, and what is trained on and tested."""
    published = category.expected.counts
    if published not in (None, category.counts):
        found, wanted = (" / ".join(map(str, counts)) for counts in (category.counts, published or ()))
        text = f"{found} images (train / test good / test anomalous); published are {wanted}"
        yield Problem("warning", "counts", text)
    samples = [*category.train, *category.test]
    checks = pool.map(lambda sample: check_sample(sample, category), samples)
    checked = list(progress(checks, category.name, len(samples)))
    for _, problems in checked:
        yield from problems
    looks = [look for look, _ in checked]
    train, test = looks[: len(category.train)], looks[len(category.train) :]
    yield from twin_problems(*([look for look in part if look is not None] for part in (train, test)))


def check_sample(sample: Sample, category: Category) -> tuple[Look | None, list[Problem]]:
    """Open one image and its masks; no look where the image is broken."""
    look = look_at(sample.path)
    if isinstance(look, Problem):
        return None, [look]
    problems = list(look_problems(look))
    if sample.image_label and not sample.mask_paths:
        level = "warning" if category.expected.masks_optional else "fault"
        problems.append(Problem(level, "no mask", f"{sample.path}: has no mask"))
    for path in sample.mask_paths:
        problems += mask_problems(path, look.size, category.threshold, category.expected.mask_values)
    return look, problems


def as_table(categories: Sequence[Category]) -> list[str]:
    """Return one line per class."""
    width = max(8, *(len(category.name) for category in categories))
    lines = [
        f"{'id':>3}  {'category':<{width}}  {'train':>6} {'good':>6} {'bad':>6} {'masks':>6}  kinds of defect"
    ]
    for category in categories:
        numbers = " ".join(f"{number:>6}" for number in (*category.counts, category.num_masks))
        kinds = ", ".join(f"{kind} {number}" for kind, number in category.kinds.items())
        lines.append(f"{category.task_id:>3}  {category.name:<{width}}  {numbers}  {kinds}")
    return lines


def as_lines(findings: Sequence[Finding]) -> list[str]:
    """Return the findings, faults first, and of each kind in a class the first few."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for finding in sorted(findings, key=lambda finding: finding.level):
        groups.setdefault((finding.level, finding.category, finding.kind), []).append(finding.text)
    lines = []
    for key, texts in groups.items():
        rest = [f"{len(texts) - SHOWN} more; --json has all"] if len(texts) > SHOWN else []
        lines += [": ".join((*key, text)) for text in (*texts[:SHOWN], *rest)]
    return lines


def as_json(
    root: Path, notes: Sequence[str], categories: Sequence[Category], findings: Sequence[Finding]
) -> str:
    """Return everything for machines."""
    rows = []
    for category in categories:
        published = category.expected.counts
        rows.append(
            {
                "task_id": category.task_id,
                "category": category.name,
                **category.counts._asdict(),
                "kinds": category.kinds,
                "masks": category.num_masks,
                "published": None if published is None else published._asdict(),
            }
        )
    report = {
        "root": str(root),
        "notes": notes,
        "categories": rows,
        "findings": [asdict(f) for f in findings],
    }
    return json.dumps(report, indent=1)
