# SPDX-License-Identifier: Apache-2.0
"""Turns values and files into the hashes and ids by which results are traced to their origin.

Equal content gives equal bytes on every machine: no clock, host or path enters here.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from cosmos_flywheel.core.errors import SchemaError

ID_DIGITS = 16
"""Hex digits of an id: 64 bits, so that a million episodes collide with odds of 3e-8."""
_BLOCK_BYTES = 1 << 20


def canonical_json(value: object) -> bytes:
    """The one JSON text of a value: ASCII, sorted keys, no spaces, shortest round-trip floats.

    Takes what JSON knows, and tuples, mappings, dataclasses and numpy numbers or arrays.
    Raises SchemaError for anything else and for NaN or infinity, naming the field.
    """
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(',', ':'), allow_nan=False, default=_plain
        )
    except TypeError as error:
        raise SchemaError(f'cannot be written as JSON: {error}; give plain values') from error
    except ValueError as error:
        field = next(_not_finite(value, ''), 'a field')
        raise SchemaError(f'{field} is not a finite number: write null where unknown') from error
    return text.encode('ascii')


def sha256_hex(data: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """64 hex digits of a file's bytes, read in blocks so that memory stays flat."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def config_hash(config: object) -> str:
    """64 hex digits of everything that may change a result: a mapping or a dataclass."""
    return sha256_hex(canonical_json(config))


def episode_id(bag_id: str, start_ns: int, end_ns: int, config_sha256: str) -> str:
    """16 hex digits: the same stretch found with the same configuration has the same id."""
    origin = [bag_id, int(start_ns), int(end_ns), config_sha256]
    return sha256_hex(canonical_json(origin))[:ID_DIGITS]


def _plain(value: Any) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, 'tolist'):  # numpy arrays and scalars alike
        return value.tolist()
    raise TypeError(f'{type(value).__name__} {value!r}')


def _not_finite(value: object, field: str) -> Iterator[str]:
    """Names of the fields that hold NaN or infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        yield field or 'the value'
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _not_finite(item, f'{field}.{key}' if field else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for index, item in enumerate(value):
            yield from _not_finite(item, f'{field}[{index}]')
    elif not isinstance(value, str | bytes | int | float | None):
        try:
            yield from _not_finite(_plain(value), field)
        except TypeError:
            return
