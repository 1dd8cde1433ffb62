# SPDX-License-Identifier: Apache-2.0
"""A failure episode, a pack and a robot → the brief that orders its variations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from cosmos_flywheel.core.brief import Brief, Failure, Family, Origin, Prompt, Scene
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.envelope import Actions
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.core.pack import Pack, Reading, region_of
from cosmos_flywheel.core.said import fill, plain, quoted
from cosmos_flywheel.generate.commands import commands_npz, envelope_of
from cosmos_flywheel.generate.failure import Known
from cosmos_flywheel.generate.pictures import controls, keyframes
from cosmos_flywheel.store.briefs import ACTIONS, CONTROLS, KEYFRAMES
from cosmos_flywheel.store.episodes import MANIFEST

TIERS = (256, 480)
"""Resolution tiers at which candidates are made."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A brief and the files that go with it."""

    brief: Brief
    files: Mapping[str, bytes]


def compile_brief(
    known: Known,
    pack: Pack,
    pack_sha256: str,
    robot: Robot,
    nominal: Sequence[Actions] = (),
    caption: str = '',
) -> Compiled:
    """Make the brief of one failure.

    Args:
        known: the episode, as `read_failure` reads it with the same pack and robot.
        pack: names, sentences and families.
        pack_sha256: of its content.
        robot: what its topics mean.
        nominal: (T, A) commands of recordings in which nothing went wrong; may be empty.
        caption: what a Reasoner said of the keyframes; '' where none was asked.

    Raises:
        ConfigError: the robot has no camera.

    """
    camera = robot.primary_camera
    if camera is None:
        raise ConfigError(f'robot {robot.name!r}: no camera; a brief begins from pictures')
    manifest, clip, onset = known.manifest, known.clip, known.onset
    fps = robot.cosmos.fps or robot.clock.hz
    pictures, stamps_ns = keyframes(clip, onset)
    frames = {f'{KEYFRAMES}/{i}.png': data for i, data in enumerate(pictures)}
    films = controls(known.folder / manifest['clip']['file'], clip, robot.clock.hz)
    envelope = envelope_of(robot, clip, onset, nominal)
    files = {
        **frames,
        **{f'{CONTROLS}/{kind}.webm': film for kind, film in films.items()},
        ACTIONS: commands_npz(robot, clip, onset, nominal),
    }
    reading, onset_s, end_s = known.reading, known.onset_s, float(clip.times_s[-1])
    region = region_of(_detail(known, 'picture'))
    return Compiled(
        Brief(
            origin=Origin(
                id=manifest['id'],
                manifest_sha256=sha256_file(known.folder / MANIFEST),
                clip_sha256=manifest['clip']['sha256'],
                robot=robot.name,
                task=plain(manifest['task'] or ''),
                label=known.state,
            ),
            pack=pack.name,
            pack_sha256=pack_sha256,
            failure=Failure(
                cause=reading.cause.name,
                object=reading.object,
                phase=reading.phase,
                onset_s=round(onset_s, 6),
                evidence=tuple(plain(line) for line in reading.evidence),
                said_by=reading.said_by,
            ),
            prompt=_prompt(known, pack, camera.view_point, end_s, caption),
            scene=Scene(
                camera=camera.name,
                view_point=camera.view_point,
                tier=max(t for t in TIERS if t <= max(robot.cosmos.resolution_tier, TIERS[0])),
                size=(clip.pictures.shape[1], clip.pictures.shape[2]),
                fps=float(fps),
                keyframes=tuple(frames),
                keyframe_stamps_ns=stamps_ns,
                controls={PurePosixPath(n).stem: n for n in files if n.startswith(CONTROLS)},
            ),
            envelope=envelope,
            makes_normal=tuple(one.at(onset_s, end_s, region) for one in reading.cause.normal),
            families=tuple(_possible(reading.cause.families, envelope is not None)),
            parents=(f'episode:{manifest["id"]}', *manifest['provenance']['parents']),
            licence=manifest['provenance']['licence'],
        ),
        files,
    )


def part_of(known: Known) -> str:
    """What the loudest channel named: a joint, a region, a check."""
    spoke = [c for c in known.manifest['causes'] if c in known.manifest['channels']]
    loud = max(spoke, key=lambda c: known.manifest['channels'][c]['peak'] or 0.0, default='')
    return plain(_detail(known, loud))


def _prompt(known: Known, pack: Pack, view_point: str, end_s: float, caption: str) -> Prompt:
    reading, onset_s = known.reading, round(known.onset_s, 3)
    values = _values(known, pack, reading)
    seen = plain(caption, 600)
    at_work = values | {'object': reading.thing or values['object']}
    scene = fill(pack.scene, at_work)
    parts = [(0.0, onset_s, fill(pack.before, at_work))] if onset_s > 0 else []
    end_s = max(round(end_s, 3), onset_s)
    parts.append((onset_s, end_s, fill(reading.cause.happens, values)))
    return Prompt(
        framing=pack.framing.get(view_point, ''),
        scene=f'{scene} A model that looked at it says: "{seen}"' if seen else scene,
        actions=tuple(parts),
        negative=pack.negative,
        said_by='reasoner' if seen else 'pack',
    )


def _values(known: Known, pack: Pack, reading: Reading) -> dict[str, str]:
    return {
        'task': quoted(reading.task.strip().rstrip('.')) or 'that it was given',
        'object': reading.object or 'an object',
        'phase': reading.phase or 'unknown',
        'part': part_of(known) or 'which is not known',
        'robot': pack.robot,
        'reason': quoted(known.label.reason if known.label else '') or 'no reason',
    }


def _possible(families: Sequence[Family], has_envelope: bool) -> list[Family]:
    """Without an envelope only what was recorded can vary."""
    return [f for f in families if has_envelope or f.actions == 'recorded']


def _detail(known: Known, channel: str) -> str:
    return str(known.manifest['channels'].get(channel, {}).get('detail', ''))
