# SPDX-License-Identifier: Apache-2.0
"""Failure episodes of simulated robots, and orders for their candidates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from episode_maker import RUN, make_manifest
from order_maker import make_brief

from cosmos_flywheel.bags.recording import read_recording
from cosmos_flywheel.cli.sim import record
from cosmos_flywheel.core.brief import Failure, Origin
from cosmos_flywheel.core.envelope import measure_envelope
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.base import Order
from cosmos_flywheel.store.episodes import CLIP, EpisodeWriter
from cosmos_flywheel.store.robots import load_robot

NOMINAL_SEEDS = range(100, 104)


def make_sim_episode(out: Path, robot: str, task: str, fault: str, seed: int = 1) -> Path:
    """The folder of an episode that holds a whole recording of the simulator."""
    bag = out / f'{robot}_{task}_{fault}'
    label = record(bag, robot=robot, task=task, fault=fault, seed=seed, film=False)
    manifest = make_manifest(robot=f'sim_{robot}', thumbnail=None, evidence=[])
    start_ns = int(label['start_ns'])
    onset_ns = start_ns + round(label['onset_s'] * 1e9)
    manifest['window'] |= {
        'start_ns': start_ns, 'onset_ns': onset_ns, 'end_ns': start_ns + 9 * 10**9
    }  # fmt: skip
    (clip,) = bag.glob('*.mcap')
    with EpisodeWriter(out, manifest['id']) as writer:
        (writer.path / CLIP).write_bytes(clip.read_bytes())
        writer.finish(manifest, RUN)
    return out / str(manifest['id'])


def nominal_envelope(folder: Path, robot: str, task: str) -> Any:
    """Of a few nominal recordings."""
    file = load_robot(f'sim_{robot}')
    paths = []
    for seed in NOMINAL_SEEDS:
        bag = folder / f'nominal_{robot}_{task}_{seed}'
        record(bag, robot=robot, task=task, seed=seed, film=False)
        paths.append(read_recording(bag, file, (24, 40)).actions)
    units = tuple(unit for source in file.action_sources for unit in source.units)
    return measure_envelope(file.action_names, units, file.clock.hz, paths, room=0.5)


def make_sim_order(
    episode: Path, robot: str, cause: str, variation: Variation, seed: int = 0, **changes: Any
) -> Order:
    """One order; `changes` are of its brief."""
    origin = Origin(
        episode.name,
        sha256_file(episode / 'manifest.json'),
        sha256_file(episode / CLIP),
        f'sim_{robot}',
        'Push the box to the mark.',
        'failure',
    )
    failure = Failure(cause, 'the box', 'push', 2.0, ('picture',), 'person')
    brief = make_brief(episode, origin=origin, failure=failure, **changes)
    return Order(brief, episode, load_robot(f'sim_{robot}'), variation, seed)
