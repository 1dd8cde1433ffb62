# SPDX-License-Identifier: Apache-2.0
"""Turns a captured stretch into an episode folder, and such a folder back into its manifest.

    OUT/EPISODE_ID/  clip.mcap  thumbnail.jpg  evidence/  run.json  labels.jsonl  manifest.json

See `store/folders.py` for how such a folder comes about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cosmos_flywheel import schemas
from cosmos_flywheel.core.errors import SchemaError, StoreError
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.store.files import storing, write_document
from cosmos_flywheel.store.folders import (
    FolderWriter,
    Kind,
    is_whole,
    iter_folders,
    require_named,
    verify_files,
)
from cosmos_flywheel.store.labels import Label, append_label

Manifest = Mapping[str, Any]
"""What `episode-v1` describes."""

CLIP = 'clip.mcap'
THUMBNAIL = 'thumbnail.jpg'
EVIDENCE = 'evidence'
STRIP_NUMBERS = f'{EVIDENCE}/strip.npz'
MANIFEST = 'manifest.json'
RUN = 'run.json'
SCHEMA = 'episode-v1'
EPISODE = Kind('episode', MANIFEST, SCHEMA, 'harvest again')


class EpisodeWriter(FolderWriter):
    """Builds one episode folder, whole or not at all; its `evidence/` is there already."""

    def __init__(self, out: Path, episode_id: str) -> None:
        super().__init__(out, episode_id, EPISODE, (EVIDENCE,))

    def finish(
        self,
        manifest: Manifest,
        run: Mapping[str, Any] | None = None,
        labels: Sequence[Label] = (),
    ) -> bool:
        """Complete the manifest with sizes and hashes and put the episode in its place.

        `manifest` names its files (`clip.file`, `thumbnail.file`, `evidence[].file`); hashes and
        the clip's size are filled in. `labels` are those that an episode from elsewhere brings.
        Returns False if the same episode was there already. Raises StoreError if another one is,
        if a named file is missing or a written one is not named, and if the disk is full;
        SchemaError if the manifest does not hold. In all these cases nothing new is visible.
        """
        try:
            with storing(self.folder):
                whole = _with_hashes(self.path, manifest)
                check_manifest(whole, where=f'{self.folder}/{MANIFEST}')
                if run is not None:
                    write_document(self.path / RUN, run, 'run-v1')
                for label in labels:
                    append_label(self.path, label)
            return self.publish(whole)
        finally:
            self.discard()


def is_complete(out: Path, episode_id: str) -> bool:
    """Whether this episode lies there, so that it need not be written again."""
    return is_whole(out / episode_id, EPISODE)


def iter_episodes(out: Path) -> Iterator[Path]:
    """Folders of complete episodes, in the order of their ids."""
    return iter_folders(out, EPISODE)


def check_manifest(manifest: Manifest, *, where: str) -> None:
    """Raise SchemaError unless the manifest holds by its schema and its window is in order."""
    schemas.check(manifest, SCHEMA, where=where)
    window = manifest['window']
    if not window['start_ns'] <= window['onset_ns'] <= window['end_ns']:
        raise SchemaError(f'{where}: window is not in the order start, onset, end; correct it')


def read_episode(folder: Path, *, verify: bool = False) -> Manifest:
    """The checked manifest of an episode; `verify` also compares each file with its sha256.

    Raises StoreError if the folder is no complete episode or a file is missing or damaged,
    SchemaError if the manifest does not hold.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise StoreError(f'{folder}: is no complete episode (no {MANIFEST}); harvest again')
    manifest = schemas.read_document(path)
    check_manifest(manifest, where=str(path))
    if verify:
        stated = {str(entry['file']): str(entry['sha256']) for entry in files_named(manifest)}
        verify_files(folder, stated, EPISODE)
    return manifest


def files_named(manifest: Manifest) -> list[dict[str, Any]]:
    """Copies of the manifest's entries that name a file: clip, evidence, thumbnail."""
    thumbnail = manifest['thumbnail']
    found = [manifest['clip'], *manifest['evidence'], *([thumbnail] if thumbnail else [])]
    return [dict(entry) for entry in found]


def _with_hashes(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """The manifest with the sha256 of each file that it names, all of which are there."""
    try:
        entries = files_named(manifest)
        names = {str(entry['file']) for entry in entries}
    except (KeyError, TypeError) as error:
        raise StoreError(f'{folder.name}: the manifest names no files ({error})') from error
    require_named(folder, names, EPISODE)
    for entry in entries:
        entry['sha256'] = sha256_file(folder / entry['file'])
    clip, *rest = entries
    clip['bytes'] = (folder / clip['file']).stat().st_size
    thumbnail = rest.pop() if manifest['thumbnail'] else None
    return {**manifest, 'clip': clip, 'evidence': rest, 'thumbnail': thumbnail}
