"""The one exception for what a user can mend: main prints it as one line and exits with 2."""


class UserError(Exception):
    """Wrong use, configuration, data or weights; the message says what, where and how to mend it."""
