"""What a run of the tests says at its end: the figures that tests measured, and where the time of each tier went."""

from collections import defaultdict
from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--slowest``: how many tests of each tier are shown with their time."""
    parser.addoption("--slowest", type=int, default=0, metavar="N", help="show the N slowest tests of each tier")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show figures and times, however the run was split."""
    reports = list(_reports(terminalreporter))
    _show_figures(terminalreporter, reports)
    if slowest := config.getoption("--slowest"):
        _show_times(terminalreporter, reports, slowest)


def _reports(reporter: pytest.TerminalReporter) -> Iterator[pytest.TestReport]:
    for reports in reporter.stats.values():
        yield from (report for report in reports if isinstance(report, pytest.TestReport))


def _show_figures(reporter: pytest.TerminalReporter, reports: list[pytest.TestReport]) -> None:
    lines = [
        f"{report.nodeid.rpartition('::')[2]}: {figures}"
        for report in reports
        if report.when == "call"
        for name, figures in report.user_properties
        if name == "figures"
    ]
    if lines:
        reporter.section("figures")
        for line in lines:
            reporter.write_line(line)


def _show_times(reporter: pytest.TerminalReporter, reports: list[pytest.TestReport], slowest: int) -> None:
    """A test's time is that of its fixtures too; those of a session count for whoever came first."""
    tiers: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for report in reports:
        folder, _, test = report.nodeid.removeprefix("tests/").partition("/")
        tiers[folder][test] += report.duration
    reporter.section("time by tier")
    for folder, tests in sorted(tiers.items(), key=lambda one: -sum(one[1].values())):
        reporter.write_line(f"{folder}: {len(tests)} tests, {sum(tests.values()):.1f} s")
        for test, seconds in sorted(tests.items(), key=lambda one: -one[1])[:slowest]:
            reporter.write_line(f"  {seconds:6.2f} s  {test}")
