"""What shows that somebody was woken by a change, and did not find it by the regular look at the tables."""

import pytest

LOOKS_S = 60.0
SOON_S = 10
"""Long enough for a machine that is busy with something else, and far from the next look."""

only_woken = pytest.mark.usefixtures("rare_looks")
"""The test's gateway looks at the tables but once per ``LOOKS_S``."""
