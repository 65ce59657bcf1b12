"""A chart of score against call ratio as SVG, in one file that needs no package to draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from relay_core.evaluate.intervals import Interval

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 860, 420, 64, 150, 24, 56
_HIGH = 0.65  # labels of scores above this one lead downwards
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328;paint-order:stroke;stroke:#fff;stroke-width:3px}"
    ".axis{stroke:#59636e}.grid{stroke:#d0d7de}.level{stroke:#59636e;stroke-dasharray:5 4}"
    ".router{stroke:#0969da}.point{fill:#b45309;stroke:#b45309;stroke-width:1.5}.hollow{fill:#fff}"
    ".bar{stroke:#b45309;stroke-width:1.5}"
)


@dataclass(frozen=True, slots=True)
class Point:
    """One setting: its name, call ratio, score (0 to 1) and the score's interval. ``hollow`` draws a circle."""

    label: str
    x: float
    y: float
    interval: Interval
    hollow: bool = False


def chart(
    points: Sequence[Point],
    *,
    student: float,
    teacher: float,
    router: Callable[[float], float],
    x_title: str,
    y_title: str,
) -> str:
    """The SVG: a point with its interval per setting, the levels of student and teacher alone, and a random router.

    Args:
        points: the settings.
        student, teacher: the scores of each model alone.
        router: from a call ratio to the score of a router that sends whole prompts to the teacher at random.
        x_title, y_title: the titles of the axes.
    """
    step = _step(max([p.x for p in points], default=0.0) * 1.1)
    widest = step * 5
    parts = [line for i in range(6) for line in _x_tick(step * i, widest)]
    parts += [line for i in range(6) for line in _y_tick(i / 5)]
    for level, label in ((student, "student alone"), (teacher, "teacher alone")):
        y = _y(level)
        parts.append(f'<line class="level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_WIDTH - _RIGHT + 6}" y="{y + 4:.1f}">{label} {level:.1%}</text>')
    ends = f'x1="{_LEFT}" y1="{_y(student):.1f}" x2="{_WIDTH - _RIGHT}" y2="{_y(router(widest)):.1f}"'
    parts.append(f'<line class="router" {ends}><title>random router</title></line>')
    parts.append(f'<text x="{_WIDTH - _RIGHT + 6}" y="{_TOP - 6}">blue: random router</text>')
    for point in points:
        x, y = _x(point.x, widest), _y(point.y)
        low, high = (_y(value) for value in point.interval)
        parts.append(f'<line class="bar" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        parts.append(f'<circle class="point{" hollow" * point.hollow}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        rise, turn = (10, 40) if point.y > _HIGH else (-5, -40)  # slanted, so that neighbours do not overlap
        slanted = f'transform="translate({x + 5:.1f} {y + rise:.1f}) rotate({turn})"'
        parts.append(f"<text {slanted}>{escape(point.label)}</text>")
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(x_title)}</text>'
    )
    parts.append(f'<text transform="translate(16 {_HEIGHT / 2}) rotate(-90)">{escape(y_title)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" aria-label="{escape(y_title)} against {escape(x_title)}">\n'
        f'<style>{_STYLE}</style>\n<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _x(value: float, widest: float) -> float:
    return _LEFT + value / widest * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _HEIGHT - _BOTTOM - value * (_HEIGHT - _TOP - _BOTTOM)


def _x_tick(value: float, widest: float) -> list[str]:
    x, bottom = _x(value, widest), _HEIGHT - _BOTTOM
    return [
        f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>',
        f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{value:.3g}</text>',
    ]


def _y_tick(value: float) -> list[str]:
    y = _y(value)
    return [
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>',
        f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.0%}</text>',
    ]


def _step(widest: float) -> float:
    """A round distance (1, 2 or 5 times a power of ten) of which five cover ``widest``."""
    least = max(widest, 1e-3) / 5
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= least * 0.999)
