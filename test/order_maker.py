# SPDX-License-Identifier: Apache-2.0
"""A real small failure episode of the robot `mujoco_push`, and orders for its candidates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from episode_maker import RUN, make_manifest
from push_bags import AXES, CAMERA_HZ, COVERED_S, START_NS, covered, storage_file, write

from cosmos_flywheel.core.brief import Brief, Failure, Family, Origin, Prompt, Scene
from cosmos_flywheel.core.envelope import Envelope
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.base import Order
from cosmos_flywheel.store.episodes import CLIP, EpisodeWriter
from cosmos_flywheel.store.robots import load_robot

ROBOT = load_robot('mujoco_push')
SECONDS = 3.0
KEYFRAME_S = 1.8
ENVELOPE = Envelope(
    AXES, ('m', 'm'), 15.0, (-0.35, -0.35), (0.35, 0.35), (0.7, 0.7), (4.0, 4.0), 'a test'
)
SAME = Variation('same_failure_new_scene', 'recorded')
FAMILIES = (
    Family('same_failure_new_scene', 'recorded', {'light': ('dim', 'warm')}),
    Family('recovery', 'nominal', {}),
)


def make_episode(out: Path) -> Path:
    """The folder of an episode whose lens is covered after two seconds."""
    bag = write(out / 'bag', covered(SECONDS))
    manifest = make_manifest()
    manifest['window'] |= {
        'start_ns': START_NS,
        'onset_ns': START_NS + round(COVERED_S * 1e9),
        'end_ns': START_NS + round(SECONDS * 1e9),
    }
    manifest |= {'thumbnail': None, 'evidence': []}
    with EpisodeWriter(out, manifest['id']) as writer:
        (writer.path / CLIP).write_bytes(storage_file(bag).read_bytes())
        writer.finish(manifest, RUN)
    return out / str(manifest['id'])


def make_brief(episode: Path, **changes: Any) -> Brief:
    """A brief of that episode."""
    brief = Brief(
        origin=Origin(
            id=episode.name,
            manifest_sha256=sha256_file(episode / 'manifest.json'),
            clip_sha256=sha256_file(episode / CLIP),
            robot='mujoco_push',
            task='Push the box.',
            label='failure',
        ),
        pack='embodied_robot',
        pack_sha256='0' * 64,
        failure=Failure('occlusion', '', 'push', COVERED_S, ('picture',), 'channels'),
        prompt=Prompt('A camera looks down.', 'A table.', ((0.0, 3.0, 'A box is pushed.'),)),
        scene=Scene(
            'top',
            'third_person_view',
            256,
            (48, 64),
            float(CAMERA_HZ),
            ('keyframes/0.png',),
            (START_NS + round(KEYFRAME_S * 1e9),),
        ),
        envelope=ENVELOPE,
        makes_normal=(),
        families=FAMILIES,
        parents=('a bag',),
        licence='CC0-1.0',
    )
    return replace(brief, **changes)


def make_order(episode: Path, variation: Variation = SAME, seed: int = 0, **changes: Any) -> Order:
    """One order; `changes` are of its brief."""
    return Order(make_brief(episode, **changes), episode, ROBOT, variation, seed)
