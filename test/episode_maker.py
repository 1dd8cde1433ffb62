# SPDX-License-Identifier: Apache-2.0
"""Small episodes for tests: the example manifest, changed as asked, and its files."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from cosmos_flywheel.core.lineage import episode_id
from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.episodes import EpisodeWriter
from cosmos_flywheel.store.records import WatchedBag

EXAMPLES = Path(__file__).parent / 'schemas' / 'examples'
CONFIG_HASH = '0123456789abcdef' * 4
RUN = json.loads((EXAMPLES / 'run-v1.json').read_text('utf-8'))
_MANIFEST = json.loads((EXAMPLES / 'episode-v1.json').read_text('utf-8'))


def make_manifest(start_s: float = 2.0, bag: str = 'bag_003', **changes: Any) -> dict[str, Any]:
    """An unfinished manifest of six seconds of a bag, as a harvest hands it to the writer."""
    manifest: dict[str, Any] = copy.deepcopy(_MANIFEST)
    start_ns = 998_000_000_000 + round(start_s * 1e9)
    for name, later_s in (('start', 0), ('onset', 3), ('end', 6)):
        manifest['window'][f'{name}_ns'] = start_ns + later_s * 10**9
        manifest['window'][f'{name}_s'] = start_s + later_s
    manifest['source'] |= {'bag_id': f'id of {bag}', 'name': bag}
    manifest['id'] = episode_id(f'id of {bag}', start_ns, start_ns + 6 * 10**9, CONFIG_HASH)
    for entry in (manifest['clip'], manifest['thumbnail'], *manifest['evidence']):
        del entry['sha256']
    return manifest | changes


def write_files(folder: Path) -> None:
    """What the manifest names."""
    (folder / 'clip.mcap').write_bytes(b'clip' * 1000)
    (folder / 'thumbnail.jpg').write_bytes(b'thumbnail')
    (folder / 'evidence' / 'strip.png').write_bytes(b'strip')


def write_episode(out: Path, manifest: dict[str, Any]) -> bool:
    """Write and finish one episode."""
    with EpisodeWriter(out, manifest['id']) as writer:
        write_files(writer.path)
        return writer.finish(manifest, RUN)


def watched(*episodes: str, bag: str = 'bag_003', **changes: Any) -> WatchedBag:
    """A finished bag with these episodes."""
    fields: dict[str, Any] = {
        'bag_id': f'id of {bag}', 'name': bag, 'config_hash': CONFIG_HASH, 'robot': 'mujoco_push',
        'start_ns': 998_000_000_000, 'duration_s': 20.0, 'watched_s': 18.0, 'episodes': episodes,
    }  # fmt: skip
    return WatchedBag(**fields | changes)


def harvest(out: Path, *manifests: dict[str, Any]) -> None:
    """Write episodes, index them, record their bags as finished, and find what is alike."""
    with Catalogue.open(out) as catalogue:
        for manifest in manifests:
            write_episode(out, manifest)
            catalogue.add_episode(manifest['id'])
        for bag in sorted({manifest['source']['name'] for manifest in manifests}):
            ids = [m['id'] for m in manifests if m['source']['name'] == bag]
            catalogue.add_bag(watched(*ids, bag=bag))
        catalogue.assign_clusters(manifest['id'] for manifest in manifests)
