# SPDX-License-Identifier: Apache-2.0
"""One commit of a model on the hub → a checkpoint's files on disk, each of them verified.

Only what the engine reads is fetched: safetensors, configs and the tokenizer, never pickles. A
file that was cut off is resumed; one whose SHA-256 (or, for small files, git's own hash) is not
what the hub says is removed again. Nothing is fetched unless somebody asks for it by name and
commit.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.engines.cosmos.errors import CheckpointError
from cosmos_flywheel.engines.cosmos.model import COMMIT
from cosmos_flywheel.engines.cosmos.sums import KINDS, PARTS
from cosmos_flywheel.engines.cosmos.terms import read_head, stated_licence

REPO = re.compile(r'[\w.-]+/[\w.-]+')
SHA256 = re.compile(r'[0-9a-f]{64}')
PULLED = 'pulled.json'
"""What was fetched, written last."""
CARD = 'README.md'
TRIES = 3
"""How often a file that is cut off is resumed before it is given up."""
Tell = Callable[[str, int, int], None]
"""Told a file's name, the bytes that are done, and those of all files."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a commit."""

    name: str
    size: int
    sha256: str
    """Of a large file; '' for a small one, which has `blob`."""
    blob: str
    """SHA-1 of git's object of a small file."""

    def is_sound(self, path: Path) -> bool:
        """Whether a file on disk is this one."""
        if path.stat().st_size != self.size:
            return False
        if self.sha256:
            return sha256_file(path) == self.sha256
        data = path.read_bytes()
        return hashlib.sha1(b'blob %d\0' % len(data) + data).hexdigest() == self.blob


def pull(
    repo: str, commit: str, folder: Path, tell: Tell | None = None, endpoint: str | None = None
) -> list[HubFile]:
    """Fetch a checkpoint, or what is missing of it.

    Args:
        repo: owner/name.
        commit: 40 hex digits; a branch may move.
        folder: where the files go; best named by the commit.
        tell: told how far it is.
        endpoint: of the hub; by default the library's own, HF_ENDPOINT.

    Returns:
        The files, all of them verified.

    Raises:
        EngineError: the names are none, the hub or the network says no, the disk is too small, or
            a file arrives otherwise than the hub says.

    """
    if not REPO.fullmatch(repo):
        raise EngineError(f'{repo!r} is no model of the hub; give OWNER/NAME')
    if not COMMIT.fullmatch(commit):
        raise EngineError(
            f'revision {commit!r} is not a commit of 40 hex digits; a branch may move. The hub '
            'shows it under "Files and versions"'
        )
    hub = _library()
    if hub.constants.HF_HUB_OFFLINE:
        raise EngineError(
            f'{repo}: nothing can be fetched while HF_HUB_OFFLINE is set; unset it, or copy the '
            f'checkpoint to {folder} by other means'
        )
    info = _asked(hub, repo, commit, endpoint)
    files = _listed(info, repo, commit)
    _require_room(files, folder)
    whole, done = sum(file.size for file in files), 0
    for file in files:
        if tell is not None:
            tell(file.name, done, whole)
        _fetch(hub, repo, commit, file, folder, endpoint)
        done += file.size
    head = info.card_data.to_dict() if info.card_data else {}
    _note(repo, commit, stated_licence(head), files, folder)
    return files


def find_checkpoint(given: str, cache: Path | None = None) -> Path:
    """The folder of a checkpoint that is on this disk; nothing is fetched, nothing asked.

    Args:
        given: a folder, or OWNER/NAME or OWNER/NAME@COMMIT of the hub's cache.
        cache: that cache; by default where the hub's library keeps it.

    Raises:
        EngineError: it is not there, or it lies there at several commits.

    """
    if Path(given).is_dir():
        return Path(given)
    repo, _, commit = given.partition('@')
    if not REPO.fullmatch(repo):
        raise EngineError(
            f'{given}: no such folder; give the one that `flywheel engine pull` made'
        )
    kept = (cache or _cache()) / f'models--{repo.replace("/", "--")}'
    main = kept / 'refs' / 'main'
    if not commit and main.is_file():
        commit = main.read_text('utf-8').strip()
    found = [p for p in sorted((kept / 'snapshots').glob('*')) if not commit or p.name == commit]
    if len(found) == 1:
        return found[0]
    if found:
        names = ', '.join(p.name[:12] for p in found)
        raise EngineError(f'{repo}: several commits are in the cache ({names}…); give @COMMIT')
    there = sorted(p.name for p in (kept / 'snapshots').glob('*'))
    other = f' at this commit (there: {", ".join(there)})' if there else ''
    raise EngineError(
        f'{given}: there is no such folder, and no such model in the cache of the hub '
        f'({kept}){other}; nothing is fetched here: run `flywheel engine pull` and give its folder'
    )


def check_pulled(checkpoint: Path, sums: Mapping[str, str]) -> None:
    """Compare a checkpoint's files with what was pulled, where that is known.

    `flywheel engine pull` notes it; the hub's cache names large files by their SHA-256.

    Args:
        checkpoint: its folder, named by its commit.
        sums: SHA-256 of its files, by path within it.

    Raises:
        CheckpointError: a file is missing, or another than was pulled; or the folder bears the
            name of another commit.

    """
    for name, found in sums.items():
        kept = (checkpoint / name).resolve().name
        if SHA256.fullmatch(kept) and kept != found:
            raise CheckpointError(_another(checkpoint / name, found, kept))
    try:
        pulled = json.loads((checkpoint / PULLED).read_text('utf-8'))
        known, commit = pulled['files'], pulled.get('commit', '')
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    if commit not in ('', checkpoint.resolve().name):
        raise CheckpointError(
            f'{checkpoint}: commit {commit} was pulled into it, and that is not its name; rename '
            'it, or pull the one that is meant'
        )
    for name, file in known.items():
        if name not in sums:
            raise CheckpointError(f'{checkpoint / name}: is missing; pull the checkpoint again')
        if file['sha256'] and file['sha256'] != sums[name]:
            raise CheckpointError(_another(checkpoint / name, sums[name], file['sha256']))


def repo_of(checkpoint: Path) -> str:
    """OWNER/NAME of a checkpoint as it was fetched; '' where nothing says so."""
    try:
        return str(json.loads((checkpoint / PULLED).read_text('utf-8'))['repo'])
    except (OSError, ValueError, KeyError, TypeError):
        kept = checkpoint.resolve().parent.parent.name
        return kept.removeprefix('models--').replace('--', '/') if '--' in kept else ''


def _another(path: Path, found: str, pulled: str) -> str:
    return (
        f'{path}: has SHA-256 {found[:12]}…, {pulled[:12]}… was pulled; delete it and pull again'
    )


def licence_of(checkpoint: Path) -> str | None:
    """What its card states: as noted when it was fetched, or as it lies in the hub's cache."""
    try:
        noted = json.loads((checkpoint / PULLED).read_text('utf-8'))['licence']
    except (OSError, ValueError, KeyError, TypeError):
        return stated_licence(read_head(checkpoint / CARD))
    return str(noted) if noted else None


def _cache() -> Path:
    """As the hub's library says."""
    named = os.environ.get('HF_HUB_CACHE')
    home = os.environ.get('HF_HOME') or Path.home() / '.cache' / 'huggingface'
    return Path(named) if named else Path(home) / 'hub'


def _asked(hub: Any, repo: str, commit: str, endpoint: str | None) -> Any:
    """What the hub says of a commit."""
    with _words(hub, repo, commit):
        info = hub.HfApi(endpoint).model_info(repo, revision=commit, files_metadata=True)
    if info.sha != commit:
        raise EngineError(f'{repo}: the hub answers with commit {info.sha}, not {commit}')
    return info


def _listed(info: Any, repo: str, commit: str) -> list[HubFile]:
    """The files of a commit that the engine reads."""
    files = []
    for entry in info.siblings or []:
        path = Path(entry.rfilename)
        if len(path.parts) == 2 and path.parts[0] in PARTS and path.suffix in KINDS:
            large = entry.lfs
            files.append(
                HubFile(
                    entry.rfilename,
                    int(entry.size or 0),
                    large.sha256 if large else '',
                    entry.blob_id or '',
                )
            )
    parts = {file.name.split('/')[0] for file in files if file.name.endswith('.safetensors')}
    missing = [part for part in PARTS[:2] if part not in parts]
    if missing:
        raise EngineError(
            f'{repo} at {commit[:12]}…: has no safetensors in {missing[0]}/; other files can run '
            'code when they are opened and are not fetched. Is it a model of Cosmos 3?'
        )
    return files


def _require_room(files: list[HubFile], folder: Path) -> None:
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    missing = sum(f.size for f in files if not (folder / f.name).is_file())
    free = shutil.disk_usage(there).free
    if missing > free:
        raise EngineError(
            f'{folder}: {missing / 1e9:.1f} GB are missing and {free / 1e9:.1f} GB are free; give '
            '--out on a larger disk'
        )


def _fetch(
    hub: Any, repo: str, commit: str, file: HubFile, folder: Path, endpoint: str | None
) -> None:
    path = folder / file.name
    for attempt in range(TRIES):
        try:
            with _words(hub, repo, commit):
                hub.hf_hub_download(
                    repo, file.name, revision=commit, local_dir=folder, endpoint=endpoint
                )
            break
        except EngineError:
            if attempt + 1 == TRIES:
                raise
    if not file.is_sound(path):
        path.unlink()
        raise EngineError(
            f'{path}: arrived otherwise than the hub says ({file.sha256 or file.blob}), and was '
            'removed; pull again'
        )


def _note(repo: str, commit: str, licence: str | None, files: list[HubFile], folder: Path) -> None:
    content = {
        'repo': repo,
        'commit': commit,
        'licence': licence,
        'files': {f.name: {'size': f.size, 'sha256': f.sha256 or None} for f in files},
    }
    (folder / PULLED).write_text(json.dumps(content, indent=2, sort_keys=True) + '\n')


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise EngineError(
            'fetching needs huggingface_hub: `pip install huggingface_hub` (extra [cosmos])'
        ) from error
    return huggingface_hub


@contextmanager
def _words(hub: Any, repo: str, commit: str) -> Iterator[None]:
    """Turn what the hub's library says into words with a remedy."""
    errors = hub.errors
    try:
        yield
    except errors.GatedRepoError as error:
        raise EngineError(
            f'{repo}: its licence must be accepted on the hub first; then set HF_TOKEN'
        ) from error
    except errors.RevisionNotFoundError as error:
        raise EngineError(f'{repo}: has no commit {commit}; see the hub') from error
    except errors.RepositoryNotFoundError as error:
        raise EngineError(
            f'{repo}: is not on the hub, or not for you; see its name, and set HF_TOKEN if it is '
            'private'
        ) from error
    except Exception as error:  # the library lets through those of its own HTTP client
        raise EngineError(
            f'{repo}: cannot be fetched ({type(error).__name__}: {str(error)[:200]}); what has '
            'come is kept, pull again'
        ) from error
