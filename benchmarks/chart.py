"""A small line chart as SVG, made by hand: latency against offered load, both axes logarithmic."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

NAME: Final = "latency.svg"
DRAWN: Final[dict[str, str]] = {}
"""Charts of this run by file name, to be written with the results."""

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 150, 20, 50
_FONT: Final = 'font-family="sans-serif" font-size="12"'
COLORS: Final = ("#2563eb", "#c2410c", "#047857", "#7c3aed")


@dataclass(frozen=True, slots=True)
class Point:
    """Latencies (ms) at an offered load (callbacks/s)."""

    offered: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class _Axis:
    """A logarithmic axis from ``low`` to ``high``, drawn between two pixels."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self) -> list[float]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        return [step for step in steps if self.low <= step * 1.001 and step <= self.high * 1.001]


def draw(lines: Mapping[str, Sequence[Point]]) -> str:
    """The chart: for each name a solid line of p99 and a dashed one of p50."""
    points = [point for line in lines.values() for point in line]
    x = _Axis(min(one.offered for one in points) * 0.9, max(one.offered for one in points) * 1.1, LEFT, WIDTH - RIGHT)
    values = [value for one in points for value in (one.p50, one.p99) if value > 0] or [1.0]
    y = _Axis(min(values) * 0.8, max(values) * 1.25, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {_FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_grid(x, y),
    ]
    row = 0
    for (name, line), color in zip(lines.items(), COLORS, strict=False):
        for rank, dash in (("p99", ""), ("p50", ' stroke-dasharray="5 4"')):
            shown = [(x.at(one.offered), y.at(getattr(one, rank))) for one in line if getattr(one, rank) > 0]
            places = " ".join(f"{left:.1f},{top:.1f}" for left, top in shown)
            parts.append(f'<polyline points="{places}" fill="none" stroke="{color}" stroke-width="2"{dash}/>')
            parts += [f'<circle cx="{left:.1f}" cy="{top:.1f}" r="2.5" fill="{color}"/>' for left, top in shown]
            top = TOP + 14 + 20 * row
            left = WIDTH - RIGHT + 12
            parts.append(f'<path d="M{left} {top - 4}h24" stroke="{color}" stroke-width="2"{dash}/>')
            parts.append(f'<text x="{left + 30}" y="{top}">{name} {rank}</text>')
            row += 1
    return "\n".join([*parts, "</svg>"]) + "\n"


def _grid(x: _Axis, y: _Axis) -> list[str]:
    parts = []
    for value in x.ticks():
        at = x.at(value)
        parts.append(f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>')
    for value in y.ticks():
        at = y.at(value)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">callbacks offered per second</text>')
    parts.append(f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">latency, ms</text>')
    return parts
