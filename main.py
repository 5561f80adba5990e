"""IM-IAD: train and test an anomaly detection method; `main.py --help` says how."""

import logging
import sys
from collections.abc import Sequence

from configuration import command_line, listing, registration
from configuration.config import config_values, configured
from configuration.config_text import config_text
from configuration.errors import shown
from configuration.merge import raise_all
from configuration.program import run_program
from configuration.text import OneLine


def main(argv: Sequence[str]) -> int:
    """Do what the command line asks for; return 0 if done, 2 for what a user can mend, 130 if interrupted."""
    return run_program(lambda: _answer(argv), shows_traceback="--debug" in argv)  # also before it is parsed


def _answer(argv: Sequence[str]) -> int:
    request = command_line.parse(argv)
    if request.wants_list:
        raise_all(request.problems)
        sys.stdout.write(listing.tables() + "\n")
        return 0
    config = configured(request)
    sys.stderr.writelines(f"{shown(note)}\n" for note in config.notes)
    output = logging.StreamHandler(sys.stdout)
    output.setFormatter(OneLine("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[output])
    logging.raiseExceptions = False  # a run whose output nobody reads any more goes on
    if request.wants_dry_run:
        sys.stdout.write(config_text(config_values(config), config.origin))
    else:
        registration.load(registration.PARADIGMS[config.run.paradigm].run)(config)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
