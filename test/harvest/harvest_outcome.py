# SPDX-License-Identifier: Apache-2.0
"""What a harvest left behind, looked at from outside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.episodes import read_episode


@dataclass(frozen=True)
class Outcome:
    """What one run of the verb left behind."""

    code: int
    said: str
    complained: str
    document: dict[str, Any] | None
    out: Path

    @property
    def bag(self) -> dict[str, Any]:
        """The only bag of the document."""
        assert self.document is not None, self.complained
        (bag,) = self.document['bags']
        return bag

    @property
    def causes(self) -> set[str]:
        return {cause for episode in self.bag['episodes'] for cause in episode['causes']}

    @property
    def notes(self) -> str:
        return '\n'.join(self.bag['notes'])

    @property
    def episodes(self) -> dict[str, Any]:
        """Manifests by id, every file checked against its sha256."""
        return {name: read_episode(self.out / name, verify=True) for name in folders(self.out)}

    @property
    def content_hash(self) -> str:
        with Catalogue.open(self.out) as catalogue:
            return catalogue.content_hash()


def folders(out: Path) -> list[str]:
    """Episode folders; fails if anything half-written is left, under whatever name."""
    if not out.is_dir():
        return []
    strange = [p for p in out.rglob('*') if re.search(r'partial|\.part$|^\..*\.\d+$', p.name)]
    assert not strange
    return sorted(p.name for p in out.iterdir() if re.fullmatch('[0-9a-f]{16}', p.name))


def content(out: Path) -> dict[str, bytes]:
    """Every file of every episode, but for the machine's own story of the run."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for name in folders(out)
        for path in sorted((out / name).rglob('*'))
        if path.is_file() and path.name != 'run.json'
    }
