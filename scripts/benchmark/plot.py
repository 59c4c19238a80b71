"""Plots as SVG, written by hand: bars on a scale of powers of ten, with the target as a mark."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LABELS, ROW, TOP = 960, 470, 26, 44
FONT = 'font-family="sans-serif" font-size="12" fill="#222"'
BAR, GOOD, BAD, PLAIN, TEXT = 14, "#2a7f4f", "#b3452c", "#4a6fa5", "#222"

Scale = Callable[[float], float]
"""Where a value is on the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar, with its spread and its target if it has them."""

    label: str
    value: float
    low: float
    high: float
    target: float | None = None
    is_reached: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot and the name of its file."""

    name: str
    title: str
    bars: list[Bar]


def draw(title: str, bars: Sequence[Bar]) -> str:
    """Draw horizontal bars."""
    ends = [n for bar in bars for n in (bar.low, bar.high, bar.target or bar.value) if n > 0]
    low = 10 ** math.floor(math.log10(min(ends, default=1) * 0.9))
    high = 10 ** math.ceil(math.log10(max(ends, default=1) * 1.1))

    def x(value: float) -> float:
        inside = min(max(value, low), high)
        share = math.log10(inside / low) / math.log10(high / low)
        return LABELS + share * (WIDTH - LABELS - 60)

    height = TOP + ROW * len(bars) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="10" y="22" font-size="15">{escape(title)}</text>',
        *_grid(low, high, x, height),
    ]
    for number, bar in enumerate(bars):
        parts += _bar(bar, TOP + ROW * number, x)
    return "\n".join([*parts, "</svg>", ""])


def _grid(low: float, high: float, x: Scale, height: int) -> list[str]:
    parts = []
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        at = x(10.0**power)
        parts.append(f'<path d="M{at:.1f} {TOP - 8}V{height - 24}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{at:.1f}" y="{height - 8}" text-anchor="middle">{10.0**power:g}</text>'
        )
    return parts


def _bar(bar: Bar, y: int, x: Scale) -> list[str]:
    colour = {True: GOOD, False: BAD, None: PLAIN}[bar.is_reached]
    middle, width = y + BAR / 2, max(x(bar.value) - LABELS, 1)
    parts = [
        f'<text x="{LABELS - 8}" y="{y + 11}" text-anchor="end">{escape(bar.label)}</text>',
        f'<rect x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<path d="M{x(bar.low):.1f} {middle}H{x(bar.high):.1f}" stroke="{TEXT}"/>',
        f'<text x="{x(max(bar.high, bar.value)) + 6:.1f}" y="{y + 11}">{bar.value:.3g}</text>',
    ]
    if bar.target is not None:
        at = x(bar.target)
        parts.append(
            f'<path d="M{at:.1f} {y - 4}V{y + BAR + 4}" stroke="{TEXT}" stroke-width="2"/>'
        )
    return parts
