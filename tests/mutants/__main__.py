"""Make each fault of the table in a copy of the tree, and see whether a test notices it."""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

from tests.mutants.mutation import Misplaced, Mutation
from tests.mutants.pages import written
from tests.mutants.table import MUTATIONS
from tests.mutants.trial import Result, tried, unsound

ROOT: Final = Path(__file__).resolve().parents[2]


def main() -> int:
    """The exit code: 1 where a mutation was missed, 2 where one cannot be made."""
    given = _arguments()
    chosen = [one for one in MUTATIONS if _is_chosen(one, given.only)]
    faults = _faults(chosen)
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults or not chosen:
        print(f"{len(faults)} of {len(chosen)} mutations cannot be made", file=sys.stderr)
        return 2
    if given.list:
        for one in chosen:
            print(f"{one.id:32} {one.subject:14} {one.breaks}")
        return 0
    results: list[Result] = []
    with ThreadPoolExecutor(given.jobs) as pool:
        running = [pool.submit(tried, one, ROOT, given.limit) for one in chosen]
        try:
            for ended in as_completed(running):
                results.append(ended.result())
                _show(results[-1])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    wrong = unsound(results, ROOT, given.limit)
    for test in wrong:
        print(f"{test} fails on the tree as it is, and proves nothing", file=sys.stderr)
    missed = [one.mutation.id for one in results if one.caught_by is None or one.caught_by in wrong]
    print(
        f"{len(results) - len(missed)} of {len(results)} caught" + (f", missed: {' '.join(missed)}" if missed else "")
    )
    if given.write is not None:
        written(given.write, MUTATIONS, [one for one in results if one.caught_by not in wrong])
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("only", nargs="*", help="ids or subjects (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="mutations at a time (default: 1)")
    parser.add_argument("--limit", type=float, default=120, help="seconds after which a test hangs (default: 120)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="bring the table of this page up to date")
    parser.add_argument("--list", action="store_true", help="show what there is, and run nothing")
    return parser.parse_args()


def _is_chosen(one: Mutation, only: list[str]) -> bool:
    return not only or one.id in only or one.subject in only


def _faults(chosen: list[Mutation]) -> list[str]:
    """What is wrong with the table, by mutation."""
    faults = []
    for one in chosen:
        try:
            one.check(ROOT)
        except (Misplaced, SyntaxError) as error:
            faults.append(f"{one.id}: {error}" if isinstance(error, SyntaxError) else str(error))
    return faults


def _show(result: Result) -> None:
    one = result.mutation
    print(f"{one.id:32} {one.subject:14} {result.seconds:6.1f} s  {result.said}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
