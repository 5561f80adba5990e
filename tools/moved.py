"""What the old name of a program says; it goes with the next version."""

import sys
from typing import NoReturn


def say_moved(name: str) -> NoReturn:
    """Say in one line where the program is, and exit with 2."""
    sys.stderr.write(f"python3 -m tools.{name}: the program has moved; type python3 -m programs.{name}\n")
    sys.exit(2)
