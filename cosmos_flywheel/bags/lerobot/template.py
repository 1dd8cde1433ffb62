# SPDX-License-Identifier: Apache-2.0
"""A path template of a data set and its numbers into a path that stays inside the set.

`info.json` comes from others: only the fields that LeRobot knows are filled in, and no template
leads out of the set's folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from string import Formatter

from cosmos_flywheel.core.errors import SourceError

ALIASES: Mapping[str, str] = {'episode_chunk': 'chunk_index', 'episode_file': 'file_index'}
"""Version 2 and early sets of version 3 call them so."""
FIELDS = ('episode_index', 'chunk_index', 'file_index', 'video_key')
_NUMBER_FORM = re.compile(r'(0?\d{0,2}d)?')


def fill(template: str, values: Mapping[str, int | str], where: str) -> str:
    """The path, relative to the set's folder, with forward slashes.

    Args:
        template: as `info.json` has it: `data/chunk-{chunk_index:03d}/…`.
        values: by the names of `FIELDS`.
        where: the file and key of the template, for errors.

    Raises:
        SourceError: a field is unknown, or the path is absolute or leads out of the folder.

    """
    parts: list[str] = []
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise SourceError(f'{where}: {template!r} is no path template ({error})') from error
    for text, field, form, conversion in pieces:
        parts.append(text)
        if field is None:
            continue
        name = ALIASES.get(field, field)
        if name not in FIELDS or name not in values or conversion:
            raise SourceError(
                f'{where}: {template!r} asks for {field!r}; known are {", ".join(sorted(values))}'
            )
        value = values[name]
        if isinstance(value, str):
            parts.append(value)
        elif _NUMBER_FORM.fullmatch(form or ''):
            parts.append(format(value, form or ''))
        else:
            raise SourceError(f'{where}: {template!r} has the form {form!r}; write one like 03d')
    return inside(''.join(parts), where)


def inside(path: str, where: str) -> str:
    """The relative path itself; raises SourceError where it would leave the set's folder."""
    pure = PurePosixPath(path)
    is_safe = path and not pure.is_absolute() and '..' not in pure.parts
    if not is_safe or '\\' in path or '\0' in path or re.match(r'[A-Za-z]:', path):
        raise SourceError(
            f'{where}: {path!r} leads out of the data set; correct it, or do not trust this set'
        )
    return str(pure)
