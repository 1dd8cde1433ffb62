# SPDX-License-Identifier: Apache-2.0
"""An episode that is a nominal recording of the demo, and orders for its candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from episode_maker import RUN, make_manifest
from order_maker import make_brief

from cosmos_flywheel.bags.clip import write_clip
from cosmos_flywheel.bags.recording import read_recording
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.core.envelope import measure_envelope
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.base import Order
from cosmos_flywheel.store.episodes import CLIP, EpisodeWriter
from cosmos_flywheel.store.robots import load_robot

ROBOT = load_robot('mujoco_push')
KEYFRAME = 40
MISS = Variation('near_miss', 'perturbed')


def nominal_orders(bags: Sequence[Path], out: Path) -> Callable[..., Order]:
    """Makes orders of the first bag; the others are nominal ones beside it."""
    recordings = [read_recording(bag, ROBOT) for bag in bags]
    stamps_ns = recordings[0].stamps_ns
    manifest = make_manifest(thumbnail=None, evidence=[])
    manifest['window'] |= {
        'start_ns': int(stamps_ns[0]), 'onset_ns': int(stamps_ns[KEYFRAME + 5]),
        'end_ns': int(stamps_ns[-1]),
    }  # fmt: skip
    with EpisodeWriter(out, manifest['id']) as writer, open_bag(bags[0]) as source:
        write_clip(writer.path / CLIP, source, start_ns=0, end_ns=2**62)
        writer.finish(manifest, RUN)
    episode = out / str(manifest['id'])
    envelope = measure_envelope(
        ROBOT.action_names, ('m', 'm'), ROBOT.clock.hz, [r.actions for r in recordings], room=0.5
    )
    brief = make_brief(episode, envelope=envelope)
    brief = replace(
        brief,
        origin=replace(brief.origin, clip_sha256=sha256_file(episode / CLIP)),
        scene=replace(
            brief.scene,
            keyframe_stamps_ns=(int(stamps_ns[KEYFRAME]),),
            size=recordings[0].pictures.shape[1:3],
        ),
    )

    def make(variation=MISS, seed=0, **changes):
        return Order(replace(brief, **changes), episode, ROBOT, variation, seed, tuple(bags[1:]))

    return make
