"""``python -m benchmarks``: chooses what is measured, shows it, and writes it down if asked to."""

import argparse
import time
from collections.abc import Callable
from typing import Final

from benchmarks import chart, closed, console, lists, memory, purge, rates, scaling, submissions
from benchmarks.repetitions import CONNECTIONS, Plan
from benchmarks.report import FOLDER, ORDER, Section, machine, say, write
from benchmarks.subjects import Lab

MEASURES: Final[dict[str, Callable[[Lab, Plan], Section]]] = {
    "callbacks": closed.measure,
    "steady": rates.steady,
    "overload": rates.overload,
    "curve": rates.curve,
    "sizes": scaling.measure,
    "memory": memory.measure,
    "purge": purge.measure,
    "submissions": submissions.measure,
    "console": console.measure,
    "lists": lists.measure,
}


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the gateway.")
    parser.add_argument("what", nargs="*", default=["callbacks"], choices=[*ORDER, "all"], help="default: callbacks")
    parser.add_argument("--quick", action="store_true", help="short runs and small tables; rough numbers")
    parser.add_argument("--rounds", type=int, help="rounds of each measurement (5; quick: 1)")
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS, help="of the closed loops")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md, and the chart if there is one")
    given = parser.parse_args()
    names = [name for name in ORDER if name in given.what or "all" in given.what]
    plan = Plan(given.quick, given.rounds or (1 if given.quick else 5), tuple(given.connections))
    sections = []
    with Lab() as lab:
        version = lab.postgres.execute("SHOW server_version")
        say(machine(version))
        for name in names:
            started = time.monotonic()
            say(f"{name} …")
            section = MEASURES[name](lab, plan)
            sections.append(section)
            say(f"\n{section.markdown()}({time.monotonic() - started:.0f} s)\n")
    if given.write:
        for name, text in chart.DRAWN.items():
            (FOLDER / name).write_text(text)
        write(sections, version)


if __name__ == "__main__":
    main()
