"""The one exception for what a user can mend: main prints it as one line and exits with 2."""


class UserError(Exception):
    """Wrong use, configuration, data or weights; each line says what, where and how to mend it.

    Args:
        lines: one for each problem; what would break or colour a line is escaped.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(map(shown, lines)))


def shown(text: str) -> str:
    """Return a text in which control characters, line breaks and what is no letter of UTF-8 are escaped."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )
