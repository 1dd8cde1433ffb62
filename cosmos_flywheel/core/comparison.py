# SPDX-License-Identifier: Apache-2.0
"""One plain value against one limit: the comparisons that hand-written rules may name."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.field_path import Plain

Limit = Plain | tuple[Plain, ...]
"""What a value is held against; several, of one kind, only for `one_of`."""
LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Comparison:
    """One way to compare."""

    holds: Callable[[Any, Any], bool]
    """Of a value and its limit."""
    words: str
    """Between the value and its limit."""


COMPARISONS = {
    'equals': Comparison(operator.eq, 'is'),
    'not_equals': Comparison(operator.ne, 'is not'),
    'above': Comparison(operator.gt, 'above'),
    'below': Comparison(operator.lt, 'below'),
    'starts_with': Comparison(str.startswith, 'starts with'),
    'one_of': Comparison(lambda value, limits: value in limits, 'is one of'),
}


def compare(value: Plain, name: str, limit: Limit) -> bool:
    """Whether a value is what the limit asks for.

    Args:
        value: neither NaN nor missing.
        name: one of `COMPARISONS`.
        limit: text for text, a number or truth for others; for `one_of` several of a kind.

    Raises:
        ConfigError: one is text and the other is not.

    """
    sample = limit[0] if isinstance(limit, tuple) else limit
    if isinstance(value, str) != isinstance(sample, str):
        raise ConfigError(
            f'{_short(value)} and cannot be compared with {limit!r} ({name}); '
            'write text in quotes and numbers without'
        )
    return COMPARISONS[name].holds(value, limit)


def _short(value: Plain) -> str:
    shown = repr(value)
    return shown if len(shown) <= LONGEST_SHOWN else f'{shown[:LONGEST_SHOWN]}…'
