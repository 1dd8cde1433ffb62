# SPDX-License-Identifier: Apache-2.0
"""Values into lines of text for a terminal, safe against control characters from a bag."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite


def printable(text: str) -> str:
    """The text with control and other invisible characters written as escapes."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows of equal length in aligned columns; `right` lists columns aligned to the right."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        '  '.join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def amount(value: float, unit: str = '') -> str:
    """A number to three digits or three decimals; a dash where it is unknown."""
    if not isfinite(value):
        return '-'
    return f'{value:.0f}{unit}' if abs(value) >= 1000 else f'{round(value, 3):.3g}{unit}'
