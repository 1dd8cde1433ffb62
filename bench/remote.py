# SPDX-License-Identifier: Apache-2.0
"""What a chunk costs on the way to a server and back, and where the limit of its control lies.

No real server is asked, but the stand-in of the tests (test/omni_server.py), which moves the given
picture and codes the film as vllm-omni does, x264 and 4:2:0, on the same cores. So a chunk here is
everything but the model: PNG, requests, looks at the job, the stand-in's film, decoding, checks.

`control` compares pictures of recordings: how much of a picture its own film leaves unexplained
after one coding, and how much a picture 1 s later does, and another robot's camera.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import ROBOTS, ROOT, Bench, begin, print_table

from cosmos_flywheel.bags.source import find_bags
from cosmos_flywheel.capture.learn import read_clips
from cosmos_flywheel.core.types import Picture, Vector
from cosmos_flywheel.engines.remote.control import NONSENSE, unexplained
from cosmos_flywheel.engines.remote.model import RemoteModel
from cosmos_flywheel.engines.remote.runtime import RemoteRuntime
from cosmos_flywheel.engines.remote.server import SERVED, Server
from cosmos_flywheel.engines.remote.settings import RemoteSettings
from cosmos_flywheel.store.robots import load_robot
from cosmos_flywheel.video.decode import decode_video

sys.path.insert(0, str(ROOT / 'test'))
from omni_stand import Stand, started_stand

CAMERAS = {256: (240, 320), 480: (480, 640)}
"""(H, W) in px of a camera, by tier."""
CRFS = (0, 10, 18, 28)
CHUNKS, QUICK_CHUNKS = 40, 8
BAGS_PER_SET, EVERY = 4, 15
"""Pictures a second apart."""
NEVER = threading.Event()


def main() -> int:
    """Time chunks, then compare pictures."""
    bench = begin('remote', __doc__ or '')
    with started_stand() as stand:
        stand.behave()
        if bench.wants('link'):
            time_link(bench, stand)
        if bench.wants('control'):
            place_limit(bench, stand)
    return bench.finish()


def time_link(bench: Bench, stand: Stand) -> None:
    """Milliseconds per chunk of 16 by tier."""
    rows: list[tuple[object, ...]] = [
        ('tier', 'camera', 'chunks', 'p50 ms', 'p95 ms', 'max ms', 'own CPU ms')
    ]
    for tier, camera in CAMERAS.items():
        runtime = runtime_of(stand, camera, tier=tier)
        picture = textured(runtime.model.view.canvas.size)
        count = QUICK_CHUNKS if bench.quick else CHUNKS
        spent = np.array([timed(runtime, picture) for _ in range(count + 1)][1:]) * 1e3
        p50, p95, most = (float(q) for q in np.percentile(spent[:, 0], (50, 95, 100)))
        own = float(np.median(spent[:, 1]))
        size = f'{camera[1]}x{camera[0]}'
        rows.append((tier, size, count, f'{p50:.0f}', f'{p95:.0f}', f'{most:.0f}', f'{own:.0f}'))
        bench.figures[f'link_{tier}_ms'] = [round(p50), round(p95), round(most)]
        bench.figures[f'own_cpu_{tier}_ms'] = round(own)
    print('a chunk of 16 by the stand-in, loopback:')
    print_table(rows)
    bench.bars['no job is left'] = not stand.state()['jobs']


def place_limit(bench: Bench, stand: Stand) -> None:
    """Shares unexplained of a film's own first picture, a second later, and of another robot."""
    rows: list[tuple[object, ...]] = [('set', 'compared', 'pairs', 'median', 'least', 'most')]
    seen = {folder.name: pictures_of(folder) for folder in bench.sets()}
    own: list[float] = []
    for name, clips in seen.items():
        for crf in CRFS:
            shares = [film_share(stand, pictures[0], crf) for pictures in clips]
            own += shares
            rows.append((name, f'its own film, crf {crf}', *spread(shares)))
        later = [unexplained(a, b) for pictures in clips for a, b in pairwise(pictures)]
        rows.append((name, 'the same camera 1 s later', *spread(later)))
        turned = [unexplained(one[0], np.ascontiguousarray(one[0][::-1])) for one in clips]
        rows.append((name, 'itself upside down', *spread(turned)))
    strange = [
        unexplained(one[0], other[0])
        for name, clips in seen.items()
        for apart, others in seen.items()
        for one in clips
        for other in others
        if name != apart
    ]
    rows.append(('both', "the other set's camera", *spread(strange)))
    print(f'share of a picture that is unexplained; refused from {NONSENSE:g}:')
    print_table(rows)
    bench.figures['own_most'] = round(max(own), 3)
    bench.bars['own films pass'] = max(own) < NONSENSE
    if strange:
        bench.figures['strange_least'] = round(min(strange), 3)
        bench.bars['the other camera does not'] = min(strange) > NONSENSE


def pictures_of(folder: Path) -> list[list[Picture]]:
    """By clip of the first bags, pictures a second apart."""
    robot = load_robot(ROBOTS[folder.name])
    bags = find_bags([folder / 'bags'])[:BAGS_PER_SET]
    clips = [clip for bag in bags for clip in read_clips([bag], robot)[1][0]]
    return [list(clip.large[::EVERY]) for clip in clips]


def film_share(stand: Stand, picture: Picture, crf: int) -> float:
    """What a film of a world that stands still leaves unexplained of its last picture."""
    runtime = runtime_of(stand, (picture.shape[0], picture.shape[1]), tier=256, crf=crf)
    frames = runtime.foretell(runtime.model.view.laid(picture), rows_of(runtime), 0, NEVER)[0]
    high, wide = runtime.model.view.canvas.shown
    return unexplained(picture[:high, :wide], frames[-1])


def runtime_of(stand: Stand, camera: tuple[int, int], **settings: Any) -> RemoteRuntime:
    """Asks the stand-in for a robot with this camera."""
    push = load_robot('mujoco_push')
    robot = replace(push, cosmos=replace(push.cosmos, domain='pusht'))
    server = Server(stand.endpoint, SERVED)
    model = RemoteModel.of(robot, camera, RemoteSettings(**settings), server)
    return RemoteRuntime(model, lambda film: decode_video(film)[1])


def rows_of(runtime: RemoteRuntime) -> Vector:
    """Actions of no motion."""
    model = runtime.model
    return np.full((model.settings.chunk, model.actions.width), 0.25, np.float32)


def timed(runtime: RemoteRuntime, picture: Picture) -> tuple[float, float]:
    """Seconds of one chunk, on the clock and of this process' CPU."""
    begun_s, own_s = time.perf_counter(), time.process_time()
    runtime.foretell(picture, rows_of(runtime), 0, NEVER)
    return time.perf_counter() - begun_s, time.process_time() - own_s


def textured(size: tuple[int, int]) -> Picture:
    """A picture that is no easy one to code."""
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def spread(shares: Sequence[float]) -> tuple[object, ...]:
    """Count, median, least and most."""
    return len(shares), *(f'{q:.3f}' for q in np.percentile(shares, (50, 0, 100)))


if __name__ == '__main__':
    sys.exit(main())
