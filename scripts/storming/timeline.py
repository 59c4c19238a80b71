"""Usage against the quota over time as SVG: a curve for each run, its cleanups as marks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from scripts.storming.watch import Action, Sample

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 420, 50, 300, 40, 40
FONT = 'font-family="sans-serif" font-size="12" fill="#222"'
COLOURS = ("#2a7f4f", "#4a6fa5", "#b3452c", "#a57a1a", "#7a4a9e", "#555")
LEVELS = ((70, "standard"), (85, "emergency"), (100, "quota"))
MARKS = {"standard": "#d9a400", "emergency": "#c00"}
POINTS = 600
TICKS = 6

Place = Callable[[float], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One run; `is_killed`: the kernel ended it."""

    label: str
    quota_bytes: int
    samples: Sequence[Sample]
    actions: Sequence[Action]
    is_killed: bool


def draw(title: str, curves: Sequence[Curve]) -> str:
    """Draw the curves of one load."""
    ends = [curve.samples[-1].at for curve in curves if curve.samples]
    seconds = max([1.0, *ends])

    def x(at: float) -> float:
        return LEFT + at / seconds * (WIDTH - LEFT - RIGHT)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="10" y="22" font-size="15">{escape(title)}</text>',
        *_grid(seconds, x),
    ]
    for number, curve in enumerate(curves):
        parts += _curve(curve, number, x)
    return "\n".join([*parts, "</svg>", ""])


def peaks(samples: Sequence[Sample], points: int = POINTS) -> list[Sample]:
    """Keep the highest of neighbours, so that no peak is lost, and few enough for a file."""
    step = -(-len(samples) // points) or 1
    parts = (samples[begin : begin + step] for begin in range(0, len(samples), step))
    return [max(part, key=lambda sample: sample.used_bytes) for part in parts]


def _y(percent: float) -> float:
    return TOP + (1 - min(percent, 105) / 105) * (HEIGHT - TOP - BOTTOM)


def _grid(seconds: float, x: Place) -> list[str]:
    end = WIDTH - RIGHT
    parts = [f'<path d="M{LEFT} {_y(0)}H{end}" stroke="#222"/>']
    for percent, name in LEVELS:
        at = f"{_y(percent):.1f}"
        parts.append(f'<path d="M{LEFT} {at}H{end}" stroke="#999" stroke-dasharray="4 3"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at}" text-anchor="end">{percent} %</text>')
        parts.append(f'<text x="{LEFT + 6}" y="{_y(percent) - 4:.1f}" fill="#777">{name}</text>')
    for tick in range(TICKS + 1):
        at_seconds = seconds * tick / TICKS
        parts.append(
            f'<text x="{x(at_seconds):.1f}" y="{HEIGHT - 18}" text-anchor="middle">'
            f"{at_seconds:.0f} s</text>"
        )
    return parts


def _curve(curve: Curve, number: int, x: Place) -> list[str]:
    colour, legend = COLOURS[number % len(COLOURS)], TOP + 14 + 20 * number

    def percent(used_bytes: int) -> float:
        return used_bytes / curve.quota_bytes * 100

    kept = peaks(curve.samples)
    points = " ".join(f"{x(it.at):.1f},{_y(percent(it.used_bytes)):.1f}" for it in kept)
    end = ", killed" if curve.is_killed else ""
    return [
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
        f'<path d="M{WIDTH - RIGHT + 14} {legend - 4}h18" stroke="{colour}" stroke-width="3"/>',
        f'<text x="{WIDTH - RIGHT + 38}" y="{legend}">{escape(curve.label + end)}</text>',
        *(_mark(action, x) for action in curve.actions),
    ]


def _mark(action: Action, x: Place) -> str:
    """A triangle where a cleanup began, with its words for who points at it."""
    at, y = x(action.at), _y(action.percent)
    words = f"{action.tier} at {action.percent:.1f} %: {action.freed_bytes:,} B, {action.ms:.0f} ms"
    return (
        f'<path d="M{at:.1f} {y:.1f}l-4 -8h8z" fill="{MARKS[action.tier]}">'
        f"<title>{escape(words)}</title></path>"
    )
