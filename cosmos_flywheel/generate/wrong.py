# SPDX-License-Identifier: Apache-2.0
"""Good candidates → candidates that are wrong in a known way, to see who rejects them.

Each keeps the manifest of the good one but for the hashes of what was changed: nothing beside the
film and the commands gives it away. They are written aside, never among the candidates.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.lineage import ID_DIGITS, sha256_hex
from cosmos_flywheel.generate.make import brief_of
from cosmos_flywheel.store.candidates import (
    ACTIONS,
    VIDEO,
    CandidateWriter,
    candidate_folder,
    read_candidate,
)
from cosmos_flywheel.video.decode import decode_video
from cosmos_flywheel.video.encode import encode_webm

Frames = NDArray[np.uint8]
Numbers = NDArray[np.float64]

PATCH = 0.25
"""Of each side of the picture: what vanishes with its surroundings."""
INPAINT_PX = 3
BEYOND = 0.5
"""Of its range: so far beyond its bound a command goes."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a candidate shows and commands."""

    frames: Frames
    """(T, H, W, 3)."""
    commands: Numbers | None
    """(T − 1, A)."""
    brief: Brief
    fps: float


@dataclass(frozen=True, slots=True)
class Way:
    """One way to be wrong."""

    what: str
    make: Callable[[Shown, Shown, np.random.Generator], Shown | None]
    """Of a good candidate, another one, and chance; None where it cannot be made wrong so."""


def read_shown(folder: Path) -> Shown:
    """A candidate's film and commands; raises what `read_candidate` does, and PictureError."""
    manifest = read_candidate(folder)
    _, frames = decode_video((folder / VIDEO).read_bytes())
    commands = None
    if manifest['actions'] is not None:
        with np.load(folder / ACTIONS) as arrays:
            commands = np.asarray(arrays['robot'], np.float64)
    return Shown(np.stack(frames), commands, brief_of(folder), float(manifest['video']['fps']))


def write_wrong(out: Path, good: Path, way: str, shown: Shown) -> Path:
    """A candidate folder that shows this instead of what the good one does."""
    manifest = dict(read_candidate(good))
    identity = sha256_hex(f'{manifest["id"]} {way}'.encode())[:ID_DIGITS]
    manifest |= {'id': identity, 'video': _bare(manifest['video'])}
    manifest['brief'] = _bare(manifest['brief'])
    manifest['files'] = [_bare(entry) for entry in manifest['files']]
    with CandidateWriter(out, identity) as writer:
        for entry in (manifest['brief'], *manifest['files']):
            shutil.copyfile(good / entry['file'], writer.path / entry['file'])
        (writer.path / VIDEO).write_bytes(encode_webm(list(shown.frames), shown.fps))
        if shown.commands is not None:
            manifest['actions'] = {**_bare(manifest['actions']), 'has_model_units': False}
            (writer.path / ACTIONS).write_bytes(_packed(shown.commands))
        writer.finish(manifest)
    return candidate_folder(out, identity)


def _shuffled(good: Shown, _: Shown, chance: np.random.Generator) -> Shown:
    return replace(good, frames=good.frames[chance.permutation(len(good.frames))])


def _backwards(good: Shown, _: Shown, __: np.random.Generator) -> Shown:
    return replace(good, frames=good.frames[::-1])


def _mirrored(good: Shown, _: Shown, __: np.random.Generator) -> Shown:
    return replace(good, frames=np.ascontiguousarray(good.frames[:, :, ::-1]))


def _frozen(good: Shown, _: Shown, __: np.random.Generator) -> Shown:
    frames = good.frames.copy()
    frames[len(frames) // 3 :] = frames[len(frames) // 3]
    return replace(good, frames=frames)


def _cut_short(good: Shown, _: Shown, __: np.random.Generator) -> Shown:
    return replace(good, frames=good.frames[: max(1, 2 * len(good.frames) // 3)])


def _vanished(good: Shown, _: Shown, __: np.random.Generator) -> Shown:
    """Where most happens, nothing is to be seen any more from the middle on."""
    frames = good.frames.copy()
    height, width = frames.shape[1:3]
    change = frames.astype(np.float32).std(0).mean(2)
    box = round(PATCH * height), round(PATCH * width)
    sums = cv2.boxFilter(change, -1, box[::-1], normalize=False, borderType=cv2.BORDER_CONSTANT)
    rows, columns = box[0] // 2, box[1] // 2
    inner = sums[rows : height - rows, columns : width - columns]
    top, left = np.unravel_index(int(inner.argmax()), inner.shape)
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + box[0], left : left + box[1]] = 255
    for step in range(len(frames) // 2, len(frames)):
        frames[step] = cv2.inpaint(frames[step], mask, INPAINT_PX, cv2.INPAINT_TELEA)
    return replace(good, frames=frames)


def _outside(good: Shown, _: Shown, chance: np.random.Generator) -> Shown | None:
    """One command leaves its bound, slowly enough for its speed."""
    envelope, commands = good.brief.envelope, good.commands
    if envelope is None or commands is None:
        return None
    low, high = np.asarray(envelope.low), np.asarray(envelope.high)
    at = int(chance.integers(len(low)))
    reach = high[at] + BEYOND * (high[at] - low[at]) - commands[:, at]
    path = commands.copy()
    path[:, at] += np.linspace(0, 1, len(path)) ** 2 * reach
    return replace(good, commands=path)


def _jerked(good: Shown, _: Shown, chance: np.random.Generator) -> Shown | None:
    """From the middle on one command is elsewhere within its bounds, at once."""
    envelope, commands = good.brief.envelope, good.commands
    if envelope is None or commands is None:
        return None
    low, high = np.asarray(envelope.low), np.asarray(envelope.high)
    at, middle = int(chance.integers(len(low))), len(commands) // 2
    path = commands.copy()
    is_low = path[middle, at] < (low[at] + high[at]) / 2
    path[middle:, at] = high[at] if is_low else low[at]
    return replace(good, commands=path)


def _swapped(good: Shown, other: Shown, _: np.random.Generator) -> Shown | None:
    """The commands of another episode; where there is none, of another moment of this one."""
    commands = good.commands
    if commands is None or other.commands is None:
        return None
    path = np.resize(other.commands, commands.shape)
    if other is good:
        path = np.roll(commands, len(commands) // 2, 0)
    return replace(good, commands=path)


WAYS: Mapping[str, Way] = {
    'shuffled': Way('the frames come in a random order', _shuffled),
    'backwards': Way('the film runs backwards, the commands forwards', _backwards),
    'mirrored': Way('left and right of the picture are swapped', _mirrored),
    'frozen': Way('after a third the picture stands still while commands go on', _frozen),
    'vanished': Way('from the middle on, what moves is painted over', _vanished),
    'cut_short': Way('the last third of the film is missing', _cut_short),
    'outside': Way('a command goes beyond its bound, slowly', _outside),
    'jerked': Way('a command jumps to its other bound at once', _jerked),
    'swapped': Way('the commands are those of another episode or moment', _swapped),
}
"""By name."""


def make_wrong(out: Path, good: Sequence[Path], number: int, way: str) -> Path | None:
    """One of the good candidates made wrong; None where it cannot be wrong in this way.

    Args:
        out: where its folder goes.
        good: candidates; one of another episode lends its commands.
        number: which of them.
        way: one of `WAYS`.

    Raises:
        StoreError, SchemaError, PictureError: a candidate cannot be read, or nothing be written.

    """
    shown = read_shown(good[number])
    episodes = [read_candidate(folder)['episode'] for folder in good]
    strange = [one for one, name in zip(good, episodes, strict=True) if name != episodes[number]]
    other = read_shown(strange[number % len(strange)]) if strange else shown
    chance = np.random.default_rng([number, sorted(WAYS).index(way)])
    made = WAYS[way].make(shown, other, chance)
    return None if made is None else write_wrong(out, good[number], way, made)


def _bare(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ('sha256', 'bytes')}


def _packed(commands: Numbers) -> bytes:
    buffer = BytesIO()
    np.savez_compressed(buffer, robot=commands)
    return buffer.getvalue()
