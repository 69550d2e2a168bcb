"""What holds for every value, whether it comes from the environment or from a .env file.

White space around it is trimmed: a secret that was made with ``echo`` ends in a newline, and one that was pasted has
blanks. What remains is used as it stands, so what would only be carried along unseen is refused.
"""

import re
from typing import Final

_AROUND: Final = re.compile(r"^[\s\ufeff]+|[\s\ufeff]+$")
"""Unicode's white space, and the byte order mark that editors and shells put before a text."""
_QUOTES: Final = frozenset({'""', "''", "``", "“”", "„“", "‘’", "«»"})


def trimmed(value: str) -> str:
    """The value without what stands around it unseen."""
    return _AROUND.sub("", value)


def plain(value: str) -> str:
    """A trimmed value that can be used as it stands. Raises ``ValueError``."""
    if not value.isprintable():
        raise ValueError("it has a control character, or another that is not printable, inside")
    _refuse_quotes(value)
    return value


def members(value: str) -> list[str]:
    """The values of a comma-separated list, each trimmed and plain. Raises ``ValueError``."""
    _refuse_quotes(value)
    if value.startswith("[") and value.endswith("]"):
        raise ValueError("it is in brackets: separate the values by commas, and write no brackets and no quotes")
    return [plain(one) for one in map(trimmed, value.split(",")) if one]


def _refuse_quotes(value: str) -> None:
    # A shell takes them away; Docker's --env-file and the environment of a Kubernetes manifest keep them.
    if len(value) > 1 and value[0] + value[-1] in _QUOTES:
        raise ValueError("it is in quotes: write the value without them")
