# SPDX-License-Identifier: Apache-2.0
"""Rules that reject a candidate by what lies in its folder; validators are rules too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cosmos_flywheel.core.envelope import Violation
from cosmos_flywheel.core.errors import PictureError, SchemaError, StoreError
from cosmos_flywheel.generate.make import brief_of
from cosmos_flywheel.store.candidates import ACTIONS, VIDEO, read_candidate
from cosmos_flywheel.video.decode import decode_video


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule."""

    name: str
    what: str
    """What it looks at, in a sentence."""
    catches: tuple[str, ...]
    """Names of the ways to be wrong that it is meant for; see `generate/wrong.py`."""
    judge: Callable[[Path], str]
    """Of a candidate's folder: why it is rejected; '' if it is not."""


def rejected_by(rules: Sequence[Rule], folder: Path) -> dict[str, str]:
    """Reason by name of every rule that rejects a candidate; what cannot be read is rejected.

    Raises:
        FlywheelError: a rule cannot be applied at all.

    """
    found: dict[str, str] = {}
    for rule in rules:
        try:
            reason = rule.judge(folder)
        except (StoreError, SchemaError, PictureError) as error:
            reason = str(error)
        if reason:
            found[rule.name] = reason
    return found


def whole(folder: Path) -> str:
    """Every file is the one that the manifest names, and film and commands are of one length."""
    manifest = read_candidate(folder, verify=True)
    _, frames = decode_video((folder / VIDEO).read_bytes())
    stated = manifest['video']['frames']
    if len(frames) != stated:
        return f'the film has {len(frames)} frames, the manifest says {stated}'
    commands = _commands(folder)
    if commands is not None and len(commands) != len(frames) - 1:
        return f'{len(commands)} commands do not join {len(frames)} frames'
    return ''


def bounds(folder: Path) -> str:
    """Every command lies within the envelope of the brief."""
    return _first(folder, ('low', 'high'))


def motion(folder: Path) -> str:
    """No command moves or turns faster than the envelope of the brief lets it."""
    return _first(folder, ('speed', 'acceleration'))


TODAY = (
    Rule('whole', 'files, their hashes, and as many commands as frames', ('cut_short',), whole),
    Rule('bounds', "commands against the brief's lowest and highest", ('outside',), bounds),
    Rule('motion', "speed and acceleration of commands against the brief's", ('jerked',), motion),
)
"""Rules that need nothing but the folder."""


def _first(folder: Path, limits: tuple[str, ...]) -> str:
    """The first bound of these kinds that the commands leave, in words."""
    found = [one for one in _violations(folder) if one.limit in limits]
    return str(found[0]) if found else ''


def _violations(folder: Path) -> tuple[Violation, ...]:
    commands, envelope = _commands(folder), brief_of(folder).envelope
    if commands is None or envelope is None:
        return ()
    said = read_candidate(folder)['actions']
    envelope = replace(envelope, hz=float(said['hz']))
    return envelope.violations(commands, recorded=said['source'] == 'recorded')


def _commands(folder: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float64]] | None:
    """(N, A) in the robot's units; None for a candidate without."""
    if read_candidate(folder)['actions'] is None:
        return None
    with np.load(folder / ACTIONS) as arrays:
        return np.asarray(arrays['robot'], np.float64)
