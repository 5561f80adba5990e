import subprocess
import sys

import pytest

from configuration.registration import ROOT


@pytest.mark.parametrize("name", ["check_data", "show_augmentation", "train_net_tiny"])
def test_the_old_name_of_a_program_says_the_new_one(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"tools.{name}", "-d", "mtd"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"python3 -m tools.{name}: the program has moved; type python3 -m programs.{name}"
    ]
    assert (ROOT / "programs" / name).is_dir() or (ROOT / "programs" / f"{name}.py").is_file()
