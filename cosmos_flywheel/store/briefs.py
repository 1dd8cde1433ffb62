# SPDX-License-Identifier: Apache-2.0
"""Turns a brief and its files into a folder, and such a folder back into the brief.

    OUT/BRIEF_ID/  keyframes/  controls/  actions.npz  brief.json

`brief.json` may be edited by hand. An edited brief is another one: it is read under its new id,
with the one that it was among its parents, and `adopt` gives it a folder of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from cosmos_flywheel import schemas
from cosmos_flywheel.core.brief import SCHEMA, Brief
from cosmos_flywheel.core.errors import ConfigError, StoreError
from cosmos_flywheel.core.lineage import sha256_hex
from cosmos_flywheel.store.files import storing
from cosmos_flywheel.store.folders import FolderWriter, Kind, iter_folders, verify_files

BRIEFS = 'briefs'
"""Where they lie in an output folder."""
DOCUMENT = 'brief.json'
BRIEF = Kind('brief', DOCUMENT, SCHEMA, 'run flywheel brief again')
KEYFRAMES, CONTROLS, ACTIONS = 'keyframes', 'controls', 'actions.npz'


def save_brief(out: Path, brief: Brief, files: Mapping[str, bytes]) -> Path:
    """Write a brief with its files; returns its folder, which may have been there already.

    Raises:
        StoreError: another brief lies there, a file that the brief names is not given, or the
            disk is full. Nothing new is visible then.

    """
    whole = replace(brief, files={name: sha256_hex(data) for name, data in sorted(files.items())})
    for name in (*whole.scene.keyframes, *whole.scene.controls.values()):
        if name not in files:
            raise StoreError(f'brief of {brief.origin.id}: {name} is named but not written')
    with FolderWriter(out, whole.id, BRIEF, (KEYFRAMES, CONTROLS)) as writer:
        with storing(writer.folder):
            for name, data in files.items():
                (writer.path / name).write_bytes(data)
        writer.publish(whole.document())
        return writer.folder


def read_brief(folder: Path, *, verify: bool = True) -> Brief:
    """The brief of a folder; an edited one has its new id, and what it was as a parent.

    Args:
        folder: the brief's.
        verify: whether each file is held against its sha256.

    Raises:
        StoreError: the folder holds no brief, or a file is missing or damaged.
        SchemaError: the document does not hold, or is of another version.
        ConfigError: what it orders contradicts itself.

    """
    path = folder / DOCUMENT
    if not path.is_file():
        raise StoreError(f'{folder}: is no brief (no {DOCUMENT}); run: flywheel brief EPISODE')
    document = schemas.load(path, SCHEMA)
    try:
        brief = Brief.from_document(document)
    except (ConfigError, TypeError, ValueError) as error:
        raise ConfigError(f'{path}: {error}; correct it') from error
    if brief.id != document['id']:
        parent = f'brief:{document["id"]}'
        brief = replace(brief, parents=tuple(dict.fromkeys((*brief.parents, parent))))
    if verify:
        verify_files(folder, brief.files, BRIEF)
    return brief


def adopt(folder: Path, out: Path | None = None) -> Path:
    """Give an edited brief, or one from elsewhere, a folder of its own; returns that folder.

    One that lies there under its own id stays as it is. Raises what `read_brief` does, and
    StoreError where the new folder cannot be written.

    Args:
        folder: the brief's.
        out: where its folder is to lie; by default beside the one it lies in.

    """
    brief, out = read_brief(folder), out or folder.parent
    if folder.resolve() == (out / brief.id).resolve():
        return folder
    files = {name: (folder / name).read_bytes() for name in brief.files}
    return save_brief(out, brief, files)


def iter_briefs(out: Path) -> Iterator[Path]:
    """Folders of complete briefs, in the order of their ids."""
    return iter_folders(out, BRIEF)
