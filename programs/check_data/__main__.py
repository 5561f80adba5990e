"""Look through a data set before hours are spent on it.

`python3 -m programs.check_data -d NAME [-dp PATH] [--mask-threshold N] [--json]` counts what is there, opens
every image and mask and looks for pictures that are in training and test at once. Exit code 2 where something
must be mended, else 0.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configuration import registration
from configuration.errors import shown
from configuration.paths import data_root
from configuration.program import run_program
from dataset.base import DatasetBase
from programs.check_data.doctor import as_json, as_lines, as_table, examine


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return run_program(lambda: answer(argv))


def answer(argv: Sequence[str] | None) -> int:
    """Do what the words ask for; return 2 for faults, else 0.

    Raises:
        UserError: the data set cannot be looked through, or a row of the tables points nowhere.
    """
    registration.check_tables()
    parser = argparse.ArgumentParser(
        "programs.check_data", description="Check the images and masks of a data set."
    )
    parser.add_argument("-d", "--dataset", required=True, choices=registration.DATASETS)
    parser.add_argument("-dp", "--data-path", type=Path, help="the data set's own folder")
    parser.add_argument(
        "--mask-threshold", type=float, help="grey value, or share of 255, from which a mask marks"
    )
    parser.add_argument("--json", action="store_true", help="print everything, for machines")
    options = parser.parse_args(argv)
    return check(options.dataset, options.data_path, options.json, options.mask_threshold)


def check(name: str, own: Path | None, wants_json: bool, threshold: float | None) -> int:
    """Print what is found in a data set, in its own folder if one is given; return 2 for faults, else 0.

    Raises:
        UserError: the data set cannot be looked through.
    """
    dataset: DatasetBase = registration.load(registration.DATASETS[name])(data_root(name, own))
    notes = dataset.prepare()
    categories, findings = examine(dataset, threshold)
    notes += dict.fromkeys(line for category in categories for line in dataset.notes(category.task_id))
    num_faults = sum(finding.level == "fault" for finding in findings)
    if wants_json:
        sys.stdout.write(as_json(dataset.root, notes, categories, findings) + "\n")
    else:
        verdict = f"{name}: {num_faults} faults, {len(findings) - num_faults} warnings in {dataset.root}"
        lines = (*notes, *as_table(categories), *as_lines(findings), verdict)
        sys.stdout.writelines(f"{shown(line)}\n" for line in lines)
    return 2 if num_faults else 0


if __name__ == "__main__":
    sys.exit(main())
