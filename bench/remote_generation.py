# SPDX-License-Identifier: Apache-2.0
"""What comes of a film when its server misbehaves, and where the limit of the control lies.

The server is the stand-in of the tests (test/omni_server.py), a process of its own that shares no
code with the client: a film of 9 pictures of 128x96 px, asked for over real sockets, once in every
way in which it can misbehave. Counted are the jobs that it was asked to make beyond what had to be
made, those that were left there, and files beside the film.

`control` compares pictures of recordings by PSNR: a film's first picture with the given one after
coding, another instant of the same camera, another camera. The autoencoder of a model comes on top
and is not in it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from common import ROBOTS, ROOT, Bench, begin, print_table

from cosmos_flywheel.bags.source import find_bags
from cosmos_flywheel.capture.learn import read_clips
from cosmos_flywheel.core.errors import FlywheelError, NotNowError
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.engines.remote.client import VideoClient
from cosmos_flywheel.engines.remote.control import LEAST_PSNR_DB, psnr_db
from cosmos_flywheel.engines.remote.form import png_of
from cosmos_flywheel.engines.remote.patience import Patience
from cosmos_flywheel.engines.remote.proof import patches, positive_control
from cosmos_flywheel.engines.remote.server import SERVED, Server
from cosmos_flywheel.engines.remote.video import run
from cosmos_flywheel.engines.remote.video_job import VideoJob
from cosmos_flywheel.store.robots import load_robot
from cosmos_flywheel.video.decode import each_picture

sys.path.insert(0, str(ROOT / 'test'))
from omni_stand import Stand, started_stand

SIZE = (96, 128)
CELL_PX = 16
PATIENCE = Patience(answer_s=0.8, whole_s=20.0, tries=3, pause_s=0.01, poll_s=0.01)
PASSING = (
    {}, {'create_503': 2}, {'create_500': 1}, {'create_drop': 1}, {'made_drop': 1},
    {'made_stall': 1}, {'look_503': 2}, {'look_drop': 1}, {'look_stall': 1}, {'look_cut': 1},
    {'content_drop': 2}, {'content_stall': 1}, {'half': 1}, {'delete_409': 1}, {'delete_drop': 2},
    {'models_503': 1}, {'restart': 1}, {'breaks': 1}, {'takes_s': 1.0},
    {'made_drop': 1, 'list_503': 1, 'look_503': 1, 'half': 1},
)  # fmt: skip
"""What the film has to outlast."""
FAILING = {
    'create_422': 'RefusedError', 'create_html': 'EngineError', 'blocked': 'BlockedError',
    'fails': 'BlockedError', 'routed': 'EngineError', 'content_html': 'WrongFilmError',
    'truncated': 'WrongFilmError', 'fewer': 'WrongFilmError', 'smaller': 'WrongFilmError',
    'faster': 'WrongFilmError', 'other': 'WrongFilmError', 'served': 'EngineError',
    'token': 'RefusedError',
}  # fmt: skip
"""What is an error at once, and which."""
AWAY = ('models_503', 'create_drop', 'look_503', 'content_drop', 'restart')
"""What is waited for: 99 times in a row, then no more."""
WORDS = {'routed': 'Wan2.2', 'served': 'Wan2.2', 'token': 'secret'}
REMADE = ('restart', 'breaks')
EVERY = 15
"""Pictures of a recording a second apart."""
BAGS_PER_SET, QUICK_BAGS = 4, 1
CRFS = (0, 10, 18, 28)


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one film."""

    outcome: str
    made: int
    left: int
    files: tuple[str, ...]


def main() -> int:
    """Misbehave, then compare pictures."""
    bench = begin('remote_generation', __doc__ or '')
    with started_stand() as stand:
        if bench.wants('misbehave'):
            misbehave(bench, stand)
        if bench.wants('control'):
            place_limit(bench, stand)
    return bench.finish()


def misbehave(bench: Bench, stand: Stand) -> None:
    """The table of misbehaviour and outcome."""
    rows: list[tuple[object, ...]] = [
        ('server', 'outcome', 'as it has to be', 'duplicates', 'jobs left', 'files beside')
    ]
    duplicates = left = stray = wrong = 0
    expected: list[tuple[Mapping[str, Any], str]] = [(told, 'film') for told in PASSING]
    expected += [({name: WORDS.get(name, 1)}, kind) for name, kind in FAILING.items()]
    expected += [({name: 99}, 'not now, then film') for name in AWAY]
    for told, outcome in expected:
        seen = tried(stand, told, is_away=outcome.startswith('not now'))
        # A server that forgets at every second look makes 2 films in vain, and 1 afterwards.
        due = 3 if outcome.startswith('not now') and 'restart' in told else 1
        due += sum(name in told for name in REMADE) if outcome == 'film' else 0
        twice = max(0, seen.made - due)
        is_right = seen.outcome == outcome
        beside = [
            name for name in seen.files if name != 'film.mp4' or not outcome.endswith('film')
        ]
        label = ' + '.join(f'{k} {v}' for k, v in told.items()) or 'well-behaved'
        rows.append((label, seen.outcome, is_right, twice, seen.left, len(beside)))
        duplicates, left, stray = duplicates + twice, left + seen.left, stray + len(beside)
        wrong += not is_right
    print_table(rows)
    bench.figures |= {
        'ways': len(rows) - 1, 'wrong_outcomes': wrong, 'duplicates': duplicates,
        'orphan_jobs': left, 'orphan_files': stray,
    }  # fmt: skip
    bench.bars |= {
        'every outcome is right': not wrong, 'no film is made twice': not duplicates,
        'no job is left': not left, 'no file is left': not stray,
    }  # fmt: skip


def tried(stand: Stand, told: Mapping[str, Any], *, is_away: bool) -> Seen:
    """Ask for one film."""
    stand.behave(**told)
    client = VideoClient(Server(stand.endpoint, SERVED), each_picture, PATIENCE)
    picture = patches(SIZE)
    job = job_of(picture, SIZE)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, 'film.mp4')
        outcome = asked(client, job, out)
        if is_away:
            stand.told(**dict.fromkeys(told, 0))
            outcome = f'{outcome}, then {asked(client, job, out)}'
        client.close()
        state = stand.state()
        files = tuple(sorted(path.name for path in Path(folder).iterdir()))
    return Seen(outcome, len(state['forms']), len(state['jobs']), files)


def asked(client: VideoClient, job: VideoJob, out: Path) -> str:
    """What came of it, in a word."""
    try:
        run(client, job, out)
    except NotNowError:
        return 'not now'
    except FlywheelError as error:
        return type(error).__name__
    return 'film'


def job_of(picture: Picture, size: tuple[int, int], **changed: Any) -> VideoJob:
    """A small film of a picture."""
    return VideoJob(
        **{
            'kind': 'image_to_video',
            'prompt': 'Nothing moves.',
            'size': size,
            'frames': 9,
            'fps': 10.0,
            'reference': png_of(picture),
            'steps': 2,
            'guidance': 1.0,
            **changed,
        }
    )


def place_limit(bench: Bench, stand: Stand) -> None:
    """PSNR of what has to pass and of what has not."""
    rows: list[tuple[object, ...]] = [('set', 'compared', 'pairs', 'median dB', 'least', 'most')]
    count = QUICK_BAGS if bench.quick else BAGS_PER_SET
    seen = {folder.name: pictures_of(folder, count) for folder in bench.sets()}
    own: list[float] = []
    for name, clips in seen.items():
        for crf in CRFS:
            found = [film_db(stand, pictures[0], crf) for pictures in clips]
            own += found
            rows.append((name, f'its own film, crf {crf}', *spread(found)))
        later = [psnr_db(a, b) for pictures in clips for a, b in pairwise(pictures)]
        rows.append((name, 'the same camera 1 s later', *spread(later)))
    strange = [
        psnr_db(fitted(one[0]), fitted(other[0]))
        for name, clips in seen.items()
        for apart, others in seen.items()
        for one in clips
        for other in others
        if name != apart
    ]
    if strange:
        rows.append(('both', "the other set's camera", *spread(strange)))
    drawn = [psnr_db(patches((192, 320)), patches((192, 320))) for _ in range(50)]
    rows.append(('control', 'another picture of it', *spread(drawn)))
    stand.behave()
    client = VideoClient(Server(stand.endpoint, SERVED), each_picture, PATIENCE)
    passed = [positive_control(client) for _ in range(3 if bench.quick else 10)]
    rows.append(('control', 'its own film', *spread(passed)))
    print(f'PSNR of first pictures; refused below {LEAST_PSNR_DB:g} dB:')
    print_table(rows)
    bench.figures |= {
        'own_least_db': round(min(own), 1), 'control_least_db': round(min(passed), 1),
        'other_control_most_db': round(max(drawn), 1),
    }  # fmt: skip
    bench.bars['own films and the control pass'] = min(*own, *passed) >= LEAST_PSNR_DB
    bench.bars['another control does not'] = max(drawn) < LEAST_PSNR_DB
    if strange:
        bench.figures['other_camera_most_db'] = round(max(strange), 1)
        bench.bars['the other camera does not'] = max(strange) < LEAST_PSNR_DB


def pictures_of(folder: Path, count: int) -> list[list[Picture]]:
    """By clip of the first bags, pictures a second apart."""
    robot = load_robot(ROBOTS[folder.name])
    bags = find_bags([folder / 'bags'])[:count]
    clips = [clip for bag in bags for clip in read_clips([bag], robot)[1][0]]
    return [[fitted(picture) for picture in clip.large[::EVERY]] for clip in clips]


def fitted(picture: Picture) -> Picture:
    """Its upper left part, in whole cells of the model, at most 192x320."""
    high, wide = (side // CELL_PX * CELL_PX for side in picture.shape[:2])
    return np.ascontiguousarray(picture[: min(high, 192), : min(wide, 320)])


def film_db(stand: Stand, picture: Picture, crf: int) -> float:
    """What a film of this picture says of its first one."""
    stand.behave()
    patience = Patience(answer_s=20.0)
    client = VideoClient(Server(stand.endpoint, SERVED), each_picture, patience)
    size = (picture.shape[0], picture.shape[1])
    with tempfile.TemporaryDirectory() as folder:
        made = run(
            client, job_of(picture, size, crf=crf), Path(folder, 'film.mp4'), least_psnr_db=0.0
        )
    return made.psnr_db or 0.0


def spread(found: list[float]) -> tuple[object, ...]:
    """Count, median, least and most."""
    return len(found), *(f'{q:.1f}' for q in np.percentile(found, (50, 0, 100)))


if __name__ == '__main__':
    sys.exit(main())
