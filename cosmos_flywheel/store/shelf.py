# SPDX-License-Identifier: Apache-2.0
"""The episodes of one folder, read once each and looked for again now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

from cosmos_flywheel.core.errors import FlywheelError
from cosmos_flywheel.store.episodes import Manifest, iter_episodes, read_episode

AGAIN_S = 2.0
"""The folder is looked through no more often."""
VIDEOS = ('.mp4', '.webm')
PICTURES = ('.jpg', '.jpeg', '.png')


class Shelf:
    """Manifests by id; what cannot be read is left out. May be used from any thread."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._known: dict[str, Manifest | None] = {}
        self._looked_s = -AGAIN_S

    def manifests(self) -> Mapping[str, Manifest]:
        """Those of all complete episodes."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._looked_s >= AGAIN_S:
                self._look()
                self._looked_s = now_s
            return {name: m for name, m in self._known.items() if m is not None}

    def file(self, episode_id: str, what: str) -> Path | None:
        """The `thumbnail`, `strip` or `video` of an episode; None where there is none.

        The id is only looked up, never made part of a path; a manifest that names files outside
        its folder is not believed.
        """
        manifest = self.manifests().get(episode_id)
        name = None if manifest is None else file_of(manifest, what)
        if manifest is None or name is None:
            return None
        folder = (self._out / str(manifest['id'])).resolve()
        path = (folder / name).resolve()
        return path if path.is_relative_to(folder) and path.is_file() else None

    def _look(self) -> None:
        known: dict[str, Manifest | None] = {}
        try:
            folders = list(iter_episodes(self._out))
        except FlywheelError:
            return  # unreadable for the moment: what was known stays
        for folder in folders:
            if folder.name in self._known:
                known[folder.name] = self._known[folder.name]
                continue
            try:
                manifest = read_episode(folder)
            except FlywheelError:
                manifest = {}
            known[folder.name] = manifest if manifest.get('id') == folder.name else None
        self._known = known


def file_of(manifest: Manifest, what: str) -> str | None:
    """The name of an episode's `thumbnail`, `strip` or `video`; None where there is none."""
    if what == 'thumbnail':
        return str(manifest['thumbnail']['file']) if manifest['thumbnail'] else None
    kinds = {'strip': PICTURES, 'video': VIDEOS}
    for entry in manifest['evidence']:
        name = str(entry['file'])
        if what in kinds and name.lower().endswith(kinds[what]):
            return name
    return None
