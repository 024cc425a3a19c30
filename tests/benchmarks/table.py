"""Rows as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from .harness import Row


def table(rows: Iterable[Row]) -> str:
    lines = ["| What | Database | Sides (median) | Ratio (spread) | Rounds | Goal | |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        sides = "; ".join(f"{side} {_short(median(values))}" for side, values in row.sides.items())
        spread = f"**{row.ratio:.2f}** ({min(row.ratios):.2f} to {max(row.ratios):.2f})" if row.ratios else ""
        note = f" ({row.note})" if row.note else ""
        measured = f"{row.what}{note} | {row.database} | {sides} {row.unit} | {spread} | {row.rounds}"
        lines.append(f"| {measured} | {row.goal} | {row.verdict} |")
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
