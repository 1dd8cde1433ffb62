# SPDX-License-Identifier: Apache-2.0
"""A `plan-v1` → a page that draws its grid: what is covered, what is ordered, what stays empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosmos_flywheel.generate.page import render_page


def coverage_page(document: Mapping[str, Any]) -> str:
    """HTML that needs nothing else; whatever the document quotes is escaped."""
    return render_page('coverage.html.j2', **document, kinds=_kinds(document))


def _kinds(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Cells by cause and object, the most probable and costly kind first."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in document['cells']:
        found.setdefault((cell['cause'], cell['object']), []).append(cell)
    return [
        {
            'cause': cause,
            'object': thing,
            'cells': cells,
            'axes': sorted({axis for cell in cells for axis in cell['variation']['cell']}),
        }
        for (cause, thing), cells in sorted(found.items(), key=lambda k: (-_worth(k[1]), k[0]))
    ]


def _worth(cells: list[Mapping[str, Any]]) -> float:
    return sum(float(cell['probability'] * cell['cost']) for cell in cells)
