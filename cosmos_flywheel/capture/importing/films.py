# SPDX-License-Identifier: Apache-2.0
"""A folder of films with captions as an origin: pictures only, a bag for each film."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from cosmos_flywheel.capture.importing.message import PICTURE_LATE_NS, Message, start_ns
from cosmos_flywheel.capture.importing.origin import Item, Origin, Told
from cosmos_flywheel.core.errors import PictureError, SourceError
from cosmos_flywheel.sim.messages import COMPRESSED_IMAGE, compressed_image
from cosmos_flywheel.video.decode import film_head, film_pictures

FILMS = ('.mp4', '.webm', '.mkv', '.mov', '.avi')
CAPTIONS = ('.txt', '.json')
BESIDE = ('metas', 'captions')
"""Folders beside that of the films where captions may lie, as in NVIDIA's post-training sets."""
KEYS = ('caption', 'prompt', 'text', 'description')
"""Where a JSON caption has its text."""
TOPIC = '/camera/film/compressed'
LONGEST_BYTES = 1 << 20
LONGEST_CHARACTERS = 20_000


def has_films(root: Path) -> bool:
    """Whether a folder holds a film, however deep."""
    return next(_films(root), None) is not None


def films_origin(root: Path) -> Origin:
    """Every film under a folder, by name.

    Raises:
        SourceError: there is none, or a caption is damaged.
        PictureError: a film's head is damaged.

    """
    films = sorted(_films(root), key=lambda path: path.relative_to(root).as_posix())
    if not films:
        raise SourceError(f'{root}: holds no film ({", ".join(FILMS)}); give a folder of films')
    captions = {path: _caption_file(root, path) for path in films}
    bare = sum(caption is None for caption in captions.values())
    return Origin(
        root=root,
        kind='films',
        items=tuple(_item(root, index, path, captions[path]) for index, path in enumerate(films)),
        identity='films',
        topics={'film': {'topic': TOPIC, 'names': ()}},
        notes=(f'{bare} of {len(films)} films have no caption',) if bare else (),
    )


def _films(root: Path) -> Iterator[Path]:
    for path in root.rglob('*'):
        if path.suffix.lower() in FILMS and not path.name.startswith('.') and path.is_file():
            yield path


def _item(root: Path, index: int, path: Path, caption: Path | None) -> Item:
    head = film_head(path)
    files = [path.relative_to(root).as_posix()]
    if caption is not None:
        files.append(caption.relative_to(root).as_posix())
    return Item(
        name=_name(root, path),
        index=index,
        files=tuple(files),
        tasks=() if caption is None else _text(caption),
        seconds=head.seconds,
        rows=None,
        messages=partial(_messages, path, index),
        fps=head.fps or None,
    )


def _name(root: Path, path: Path) -> str:
    """Of the bag: the film's path without its suffix, in letters, digits, dots and dashes."""
    parts = path.relative_to(root).with_suffix('').parts
    text = '__'.join(part for part in parts if part != 'videos')
    return re.sub(r'[^\w.-]|^[.-]', '_', text, flags=re.ASCII)


def _messages(path: Path, index: int, told: Told) -> Iterator[Message]:
    begin_ns, last_ns = start_ns(index), -1
    with closing(film_pictures(path)) as pictures:
        for time_s, picture in pictures:
            stamp_ns = begin_ns + round(time_s * 1e9)
            if stamp_ns <= last_ns:
                raise PictureError(
                    f'{path}: its times do not increase at {time_s:.3f} s; encode it again'
                )
            last_ns = stamp_ns
            content = compressed_image(stamp_ns, picture)
            yield Message(TOPIC, COMPRESSED_IMAGE, stamp_ns + PICTURE_LATE_NS, content)
            told(time_s)
    if last_ns < 0:
        raise PictureError(f'{path}: holds no picture; fetch or encode it again')


def _caption_file(root: Path, path: Path) -> Path | None:
    """Beside the film, or in a folder beside its own."""
    folders = [path.parent]
    if path.parent != root:
        folders += [path.parent.parent / name for name in BESIDE]
    asked = (folder / f'{path.stem}{suffix}' for folder in folders for suffix in CAPTIONS)
    return next((found for found in asked if found.is_file()), None)


def _text(path: Path) -> tuple[str, ...]:
    """The caption; empty where the file says nothing."""
    try:
        if path.stat().st_size > LONGEST_BYTES:
            raise SourceError(f'{path}: is too large for a caption; give one film its own file')
        text = path.read_text('utf-8')
        if path.suffix == '.json':
            text = _said(json.loads(text), path)
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f'{path}: cannot be read ({error}); correct the caption') from error
    text = ' '.join(text.split())[:LONGEST_CHARACTERS]
    return (text,) if text else ()


def _said(document: Any, path: Path) -> str:
    """A text, or the first of `KEYS` in a mapping; a structured prompt is kept as its JSON."""
    if isinstance(document, str):
        return document
    if isinstance(document, dict):
        for key in KEYS:
            if isinstance(document.get(key), str):
                return str(document[key])
        if document:
            return json.dumps(document, sort_keys=True)
    raise SourceError(f'{path}: holds no caption; give a text, or one of {", ".join(KEYS)}')
