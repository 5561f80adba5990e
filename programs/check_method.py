"""Try one method with the tests that all methods pass.

`python3 -m programs.check_method NAME` trains and scores it in every setting that it declares, on the
generated data set; a method of one's own, in the folder that IMIAD_EXTRA names, as well. Exit code 1 where a
test fails.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from configuration import registration
from configuration.checks import check_declared
from configuration.errors import UserError
from configuration.merge import nearest, raise_all
from configuration.program import run_program

TESTS = registration.ROOT / "tests" / "contract" / "test_every_method.py"


def check(name: str) -> int:
    """Run the tests on one method; return 0 if all pass.

    Raises:
        UserError: there is no such method, or no pytest to run them.
    """
    registration.check_tables()
    if name not in registration.MODELS:
        raise UserError(
            f"{name}: no such method{nearest(name, registration.MODELS) or '; see main.py --list'}"
        )
    raise_all(check_declared(registration.load(registration.MODELS[name])))
    if find_spec("pytest") is None:
        raise UserError("pytest is missing; install requirements-dev.txt")
    return subprocess.run([sys.executable, "-m", "pytest", TESTS, "--method", name], check=False).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    parser = argparse.ArgumentParser(
        "programs.check_method", description="Try a method with the tests that all methods pass."
    )
    parser.add_argument("name", metavar="NAME", help="as -m of main.py")
    options = parser.parse_args(argv)
    return run_program(lambda: check(options.name))


if __name__ == "__main__":
    sys.exit(main())
