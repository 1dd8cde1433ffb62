# SPDX-License-Identifier: Apache-2.0
"""Files of a checkpoint → their SHA-256, worked out once for as long as a file stays as it is.

Nano has 33 GB: to read all of it at every start would take longer than to load what is needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.lineage import sha256_file

PARTS = ('transformer', 'vae', 'text_tokenizer')
"""Folders of a checkpoint that the engine reads."""
KINDS = ('.safetensors', '.json', '.txt', '.jinja')
SUMS = 'sums.json'


def cache_folder() -> Path:
    """Where captions, sums and whatever else can be made anew are kept."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'cosmos_flywheel'


def file_sums(checkpoint: Path) -> dict[str, str]:
    """SHA-256 of every file that the engine reads, by path within the checkpoint.

    Raises:
        EngineError: there is none.

    """
    names = list(_names(checkpoint))
    if not names:
        raise EngineError(
            f'{checkpoint}: holds no checkpoint (no {PARTS[0]}/ with safetensors); give the '
            'folder that `flywheel engine pull` made'
        )
    return sums_of(checkpoint, names)


def verify(checkpoint: Path, wanted: Mapping[str, str]) -> None:
    """Compare a checkpoint's files with what a model was fitted with.

    Raises:
        EngineError: one is missing or another.

    """
    missing = [name for name in wanted if not (checkpoint / name).is_file()]
    if missing:
        raise EngineError(f'{checkpoint / missing[0]}: is missing; download the checkpoint again')
    found = sums_of(checkpoint, list(wanted))
    for name, sum_ in wanted.items():
        if found[name] != sum_:
            raise EngineError(
                f'{checkpoint / name}: has SHA-256 {found[name][:12]}…, the model was fitted with '
                f'{sum_[:12]}…; download the revision of then again, or fit anew'
            )


def sums_of(checkpoint: Path, names: list[str]) -> dict[str, str]:
    """SHA-256 of files by path within a folder, from the shelf where they have not changed."""
    shelf = cache_folder() / SUMS
    known = _read(shelf)
    found, fresh = {}, False
    for name in names:
        path = (checkpoint / name).resolve()
        stat = path.stat()
        identity = f'{path}:{stat.st_size}:{stat.st_mtime_ns}'
        if identity not in known:
            known[identity], fresh = sha256_file(path), True
        found[name] = known[identity]
    if fresh:
        _write(shelf, known)
    return found


def _names(checkpoint: Path) -> Iterator[str]:
    for part in PARTS:
        for path in sorted((checkpoint / part).glob('*')):
            if path.suffix in KINDS and path.is_file():
                yield f'{part}/{path.name}'


def _read(shelf: Path) -> dict[str, str]:
    try:
        found = json.loads(shelf.read_text('utf-8'))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(shelf: Path, known: Mapping[str, str]) -> None:
    """Best effort: what cannot be kept is worked out again."""
    partial = shelf.with_name(f'.{shelf.name}.{os.getpid()}')
    with suppress(OSError):
        shelf.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(known))
        os.replace(partial, shelf)
