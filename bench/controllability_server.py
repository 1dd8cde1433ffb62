# SPDX-License-Identifier: Apache-2.0
"""Do other commands move the picture of a Cosmos server: the tables of `controllability.py`.

The same chunks of the simulated arm, changed in the same way, are asked of a vLLM-Omni server by
forward dynamics: `--server URL`, with `--served NAME` and `--domain ID` of a checkpoint that was
post-trained on this arm, whose commands are told as they are. Pictures go to that address.

Without `--server` the stand-in of the tests answers, to prove the way: its film moves sideways by
100 px for each radian by which the first number of the actions leaves that of the first action,
and heeds no other. So its flow is known: 7/8 of that (the ramp's first step is an eighth) along
the picture's rows for the base, nothing for shoulder and elbow. It says nothing of Cosmos.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from common import ROOT, begin, print_table
from controllability import AMOUNTS_RAD, AXES_TRIED, SEEDS, STARTS, STEPS, TASK, fit, recorded
from numpy.typing import NDArray

from cosmos_flywheel.core.caption import caption_json
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.engines.remote.client import VideoClient
from cosmos_flywheel.engines.remote.form import png_of
from cosmos_flywheel.engines.remote.proof import positive_control
from cosmos_flywheel.engines.remote.server import SERVED, Server
from cosmos_flywheel.engines.remote.video import run
from cosmos_flywheel.engines.remote.video_job import SAMPLING, VideoJob
from cosmos_flywheel.generate.steering import Floats, Responses, flow, steering
from cosmos_flywheel.generate.twin import course
from cosmos_flywheel.sim import find_robot
from cosmos_flywheel.sim.world import Setup
from cosmos_flywheel.video.decode import decode_video, each_picture

sys.path.insert(0, str(ROOT / 'test'))
from omni_stand import started_stand

KIND = 'forward_dynamics'
DOMAIN_ID = 24
"""A slot that no trained domain has."""
STAND_IN_PX = 100 * (STEPS - 1) / STEPS
"""Per radian at the ramp's end."""
TOLERANCE = 0.1


class Asked:
    """A server that is asked for the last picture of a chunk.

    Args:
        client: whom to ask.
        domain_id: slot of the arm's actions in the checkpoint.

    """

    def __init__(self, client: VideoClient, domain_id: int) -> None:
        self._client, self._domain_id = client, domain_id

    def last(self, picture: Picture, path: Floats, hz: float) -> Picture:
        """What is seen after `path` (STEPS, A) from a picture on."""
        high, wide = picture.shape[0] // 16 * 16, picture.shape[1] // 16 * 16
        given = np.ascontiguousarray(picture[:high, :wide])
        frames, size = len(path) + 1, (high, wide)
        told = ((0.0, frames / hz, 'The robot moves.'),)
        job = VideoJob(
            kind=KIND,
            prompt=caption_json('', told, frames, hz, size),
            size=size,
            frames=frames,
            fps=hz,
            reference=png_of(given),
            domain_id=self._domain_id,
            width=path.shape[1],
            actions=path.astype(np.float32),
            **SAMPLING[KIND],
        )
        with tempfile.TemporaryDirectory() as aside:
            film = run(self._client, job, Path(aside, 'film.mp4'))
            _, pictures = decode_video(film.video.read_bytes())
        return pictures[-1]


def main() -> int:
    """Perturb, ask, track, fit."""
    bench = begin(
        'controllability_server',
        __doc__ or '',
        words={
            'server': 'a vLLM-Omni server; the stand-in where it is left out',
            'served': f'its model ({SERVED})',
            'domain': f'slot of the arm in its checkpoint ({DOMAIN_ID})',
        },
    )
    url, found = bench.told['server'], []
    with nullcontext() if url else started_stand() as stand:
        server = Server(
            url or stand.endpoint, bench.told['served'] or SERVED, allow_remote=bool(url)
        )
        client = VideoClient(server, each_picture)
        print(f'positive control: {positive_control(client):.1f} dB')
        asked = Asked(client, int(bench.told['domain'] or DOMAIN_ID))
        for seed in list(SEEDS)[: 2 if bench.quick else None]:
            for start in STARTS[: 1 if bench.quick else None]:
                found += respond(asked, Setup(TASK, seed), start)
    who = 'server' if url else 'stand-in'
    rows: list[tuple[object, ...]] = [
        ('generator', 'axis', 'slope px/rad', 'of the simulator', 'leakage', 'sign right')
    ]
    for axis in AXES_TRIED:
        figures = fit('server', [one for one in found if one.axis == axis])
        bench.figures[f'{who} {axis}'] = figures
        rows.append((who, axis, *(f'{value:.2f}' for value in figures.values())))
    print_table(rows)
    if not url:
        known = as_built([one for one in found if one.axis == AXES_TRIED[0]])
        print(f'the stand-in moves {known:.1f} px/rad by the base, built are {STAND_IN_PX:.1f}')
        bench.figures['stand-in px/rad'] = known
        bench.bars['the slope is the one that was built'] = (
            abs(known / STAND_IN_PX - 1) < TOLERANCE
        )
        bench.bars['what it does not heed moves nothing'] = all(
            abs(bench.figures[f'{who} {axis}']['slope']) < TOLERANCE * STAND_IN_PX
            for axis in AXES_TRIED[1:]
        )
    return bench.finish()


def respond(asked: Asked, setup: Setup, start: int) -> list[Responses]:
    """Every axis at one start, by the simulator and by the server."""
    recording, path = recorded(setup, start)
    arm = find_robot('arm')
    picture, hz = recording.pictures[-1], float(arm.camera_hz)
    plain = course(arm, setup, start, STEPS, np.zeros(path.shape[1])).picture
    still = asked.last(picture, path, hz)
    found = []
    for place, axis in enumerate(AXES_TRIED):
        flows: dict[str, list[NDArray[np.float64]]] = {'sim': [], 'server': []}
        for amount in AMOUNTS_RAD:
            offset = np.zeros(path.shape[1])
            offset[place] = amount
            real = course(arm, setup, start, STEPS, offset).picture
            ramp = np.arange(1, STEPS + 1)[:, None] / STEPS
            flows['sim'].append(flow(plain, real))
            flows['server'].append(flow(still, asked.last(picture, path + ramp * offset, hz)))
        whole = {name: np.array(vectors) for name, vectors in flows.items()}
        found.append(Responses(axis, np.array(AMOUNTS_RAD), whole))
    return found


def as_built(found: list[Responses]) -> float:
    """Px a radian along the rows of the picture, against a reference that moves just so."""
    sideways = [
        Responses(one.axis, one.amounts, {
            'server': one.flows['server'], 'rows': one.amounts[:, None] * np.array([1.0, 0.0]),
        })
        for one in found
    ]  # fmt: skip
    return steering('server', sideways, 'rows').slope


if __name__ == '__main__':
    raise SystemExit(main())
