# SPDX-License-Identifier: Apache-2.0
"""The one door to Parquet: a file's columns as plain Python values, its sizes checked first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosmos_flywheel.core.errors import SourceError

REMEDY = "pip install 'cosmos_flywheel[lerobot]' (or: pip install pyarrow)"
MAX_BYTES = 4 << 30
"""More than this, unpacked, is not read at once."""

Columns = dict[str, list[Any]]
"""Values by column, a row each; all of one length."""


def read_columns(
    path: Path,
    columns: Sequence[str] | None = None,
    *,
    only: tuple[str, int] | None = None,
) -> Columns:
    """The rows of a Parquet file.

    Args:
        path: the file.
        columns: those that are wanted; those that it lacks are not in the answer. None for all.
        only: a column and a value: rows that hold another one are left out.

    Raises:
        SourceError: pyarrow is not installed, or the file is missing, damaged or too large.

    """
    pyarrow, parquet = _door()
    try:
        with parquet.ParquetFile(path) as file:
            there = list(file.schema_arrow.names)
            wanted = there if columns is None else [name for name in columns if name in there]
            if only is not None and only[0] not in there:
                only = None
            _check_size(path, file.metadata, wanted)
        table = parquet.read_table(
            path,
            columns=wanted,
            filters=None if only is None else [(only[0], '==', only[1])],
            use_threads=False,
            partitioning=None,
        )
        return {name: table.column(name).to_pylist() for name in wanted}
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).partition('\n')[0]
        raise SourceError(f'{path}: cannot be read ({reason}); fetch the file again') from error


def column_names(path: Path) -> tuple[str, ...]:
    """Its columns, in their order; raises SourceError as `read_columns`."""
    pyarrow, parquet = _door()
    try:
        return tuple(parquet.read_schema(path).names)
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).partition('\n')[0]
        raise SourceError(f'{path}: cannot be read ({reason}); fetch the file again') from error


def _door() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise SourceError(
            f'LeRobot data sets are Parquet, which needs pyarrow: {REMEDY}'
        ) from error
    return pyarrow, parquet


def _check_size(path: Path, metadata: Any, wanted: Sequence[str]) -> None:
    """By what the file says of itself, before anything is unpacked."""
    size_bytes = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for place in range(row_group.num_columns):
            column = row_group.column(place)
            if column.path_in_schema.startswith(tuple(wanted)):
                size_bytes += max(0, column.total_uncompressed_size)
    if size_bytes > MAX_BYTES:
        raise SourceError(
            f'{path}: unpacks to {size_bytes} bytes, limit {MAX_BYTES}; '
            'split the set into smaller files'
        )
