# SPDX-License-Identifier: Apache-2.0
"""Turns a generated episode into a candidate folder, and such a folder back into its manifest.

    OUT/candidates/ID/  video.webm  actions.npz  thumbnail.jpg  brief.json  run.json  manifest.json
    OUT/candidates/ID.truth/  what a simulator knows and no validator may see

See `store/folders.py` for how such a folder comes about.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cosmos_flywheel import schemas
from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.store.files import storing, sync, write_document
from cosmos_flywheel.store.folders import (
    FolderWriter,
    Kind,
    is_whole,
    iter_folders,
    require_named,
    verify_files,
)

Manifest = Mapping[str, Any]
"""What `candidate-v1` describes."""

CANDIDATES = 'candidates'
VIDEO, ACTIONS, THUMBNAIL, BRIEF = 'video.webm', 'actions.npz', 'thumbnail.jpg', 'brief.json'
MANIFEST, RUN = 'manifest.json', 'run.json'
SCHEMA = 'candidate-v1'
CANDIDATE = Kind('candidate', MANIFEST, SCHEMA, 'generate it again')


class CandidateWriter(FolderWriter):
    """Builds one candidate folder, whole or not at all."""

    def __init__(self, out: Path, candidate_id: str) -> None:
        super().__init__(out / CANDIDATES, candidate_id, CANDIDATE)

    def finish(
        self,
        manifest: Manifest,
        run: Mapping[str, Any] | None = None,
        truth: Mapping[str, bytes] | None = None,
    ) -> bool:
        """Complete the manifest with sizes and hashes and put the candidate in its place.

        `manifest` names every file that was written into `path`. `run` is what may differ between
        two runs; `truth` comes to lie beside the folder. Returns False if the same candidate was
        there already. Raises StoreError if another one is or a file is missing or not named;
        SchemaError if the manifest does not hold. Nothing new is visible then.
        """
        try:
            with storing(self.folder):
                whole = _with_hashes(self.path, manifest)
                schemas.check(whole, SCHEMA, where=f'{self.folder}/{MANIFEST}')
                if run is not None:
                    write_document(self.path / RUN, run, 'run-v1')
                if truth:
                    _write_truth(truth_folder(self.folder), truth)
            return self.publish(whole)
        finally:
            self.discard()


def truth_folder(candidate: Path) -> Path:
    """Where what only a simulator knows lies: beside the candidate, in no manifest."""
    return candidate.with_name(f'{candidate.name}.truth')


def candidate_folder(out: Path, candidate_id: str) -> Path:
    """Where this candidate lies or will lie."""
    return out / CANDIDATES / candidate_id


def is_made(out: Path, candidate_id: str) -> bool:
    """Whether this candidate lies there, so that it need not be made again."""
    return is_whole(candidate_folder(out, candidate_id), CANDIDATE)


def iter_candidates(out: Path) -> Iterator[Path]:
    """Folders of complete candidates, in the order of their ids."""
    return iter_folders(out / CANDIDATES, CANDIDATE)


def find_candidate(out: Path, begins: str) -> Path:
    """The one candidate whose id begins so; StoreError if there is none, or more than one."""
    found = [folder for folder in iter_candidates(out) if folder.name.startswith(begins)]
    if len(found) != 1 or not begins:
        how_many = f'{len(found)} candidates begin' if found else 'no candidate begins'
        raise StoreError(
            f'{out}: {how_many} with {begins!r}; see `flywheel candidates list {out}`'
        )
    return found[0]


def read_candidate(folder: Path, *, verify: bool = False) -> Manifest:
    """The checked manifest of a candidate; `verify` also compares each file with its sha256.

    Raises StoreError if the folder is no complete candidate or a file is missing or damaged,
    SchemaError if the manifest does not hold.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise StoreError(f'{folder}: is no complete candidate (no {MANIFEST}); generate again')
    manifest = schemas.load(path, SCHEMA)
    if verify:
        stated = {str(entry['file']): str(entry['sha256']) for entry in _named(manifest)}
        verify_files(folder, stated, CANDIDATE)
    return manifest


def read_run(folder: Path) -> Mapping[str, Any]:
    """What it cost and when it was made; empty where nobody noted it."""
    path = folder / RUN
    return schemas.load(path, 'run-v1') if path.is_file() else {}


def _named(manifest: Manifest) -> list[dict[str, Any]]:
    """Copies of the manifest's entries that name a file: video, actions, brief, others."""
    actions = manifest['actions']
    found = [manifest['video'], manifest['brief'], *([actions] if actions else [])]
    return [dict(entry) for entry in (*found, *manifest['files'])]


def _with_hashes(folder: Path, manifest: Manifest) -> dict[str, Any]:
    require_named(folder, {str(entry['file']) for entry in _named(manifest)}, CANDIDATE)

    def hashed(entry: Mapping[str, Any]) -> dict[str, Any]:
        return {**entry, 'sha256': sha256_file(folder / entry['file'])}

    video, actions = hashed(manifest['video']), manifest['actions']
    video['bytes'] = (folder / video['file']).stat().st_size
    return {
        **manifest,
        'video': video,
        'brief': hashed(manifest['brief']),
        'actions': actions and hashed(actions),
        'files': [hashed(entry) for entry in manifest['files']],
    }


def _write_truth(folder: Path, truth: Mapping[str, bytes]) -> None:
    """Whole or not at all; what is there already was made by the same order and stays."""
    if folder.exists():
        return
    with tempfile.TemporaryDirectory(prefix='.truth-', dir=folder.parent) as aside:
        made = Path(aside) / folder.name
        made.mkdir()
        for name, data in truth.items():
            (made / name).write_bytes(data)
            sync(made / name)
        try:
            os.rename(made, folder)
        except OSError:
            if not folder.exists():
                raise
