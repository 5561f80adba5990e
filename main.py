"""IM-IAD: train and test an anomaly detection method; `main.py --help` says how."""

import sys
from collections.abc import Sequence

from configuration.program import interrupts_wait, run_program


def main(argv: Sequence[str]) -> int:
    """Do what the command line asks for; return 0 if done, 2 for what a user can mend, 130 if interrupted."""
    return run_program(lambda: _answer(argv), shows_traceback="--debug" in argv)  # also before it is parsed


def _answer(argv: Sequence[str]) -> int:
    from configuration import command_line, listing, registration
    from configuration.config import config_values, configured
    from configuration.config_text import config_text
    from configuration.errors import shown
    from configuration.merge import raise_all
    from configuration.text import log_to

    request = command_line.parse(argv)
    if request.wants_list:
        raise_all(request.problems)
        sys.stdout.write(listing.tables() + "\n")
        return 0
    with interrupts_wait():
        config = configured(request)
        row = registration.PARADIGMS[config.run.paradigm]
        run = None if request.wants_dry_run else registration.load(row.run)
    sys.stderr.writelines(f"{shown(note)}\n" for note in config.notes)
    if run is None:
        sys.stdout.write(config_text(config_values(config), config.origin))
        return 0
    log_to(sys.stdout)
    run(config)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
