"""Small charts as inline SVG: no script, no font and no file from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

WIDTH = 1000.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 16.0, 18.0, 34.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart."""

    name: str
    """What it shows."""
    colour: str
    """CSS colour."""
    points: Sequence[tuple[float, float]]
    """Points from left to right."""
    stepped: bool = True
    """Whether each value holds until the next point."""
    dashed: bool = False
    """Whether it is drawn dashed."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values and what its ticks say."""

    low: float
    """Least value."""
    high: float
    """Greatest value."""
    ticks: Sequence[tuple[float, str]]
    """Where ticks stand, and their text."""
    title: str = ""
    """What it measures, with its unit."""

    def place(self, value: float, start: float, end: float) -> float:
        """Where a value stands between ``start`` and ``end``."""
        span = self.high - self.low or 1.0
        return start + (value - self.low) / span * (end - start)


def value_axis(high: float, title: str, low: float = 0.0, count: int = 5) -> Axis:
    """An axis from ``low`` to a round number above ``high``."""
    step = round_step((high - low) / count if high > low else 1.0)
    top = low + step * max(1, -(-(high - low) // step))
    ticks = []
    value = low
    while value <= top + step / 2:
        ticks.append((value, f"{value:g}"))
        value += step
    return Axis(low, top, ticks, title)


def round_step(rough: float) -> float:
    """The number 1, 2 or 5 times a power of ten that is next above ``rough``."""
    power = 10.0 ** floor(log10(rough))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * (1 - 1e-9))


def line_chart(lines: Sequence[Line], across: Axis, up: Axis, height: float = 280.0) -> str:
    """Lines over a common axis, with a legend above."""
    frame = _Frame(across, up, height)
    parts = [frame.grid()]
    for line in lines:
        parts.append(_path(line, frame))
    return _svg(height, "".join(parts), [(line.name, line.colour, line.dashed) for line in lines])


def bar_chart(
    bars: Sequence[tuple[float, float, float, str, str]], across: Axis, up: Axis, height: float = 220.0
) -> str:
    """Upright bars: left edge, right edge, height, colour and text of each."""
    frame = _Frame(across, up, height)
    shapes = [
        _rectangle(
            frame.x(left),
            frame.y(value),
            frame.x(right) - frame.x(left) - 1.0,
            frame.y(0) - frame.y(value),
            colour,
            text,
        )
        for left, right, value, colour, text in bars
    ]
    return _svg(height, frame.grid() + "".join(shapes), [])


def stacked_rows(rows: Sequence[tuple[str, Sequence[tuple[float, str, str]]]], high: float, unit: str) -> str:
    """Lying bars made of parts: name, and value, colour and text of each part."""
    height = TOP + BOTTOM + 34.0 * len(rows)
    axis = value_axis(high, unit)
    shapes = []
    for number, (name, parts) in enumerate(rows):
        top = TOP + 34.0 * number + 6.0
        shapes.append(_text(LEFT + 92.0, top + 15.0, name, "end"))
        begin = 0.0
        for value, colour, text in parts:
            left, right = (axis.place(edge, LEFT + 100.0, WIDTH - RIGHT) for edge in (begin, begin + value))
            shapes.append(_rectangle(left, top, max(0.0, right - left), 22.0, colour, text))
            begin += value
    for value, label in axis.ticks:
        x = axis.place(value, LEFT + 100.0, WIDTH - RIGHT)
        shapes.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM:.1f}" class="grid"/>')
        shapes.append(_text(x, height - BOTTOM + 16.0, label, "middle"))
    return _svg(height, "".join(shapes), [])


@dataclass(frozen=True, slots=True)
class Span:
    """A bar of a schedule."""

    row: int
    """Which row, from 0."""
    start: float
    """Left end on the axis."""
    end: float
    """Right end on the axis."""
    filled: float
    """Part that is filled, 0..1."""
    colour: str
    """CSS colour."""
    text: str
    """What is told when it is pointed at."""


def schedule(rows: Sequence[str], spans: Sequence[Span], across: Axis, row_height: float = 11.0) -> str:
    """One row a place, one bar a stay; a bar is filled as far as its vehicle was served."""
    height = TOP + BOTTOM + row_height * len(rows)
    left, right = LEFT + 30.0, WIDTH - RIGHT
    shapes = []
    for value, label in across.ticks:
        x = across.place(value, left, right)
        shapes.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM:.1f}" class="grid"/>')
        shapes.append(_text(x, height - BOTTOM + 16.0, label, "middle"))
    for number, name in enumerate(rows):
        shapes.append(_text(left - 6.0, TOP + row_height * (number + 0.82), name, "end", "small"))
    for span in spans:
        x, end = across.place(span.start, left, right), across.place(span.end, left, right)
        y, width = TOP + row_height * span.row + 1.0, max(0.8, end - x)
        outline = f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{row_height - 2.0:.1f}" class="stay"/>'
        inside = _rectangle(x, y, width * span.filled, row_height - 2.0, span.colour, "")
        shapes.append(f"<g><title>{escape(span.text)}</title>{outline}{inside}</g>")
    return _svg(height, "".join(shapes), [])


class _Frame:
    """The drawing area of a chart."""

    def __init__(self, across: Axis, up: Axis, height: float) -> None:
        self._across, self._up, self._height = across, up, height

    def x(self, value: float) -> float:
        return self._across.place(value, LEFT, WIDTH - RIGHT)

    def y(self, value: float) -> float:
        return self._up.place(value, self._height - BOTTOM, TOP)

    def grid(self) -> str:
        parts = []
        for value, label in self._up.ticks:
            y = self.y(value)
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
            parts.append(_text(LEFT - 6.0, y + 4.0, label, "end"))
        bottom = self._height - BOTTOM
        for value, label in self._across.ticks:
            x = self.x(value)
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:.1f}" y2="{bottom + 4:.1f}" class="axis"/>')
            parts.append(_text(x, self._height - BOTTOM + 18.0, label, "middle"))
        parts.append(_text(LEFT + 4.0, TOP - 4.0, self._up.title, "start", "unit"))
        parts.append(_text(WIDTH - RIGHT, self._height - 3.0, self._across.title, "end", "unit"))
        return "".join(parts)


def _path(line: Line, frame: _Frame) -> str:
    commands: list[str] = []
    before = ""
    for across, up in line.points:
        x, y = f"{frame.x(across):.1f}", f"{frame.y(up):.1f}"
        if not commands:
            commands.append(f"M{x} {y}")
        elif not line.stepped:
            commands.append(f"L{x} {y}")
        elif y != before:
            commands.append(f"H{x}V{y}")
        before = y
    if line.stepped and line.points:
        commands.append(f"H{frame.x(line.points[-1][0]):.1f}")
    dashes = ' stroke-dasharray="6 4"' if line.dashed else ""
    return f'<path d="{"".join(commands)}" fill="none" stroke="{line.colour}" stroke-width="1.6"{dashes}/>'


def _rectangle(x: float, y: float, width: float, height: float, colour: str, text: str) -> str:
    title = f"<title>{escape(text)}</title>" if text else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{max(0.0, height):.1f}" '
        f'fill="{colour}">{title}</rect>'
    )


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    class_name = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{class_name}>{escape(text)}</text>'


def _svg(height: float, inside: str, legend: Sequence[tuple[str, str, bool]]) -> str:
    keys = "".join(
        f'<span class="key"><span class="{"swatch dashed" if dashed else "swatch"}" style="--c:{colour}"></span>'
        f"{escape(name)}</span>"
        for name, colour, dashed in legend
    )
    size = f"0 0 {WIDTH:.0f} {height:.0f}"
    picture = f'<svg viewBox="{size}" role="img" preserveAspectRatio="xMidYMid meet">{inside}</svg>'
    return f'<div class="legend">{keys}</div>{picture}' if keys else picture
