# SPDX-License-Identifier: Apache-2.0
"""Shape and type of a tensor that goes into or out of a unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Form:
    """Static, so that buffers are made once."""

    shape: tuple[int, ...]
    dtype: str
    """As torch calls it: float32, bfloat16, bool, int64."""

    def __str__(self) -> str:
        return f'{self.dtype}[{", ".join(map(str, self.shape))}]'

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {'shape': list(self.shape), 'dtype': self.dtype}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Form:
        """Inverse of `document`."""
        return cls(tuple(document['shape']), str(document['dtype']))


Forms = Mapping[str, Form]
"""By name, in the order of the graph."""
