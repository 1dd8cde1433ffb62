# SPDX-License-Identifier: Apache-2.0
"""Candidates side by side → a page on which their films play, those of a failure together."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from cosmos_flywheel.generate.page import render_page
from cosmos_flywheel.generate.sheet import by_failure, words
from cosmos_flywheel.store.briefs import read_brief
from cosmos_flywheel.store.candidates import VIDEO, read_candidate


def sheet_page(folders: Sequence[Path]) -> str:
    """HTML that needs nothing else: films are in it; whatever briefs quote is escaped.

    Raises:
        StoreError, SchemaError: a candidate cannot be read.

    """
    shown = [_shown(folder) for folder in by_failure(folders)]
    groups = [list(some) for _, some in groupby(shown, key=lambda one: one['episode'])]
    return render_page('candidates.html.j2', groups=groups)


def _shown(folder: Path) -> dict[str, Any]:
    manifest, failure = read_candidate(folder), read_brief(folder, verify=False).failure
    actions, variation = manifest['actions'], manifest['variation']
    height, width = manifest['video']['size']
    return {
        'id': manifest['id'],
        'episode': manifest['episode'],
        'failure': ', '.join(w for w in (words(failure.cause), failure.object) if w),
        'family': words(variation['family']),
        'cell': ', '.join(f'{axis} {words(value)}' for axis, value in variation['cell'].items()),
        'by': f'{manifest["backend"]} ({manifest["kind"]})',
        'commands': f'{actions["source"] if actions else "no"} commands',
        'seed': manifest['seed'],
        'onset_s': manifest['onset_s'],
        'notes': manifest['notes'],
        'width': width,
        'height': height,
        'film': base64.b64encode((folder / VIDEO).read_bytes()).decode('ascii'),
    }
