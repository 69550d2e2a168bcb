"""A mutation: one fault that somebody could make in the product, and where a test should notice it."""

from dataclasses import dataclass
from pathlib import Path


class Misplaced(Exception):
    """A mutation whose text is not in its file exactly once: the code has changed under it."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """``old`` stands exactly once in ``file`` and becomes ``new``. ``breaks``: the promise that is broken then.
    ``tried``: the files and folders of tests that are run first."""

    id: str
    subject: str
    file: str
    old: str
    new: str
    breaks: str
    tried: tuple[str, ...]

    def mutated(self, root: Path) -> str:
        """The text of its file with the fault. Raises ``Misplaced``."""
        path = root / self.file
        text = path.read_text() if path.is_file() else ""
        if (count := text.count(self.old)) != 1:
            raise Misplaced(f"{self.id}: its text stands {count} times in {self.file}, not once")
        return text.replace(self.old, self.new)

    def check(self, root: Path) -> None:
        """Raises ``Misplaced`` where it cannot be made, or where it names tests that are not there."""
        compile(self.mutated(root), self.file, "exec")
        for path in self.tried:
            if not (root / path).exists():
                raise Misplaced(f"{self.id}: there is no {path}")
