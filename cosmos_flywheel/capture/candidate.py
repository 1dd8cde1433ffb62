# SPDX-License-Identifier: Apache-2.0
"""A candidate's folder, watched as a bag is → the channels that alarm though they should not.

A channel that spoke in the recorded failure may speak in its candidate from the onset on; every
other alarm was not asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cosmos_flywheel import schemas
from cosmos_flywheel.bags.recording import Recording, read_recording
from cosmos_flywheel.capture.model import Judge
from cosmos_flywheel.capture.watch import Watcher
from cosmos_flywheel.core.brief import SCHEMA as BRIEF_SCHEMA
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.scoring import Scorer
from cosmos_flywheel.core.timeline import NS, Tick
from cosmos_flywheel.core.types import Picture, Vector
from cosmos_flywheel.store.candidates import ACTIONS, BRIEF, VIDEO, read_candidate
from cosmos_flywheel.store.episodes import CLIP, MANIFEST, read_episode
from cosmos_flywheel.video.decode import decode_video

CHANNELS = ('picture', 'state', 'action_surprise', 'stream_health')
"""Those that a film, its commands and known states can feed."""
EARLY_S = 0.3
"""A channel may notice so much before the instant that was noted as the onset."""
STANDS = 4.5
"""Grey levels, mean of nine by nine pixels: a codec repaints a standing picture by less."""
SMALL = (24, 32)
"""(H, W) of pictures that only pace a bag's states."""


def unasked_alarms(
    folder: Path, robot: Robot, judge: Judge, episodes: Path | None = None
) -> dict[str, str]:
    """What each channel says first that was not asked for, by channel.

    States are those of the bag that lies in the folder or, of an augmentation, of the recorded
    clip. Else the robot is taken to have been, a tick later, where it was told to be; what follows
    no command is not known, and the states themselves are not judged.

    Args:
        folder: the candidate's.
        robot: whose it is.
        judge: engine and calibration.
        episodes: where the folders of episodes lie.

    Raises:
        ConfigError: the judge is not of this robot, or has no calibration.
        StoreError, SchemaError, PictureError: the candidate cannot be read.

    """
    judge.check_robot(robot)
    if judge.calibration is None or robot.primary_camera is None:
        raise ConfigError(f'robot {robot.name!r}: candidates are judged by a fitted model')
    manifest = read_candidate(folder)
    height, width = schemas.load(folder / BRIEF, BRIEF_SCHEMA)['scene']['size']
    engine = judge.make_engine((height, width))  # of the camera; a film may be of another size
    watcher = Watcher(robot, engine, set(robot.topics), judge.prior)
    measured = _measured(folder, manifest, robot, episodes)
    channels = [
        c
        for c in watcher.channels
        if c.name in CHANNELS and (c.name != 'state' or measured is not None)
    ]
    scorer = Scorer(
        channels,
        judge.calibration.norms(channels),
        calibration_id=judge.calibration_id,
        level=engine.spec.level,
    )
    found: dict[str, str] = {}
    asked, onset_s = _asked(manifest, episodes), manifest['onset_s']
    for tick in _ticks(folder, manifest, robot, engine.spec.size, measured):
        at_s = tick.stamp_ns / NS
        has_begun = onset_s is not None and at_s >= onset_s - EARLY_S
        score = scorer.score(watcher.hindsight.compare(tick, watcher.hindsight.foretell(tick)))
        for one in score.channels:
            if one.alarm and one.name not in found and not (has_begun and one.name in asked):
                ratio = one.score / one.threshold
                found[one.name] = f'{one.detail} at {at_s:.1f} s, {ratio:.1f} × its threshold'
    watcher.hindsight.close()
    return found


def _ticks(
    folder: Path,
    manifest: Mapping[str, Any],
    robot: Robot,
    size: tuple[int, int],
    measured: Recording | None,
) -> Iterator[Tick]:
    """The film on the robot's clock, which begins at 0."""
    camera = robot.primary_camera
    assert camera is not None
    times_s, frames = decode_video((folder / VIDEO).read_bytes())
    commands, command_hz = _commands(folder, manifest)
    deaf = np.full(len(robot.action_names), np.nan, np.float32)
    told = deaf
    hz = robot.clock.hz
    picture: Picture | None = None
    for step in range(round(times_s[-1] * hz) + 1):
        at_s = step / hz
        frame = frames[int(np.abs(np.subtract(times_s, at_s)).argmin())]
        small = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
        picture = _held(picture, np.asarray(small, np.uint8))
        action = deaf
        if commands is not None:
            action = commands[min(int(at_s * command_hz + 0.5), len(commands) - 1)]
        state = _followed(robot, told)
        if measured is not None and step < len(measured):
            state = measured.states[step]
        told = action
        seen = {camera.name: [picture]}
        yield Tick(round(at_s * NS), picture, {}, state, action, 0, seen)


def _held(before: Picture | None, picture: Picture) -> Picture:
    """The picture, or the one before where nothing but the codec tells them apart."""
    if before is None:
        return picture
    apart = cv2.absdiff(before, picture).mean(2).astype(np.float32)
    return before if cv2.blur(apart, (9, 9)).max() < STANDS else picture


def _asked(manifest: Mapping[str, Any], episodes: Path | None) -> Collection[str]:
    """Channels that spoke in the recorded failure; all of them where it is not at hand."""
    episode = None if episodes is None else episodes / manifest['episode']
    if episode is None or not (episode / MANIFEST).is_file():
        return CHANNELS
    return frozenset(read_episode(episode)['causes'])


def _commands(folder: Path, manifest: Mapping[str, Any]) -> tuple[np.ndarray | None, float]:
    """(N, A) and how many a second; None where there are none."""
    if manifest['actions'] is None:
        return None, 0.0
    with np.load(folder / ACTIONS) as arrays:
        return arrays['robot'].astype(np.float32), float(manifest['actions']['hz'])


def _followed(robot: Robot, told: Vector) -> Vector:
    """(S,) states of what follows commands (A,); NaN for all else."""
    state = np.full(len(robot.state_names), np.nan, np.float32)
    for command, followed in robot.tracking_pairs:
        state[followed] = told[command]
    return state


def _measured(
    folder: Path, manifest: Mapping[str, Any], robot: Robot, episodes: Path | None
) -> Recording | None:
    """Whose states are those of the candidate, by tick; None where nobody knows."""
    bags = [folder / entry['file'] for entry in manifest['files'] if entry['kind'] == 'bag']
    if manifest['kind'] == 'augmentation' and episodes is not None:
        bags.append(episodes / manifest['episode'] / CLIP)
    there = [bag for bag in bags if bag.is_file()]
    return read_recording(there[0], robot, SMALL) if there else None
