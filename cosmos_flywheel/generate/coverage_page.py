# SPDX-License-Identifier: Apache-2.0
"""A `plan-v1` → a page that draws its grid: what is covered, what is ordered, what stays empty."""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_lowercase
from typing import Any

from cosmos_flywheel.generate.page import render_page

LYING = (
    ('real', 'recorded'),
    ('accepted', 'accepted'),
    ('waiting', 'not judged'),
    ('rejected', 'rejected'),
    ('planned', 'ordered'),
)
"""What may lie in a cell, by the key of `plan-v1`, and in words."""


def coverage_page(document: Mapping[str, Any]) -> str:
    """HTML that needs nothing else; whatever the document quotes is escaped."""
    return render_page('coverage.html.j2', **document, kinds=_kinds(document))


def _kinds(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Cells by cause and object, the most probable and costly kind first."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in document['cells']:
        found.setdefault((cell['cause'], cell['object']), []).append(cell)
    return [
        _kind(cause, thing, cells)
        for (cause, thing), cells in sorted(found.items(), key=lambda k: (-_worth(k[1]), k[0]))
    ]


def _kind(cause: str, thing: str, cells: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Its cells, and once each the reasons why some stay empty, to which these point by letter."""
    reasons = list(dict.fromkeys(cell['empty_because'] for cell in cells if cell['empty_because']))
    shown = [
        {
            **cell,
            'lies': [(cell[key], word) for key, word in LYING if cell[key]],
            'note': cell['empty_because'] and _letter(reasons.index(cell['empty_because'])),
        }
        for cell in cells
    ]
    return {'cause': cause, 'object': thing, 'cells': shown, 'reasons': reasons}


def _letter(place: int) -> str:
    """As HTML counts by letters: a to z, then aa."""
    more, this = divmod(place, len(ascii_lowercase))
    return (_letter(more - 1) if more else '') + ascii_lowercase[this]


def _worth(cells: list[Mapping[str, Any]]) -> float:
    return sum(float(cell['probability'] * cell['cost']) for cell in cells)
