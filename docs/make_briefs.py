# SPDX-License-Identifier: Apache-2.0
"""Compiles one brief by each template pack, of a made-up episode, into `docs/briefs/PACK.json`.

    .venv/bin/python docs/make_briefs.py

The clip is cut from a bag of the demo, as nothing else is at hand; task and alarms are made up. So
the examples show the form of a brief, and nothing of how well a pack reads.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cosmos_flywheel.bags.clip import write_clip
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.core.lineage import episode_id
from cosmos_flywheel.generate.brief import compile_brief
from cosmos_flywheel.generate.failure import read_failure
from cosmos_flywheel.store.briefs import DOCUMENT, save_brief
from cosmos_flywheel.store.episodes import CLIP, EpisodeWriter
from cosmos_flywheel.store.packs import load_pack
from cosmos_flywheel.store.robots import load_robot

ROOT = Path(__file__).resolve().parents[1]
BAG = ROOT / 'demo' / 'bags' / 'mujoco_push_faults' / 'bags' / 'push_1108'
OUT = ROOT / 'docs' / 'briefs'
NS = 10**9
MADE_UP = {
    'physical_interaction': ('Pour the liquid into the glass.', 'picture', 'bottom right'),
    'spatial_reasoning': ('Go to the room behind the door.', 'tracking_error', 'gantry_x'),
    'digital_human': ('Take the cup and give it back.', 'picture', 'middle left'),
    'driving': ('Keep the lane up to the junction.', 'picture', 'middle right'),
}
"""Task, the channel that alarmed, and what it named, by pack."""


def main() -> None:
    """Compile all four."""
    OUT.mkdir(exist_ok=True)
    robot = load_robot('mujoco_push')
    with tempfile.TemporaryDirectory() as folder:
        for name in MADE_UP:
            pack, sha256 = load_pack(name)
            known = read_failure(made_up(Path(folder) / name, name), pack, robot)
            made = compile_brief(known, pack, sha256, robot)
            saved = save_brief(Path(folder) / 'briefs', made.brief, made.files)
            shutil.copy(saved / DOCUMENT, OUT / f'{name}.json')


def made_up(out: Path, pack: str) -> Path:
    """An episode folder of three seconds, alarmed after two."""
    task, channel, detail = MADE_UP[pack]
    with open_bag(BAG) as source:
        start_ns = source.start_ns
        manifest = manifest_of(pack, task, channel, detail, start_ns)
        with EpisodeWriter(out, manifest['id']) as writer:
            clip = write_clip(
                writer.path / CLIP, source, start_ns=start_ns, end_ns=start_ns + 3 * NS
            )
            manifest['clip'] |= {'messages': dict(clip.messages)}
            writer.finish(manifest)
            return writer.folder


def manifest_of(pack: str, task: str, channel: str, detail: str, start_ns: int) -> dict[str, Any]:
    """What a harvest would have said of it."""
    example = ROOT / 'test' / 'schemas' / 'examples' / 'episode-v1.json'
    manifest: dict[str, Any] = json.loads(example.read_text('utf-8'))
    at_ns = {'start_ns': start_ns, 'onset_ns': start_ns + 2 * NS, 'end_ns': start_ns + 3 * NS}
    at_s = {'start_s': 0.0, 'onset_s': 2.0, 'end_s': 3.0}
    alarm = [at_ns['onset_ns'], at_ns['end_ns']]
    return manifest | {
        'id': episode_id(pack, at_ns['start_ns'], at_ns['end_ns'], manifest['config_hash']),
        'task': task,
        'window': at_ns | at_s,
        'causes': [channel],
        'channels': {
            channel: {
                'peak': 2.0,
                'threshold': 1.0,
                'guaranteed': False,
                'onset_ns': at_ns['onset_ns'],
                'alarms': [alarm],
                'detail': detail,
            }
        },
        'firings': [],
        'clip': {'file': CLIP},
        'thumbnail': None,
        'evidence': [],
        'losses': {},
        'notes': ['made up: see docs/make_briefs.py'],
        'provenance': manifest['provenance'] | {'parents': ['made up']},
    }


if __name__ == '__main__':
    main()
