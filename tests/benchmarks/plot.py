"""Rows with a goal as one SVG: how far each ratio is from its goal."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .harness import Row

WIDTH, LEFT, LINE = 1100, 650, 26


def draw(rows: Sequence[Row], machine: str) -> str:
    """A bar for each goal: its length is the ratio in parts of the goal, the mark is the goal itself."""
    shown = [row for row in rows if row.verdict]
    height = LINE * len(shown) + 70
    unit = (WIDTH - LEFT - 90) / 2
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
            ' font-size="12">'
        ),
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        '<text x="10" y="20" font-size="15">Ratios against their goals (the line is the goal)</text>',
    ]
    for number, row in enumerate(shown):
        sign, goal = row.goal.split()[:2]
        assert row.ratio is not None
        share, y = row.ratio / float(goal), 36 + number * LINE
        colour = "#2a7f4f" if row.verdict == "met" else "#b4552d"
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(row.what)} · {row.database}</text>',
            f'<rect x="{LEFT}" y="{y + 2}" width="{min(share, 2.2) * unit:.0f}" height="16" fill="{colour}"/>',
            (
                f'<text x="{LEFT + min(share, 2.2) * unit + 5:.0f}" y="{y + 14}">'
                f"{row.ratio:.2f} (goal {sign} {goal})</text>"
            ),
        ]
    bottom = 36 + len(shown) * LINE
    parts += [
        (
            f'<line x1="{LEFT + unit:.0f}" x2="{LEFT + unit:.0f}" y1="30" y2="{bottom}" stroke="#000"'
            ' stroke-dasharray="4 3"/>'
        ),
        f'<text x="10" y="{bottom + 22}" fill="#555">{escape(machine)}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"
