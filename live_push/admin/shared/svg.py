"""Draw SVG images with a text alternative. They are styled by CSS classes and need no script. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

# Paths in a square of 16 by 16.
_ICONS: Final = {
    "ok": "M3 8.5 6.5 12 13 4.5",
    "wait": "M8 4v4.5l3 1.5M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8",
    "retry": "M13 5.5A5.5 5.5 0 1 0 13.5 9M13.4 2.2v3.4h-3.4",
    "bad": "M4 4l8 8M12 4l-8 8",
    "off": "M5.5 3.5v9M10.5 3.5v9",
    "rest": "M13 9.8A5.6 5.6 0 0 1 6.2 3 5.6 5.6 0 1 0 13 9.8",
    "none": "M3.5 12.5l9-9M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8",
    "key": "M6 9.5a3 3 0 1 1 0-6 3 3 0 0 1 0 6M8.2 8.5l5 5M11 11.3l1.8-1.8",
    "send": "M2 8l12-5-4 11-2.5-4.5z",
    "alert": "M8 2l6.3 11.5H1.7zM8 6.3v3.4M8 11.4v.6",
}


def icon(name: str) -> SafeString:
    """Return an icon. Screen readers skip it, because there is always a word beside it."""
    return format_html(
        '<svg class="lp-icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">'
        '<path d="{}" fill="none" stroke="currentColor" stroke-width="1.8" '
        'stroke-linecap="round" stroke-linejoin="round"/></svg>',
        _ICONS[name],
    )


def share_bar(good: int, bad: int, label: str) -> SafeString:
    """Return a bar that two numbers divide. ``label`` is its text alternative."""
    whole = good + bad
    width = round(100 * good / whole, 1) if whole else 0
    # At least 2 % of the bar show failures, so that even a few are visible.
    width = min(width, 98) if bad else width
    return format_html(
        '<svg class="lp-bar" viewBox="0 0 100 8" width="100" height="8" role="img" aria-label="{}">'
        '<rect class="lp-empty" width="100" height="8" rx="2"/>'
        '<rect class="lp-fill-bad" width="{}" height="8" rx="2"/>'
        '<rect class="lp-fill-ok" width="{}" height="8" rx="2"/>'
        "</svg>",
        label,
        100 if bad else 0,
        width,
    )


@dataclass(frozen=True)
class Column:
    """One column of a chart: ``good`` below, ``bad`` on top, and an optional label under it."""

    good: int
    bad: int
    label: str = ""


def columns(data: Sequence[Column], *, title: str, description: str) -> SafeString:
    """Return a column chart. ``title`` and ``description`` are its text alternative."""
    height, foot, step = 120, 18, 960 / max(1, len(data))
    most = max([column.good + column.bad for column in data] + [1])
    bars = []
    for place, column in enumerate(data):
        good, bad = height * column.good / most, height * column.bad / most
        x, wide = _number(place * step + step * 0.1), _number(step * 0.8)
        bars.append(("lp-fill-ok", x, _number(height - good), wide, _number(good)))
        bars.append(("lp-fill-bad", x, _number(height - good - bad), wide, _number(bad)))
    return format_html(
        '<svg class="lp-chart" viewBox="0 0 960 {}" role="img" aria-label="{}: {}">{}'
        '<line class="lp-axis" x1="0" x2="960" y1="{}" y2="{}"/>{}</svg>',
        height + foot,
        title,
        description,
        format_html_join("", '<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>', bars),
        height,
        height,
        format_html_join(
            "",
            '<text class="lp-tick" x="{}" y="{}">{}</text>',
            ((_number((at + 0.1) * step), height + 13, column.label) for at, column in enumerate(data) if column.label),
        ),
    )


# The minimum width of a rung, so that a range of millions fits, and the approximate width of a letter of its title.
_LEAST_WIDTH, _LETTER = 200, 9


@dataclass(frozen=True)
class LadderStep:
    """One rung of a ladder; ``here`` marks the current one."""

    title: str
    range: str
    here: bool = False


def ladder(steps: Sequence[LadderStep], description: str) -> SafeString:
    """Return tiers as stairs, the base at the left. ``description`` is the text alternative.

    With many tiers the image is wider than the page, in a frame that scrolls. Narrower steps would make texts overlap.
    """
    count = max(1, len(steps))
    wide, rise, floor = max(960 / count, _LEAST_WIDTH), 26, 70 + 26 * count
    whole = _number(wide * count)
    rungs = [
        (
            "lp-rung lp-here" if step.here else "lp-rung",
            _number(place * wide + 4),
            floor - 44 - rise * (place + 1),
            _number(wide - 8),
            44 + rise * (place + 1),
            _number(place * wide + wide / 2),
            floor - 24 - rise * (place + 1),
            _cut(step.title, round(wide / _LETTER)),
            _number(place * wide + wide / 2),
            floor - 7 - rise * (place + 1),
            step.range,
        )
        for place, step in enumerate(steps)
    ]
    return format_html(
        '<svg class="{}" viewBox="0 0 {} {}" width="{}" role="img" aria-label="{}">{}</svg>',
        "lp-chart lp-wide" if wide * count > 960 else "lp-chart",
        whole,
        floor,
        whole,
        description,
        format_html_join(
            "",
            '<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="4"/>'
            '<text class="lp-rung-title" x="{}" y="{}">{}</text><text class="lp-rung-range" x="{}" y="{}">{}</text>',
            rungs,
        ),
    )


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _number(value: float) -> str:
    return f"{value:.1f}"
