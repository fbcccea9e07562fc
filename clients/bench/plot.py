"""A plot of time and bytes by rows, as a small SVG that needs no script and no font of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

_WIDTH, _HEIGHT, _MARGIN = 640, 360, 56
_STYLE = (
    "text{font:12px sans-serif;fill:#333}.axis{stroke:#999}.a{stroke:#0b5fa5;fill:none}"
    ".b{stroke:#b5540a;fill:none}.pa{fill:#0b5fa5}.pb{fill:#b5540a}.linear{stroke:#bbb;"
    "stroke-dasharray:4 4}@media(prefers-color-scheme:dark){text{fill:#ddd}}"
)


def draw_scaling(points: Sequence[dict[str, Any]]) -> str:
    """Draw training seconds and bytes sent against rows, both axes logarithmic.

    Dashed lines show what exactly linear growth from the smallest size would be.
    """
    rows = [float(point["joint_rows"]) for point in points]
    seconds = [float(point["seconds"]["train"]) for point in points]
    sent = [point["bytes_total"] / 1e6 for point in points]
    values = [*seconds, *sent]
    across = _Scale(min(rows), max(rows), _MARGIN, _WIDTH - _MARGIN)
    up = _Scale(min(values) / 1.5, max(values) * 1.5, _HEIGHT - _MARGIN, _MARGIN / 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'aria-label="Training seconds and megabytes sent by rows of the joint table">',
        f"<style>{_STYLE}</style>",
        *_axes(across, up, rows),
        *_series(rows, seconds, (across, up), "a", "s in training"),
        *_series(rows, sent, (across, up), "b", "MB sent in all"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Scale:
    """Maps positive numbers to places, logarithmically."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._high = math.log10(low), math.log10(high)
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self._low) / max(self._high - self._low, 1e-9)
        return self._start + share * (self._end - self._start)

    def decades(self) -> list[float]:
        first, last = math.ceil(self._low), math.floor(self._high)
        return [10.0**power for power in range(first, last + 1)]


def _axes(across: _Scale, up: _Scale, rows: Sequence[float]) -> list[str]:
    bottom = _HEIGHT - _MARGIN
    parts = [
        f'<line class="axis" x1="{_MARGIN}" y1="{bottom}" x2="{_WIDTH - _MARGIN}" y2="{bottom}"/>',
        f'<line class="axis" x1="{_MARGIN}" y1="{_MARGIN / 2}" x2="{_MARGIN}" y2="{bottom}"/>',
        _text(_WIDTH / 2, _HEIGHT - 12, "rows of the joint table", "middle"),
    ]
    parts += [_text(across(value), bottom + 18, f"{value:,.0f}", "middle") for value in rows]
    parts += [_text(_MARGIN - 6, up(value) + 4, f"{value:g}", "end") for value in up.decades()]
    return parts


def _text(x: float, y: float, content: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{content}</text>'


def _series(
    rows: Sequence[float],
    values: Sequence[float],
    scales: tuple[_Scale, _Scale],
    name: str,
    label: str,
) -> list[str]:
    across, up = scales
    places = [(across(row), up(value)) for row, value in zip(rows, values, strict=True)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    expected = [up(values[0]), up(values[0] * rows[-1] / rows[0])]
    dots = [f'<circle class="p{name}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
    x, y = places[-1]
    return [
        f'<line class="linear" x1="{places[0][0]:.1f}" y1="{expected[0]:.1f}" '
        f'x2="{x:.1f}" y2="{expected[1]:.1f}"/>',
        f'<polyline class="{name}" points="{path}"/>',
        *dots,
        _text(x - 8, y - 8, label, "end"),
    ]
