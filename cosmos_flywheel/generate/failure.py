# SPDX-License-Identifier: Apache-2.0
"""A failure episode's folder → what is known of it, and what a pack makes of that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cosmos_flywheel.bags.recording import Recording, read_recording
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.facts import facts_of, motion_at
from cosmos_flywheel.core.pack import Pack, Reading
from cosmos_flywheel.core.sight import sight_at
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.store.episodes import Manifest, read_episode
from cosmos_flywheel.store.labels import UNTRIAGED, Label, read_labels


@dataclass(frozen=True, slots=True)
class Known:
    """One episode, read."""

    folder: Path
    manifest: Manifest
    label: Label | None
    """The last one, which rules; None where nobody has judged."""
    clip: Recording
    """All ticks of it that have a picture."""
    onset: int
    """The tick at which the alarm was raised."""
    reading: Reading

    @property
    def state(self) -> str:
        """What the episode is called."""
        return self.label.label if self.label else str(self.manifest['state'])

    @property
    def onset_s(self) -> float:
        """Seconds from the clip's first tick, at most its length."""
        return float(self.clip.times_s[self.onset])


def read_failure(folder: Path, pack: Pack, robot: Robot) -> Known:
    """Read an episode and name its cause.

    Raises:
        StoreError: the folder is no whole episode, or a file differs from its sha256.
        SchemaError: its manifest does not hold, or is of another version.
        ConfigError: it is another robot's, or has no picture.
        BagError: its clip cannot be read.

    """
    manifest = read_episode(folder, verify=True)
    if manifest['robot'] is not None and manifest['robot'] != robot.name:
        raise ConfigError(
            f'{folder}: is of robot {manifest["robot"]!r}, not {robot.name!r}; '
            'give that robot with --robot'
        )
    labels = read_labels(folder)
    label = labels[-1] if labels else None
    clip = read_recording(folder / manifest['clip']['file'], robot)
    onset_ns = int(manifest['window']['onset_ns'])
    if not clip.stamps_ns[0] - NS <= onset_ns <= clip.stamps_ns[-1] + NS:
        raise ConfigError(
            f'{folder}: the onset lies outside of the pictures of its clip; '
            'give the robot file that it was harvested with'
        )
    onset = max(0, int(np.searchsorted(clip.stamps_ns, onset_ns, 'right')) - 1)
    motion = motion_at(
        onset_ns,
        clip.stamps_ns,
        (robot.state_names, clip.states),
        (robot.action_names, clip.actions),
    )
    reason = label.reason if label and label.label != UNTRIAGED else ''
    sight = sight_at(onset, clip.stamps_ns, clip.pictures)
    reading = pack.read(facts_of(manifest, motion, sight, reason))
    return Known(folder, manifest, label, clip, onset, reading)
