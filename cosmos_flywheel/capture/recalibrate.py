# SPDX-License-Identifier: Apache-2.0
"""A model and labelled episodes → the model with thresholds that let false alarms pass.

The peak scores of an episode that a person called a false alarm join the nominal maxima of the
channels that alarmed, so that the same surprise alarms no more. What is lost by that is told:
every episode labelled a failure that would not have been captured any more.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cosmos_flywheel.core.calibration import MARGIN, Calibration, threshold_of
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.store.episodes import Manifest, iter_episodes, read_episode
from cosmos_flywheel.store.labels import read_labels


@dataclass(frozen=True, slots=True)
class Change:
    """One channel's threshold, before and after."""

    channel: str
    before: float
    after: float
    episode: str
    """The one that decided."""


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What labels make of a calibration."""

    calibration: Calibration
    changes: tuple[Change, ...]
    used: tuple[str, ...]
    """False alarms that counted."""
    lost: tuple[str, ...]
    """Failures in which no channel alarms any more."""


def recalibrate(calibration: Calibration, out: Path) -> Recalibration:
    """Read all labelled episodes of a folder that were found with this calibration.

    Raises:
        ConfigError: no false alarm of this calibration is among them.

    """
    labelled = list(_labelled(out))
    own = [(m, label) for m, label in labelled if m['calibration_id'] == calibration.id]
    false_alarms = [m for m, label in own if label == 'false_alarm']
    if not false_alarms:
        others = sum(label == 'false_alarm' for _, label in labelled)
        raise ConfigError(
            f'{out}: no episode of calibration {calibration.id} is labelled false_alarm'
            + (f' ({others} of other calibrations are)' if others else '')
            + '; label some with `flywheel episodes label`, or give the model they were found with'
        )
    changes = tuple(_changes(calibration, false_alarms))
    channels = dict(calibration.channels)
    for change in changes:
        known = channels[change.channel]
        channels[change.channel] = replace(
            known,
            threshold=change.after,
            nominal_max=max(known.nominal_max, _peak(_by_id(own, change.episode), change.channel)),
            margin=known.margin if known.margin > 1 else MARGIN,
        )
    used = tuple(sorted(m['id'] for m in false_alarms))
    changed = replace(
        calibration,
        channels=channels,
        recalibrated=tuple(sorted({*calibration.recalibrated, *used})),
    )
    failures = [m for m, label in own if label == 'failure']
    lost = tuple(sorted(m['id'] for m in failures if not _alarms(m, changed)))
    return Recalibration(changed, changes, used, lost)


def copy_model(source: Path, target: Path, without: str) -> None:
    """Copy a model folder's files but the one that is written anew."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name != without and not path.name.startswith('.'):
            shutil.copy2(path, target / path.name)


def _labelled(out: Path) -> Iterator[tuple[Manifest, str]]:
    for folder in iter_episodes(out):
        labels = read_labels(folder)
        if labels:
            yield read_episode(folder), labels[-1].label


def _changes(calibration: Calibration, false_alarms: Sequence[Manifest]) -> Iterator[Change]:
    for name, known in calibration.channels.items():
        alarmed = [m for m in false_alarms if m['channels'].get(name, {}).get('alarms')]
        if not alarmed:
            continue
        highest = max(alarmed, key=lambda m: (_peak(m, name), m['id']))
        after = threshold_of(_peak(highest, name), MARGIN)
        if after > known.threshold:
            yield Change(name, known.threshold, after, highest['id'])


def _alarms(manifest: Manifest, calibration: Calibration) -> bool:
    if any(cause.startswith('trigger:') for cause in manifest['causes']):
        return True
    return any(
        _peak(manifest, name) > known.threshold and not calibration.muted(name)
        for name, known in calibration.channels.items()
    )


def _peak(manifest: Manifest, channel: str) -> float:
    peak = manifest['channels'].get(channel, {}).get('peak')
    return 0.0 if peak is None else float(peak)


def _by_id(own: Sequence[tuple[Manifest, str]], episode: str) -> Manifest:
    return next(manifest for manifest, _ in own if manifest['id'] == episode)
