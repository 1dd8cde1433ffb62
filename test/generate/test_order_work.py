# SPDX-License-Identifier: Apache-2.0
"""A job whose brief, episode or model is not what was ordered any more is dead at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from order_maker import SAME, make_brief, make_episode

from cosmos_flywheel.core.errors import NotHereError, OrderError
from cosmos_flywheel.core.job import Job
from cosmos_flywheel.generate.augment import Augment
from cosmos_flywheel.generate.backends import Means
from cosmos_flywheel.generate.order_work import OrderWork, job_order
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.generate.worker import Worker
from cosmos_flywheel.store.briefs import read_brief, save_brief
from cosmos_flywheel.store.robots import ROBOTS


@pytest.fixture(scope='module')
def ordered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with one episode, two briefs of it, and a job for each."""
    out = tmp_path_factory.mktemp('out')
    brief = make_brief(make_episode(out))
    with Queue.open(out) as queue:
        for licence in ('CC0-1.0', 'MIT'):
            edited = make_brief(out / brief.origin.id, licence=licence)
            folder = save_brief(out / 'briefs', edited, {'keyframes/0.png': b'a picture'})
            queue.add([job_order(read_brief(folder), Augment(), SAME, 0)])
    return out


@pytest.fixture
def out(ordered: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(ordered, tmp_path / 'out'))


def jobs(out: Path) -> list[Job]:
    with Queue.open(out) as queue:
        return queue.jobs()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def episode(out: Path) -> Path:
    (clip,) = out.glob('*/clip.mcap')
    return clip.parent


def brief_file(out: Path) -> Path:
    return out / 'briefs' / jobs(out)[0].order.brief_id / 'brief.json'


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    'episode deleted': (
        lambda out: shutil.rmtree(episode(out)),
        r'is no complete episode \(no manifest.json\); harvest again',
    ),
    'manifest of another version': (
        lambda out: edit(episode(out) / 'manifest.json', 'episode-v1', 'episode-v2'),
        'episode-v2',
    ),
    'clip missing': (
        lambda out: (episode(out) / 'clip.mcap').unlink(),
        'clip.mcap: is missing; harvest the bag again',
    ),
    'clip of another episode': (
        lambda out: (episode(out) / 'clip.mcap').write_bytes(b'another clip'),
        'clip.mcap: is not the clip that the brief was made from',
    ),
    'brief deleted': (
        lambda out: shutil.rmtree(brief_file(out).parent),
        'is no brief',
    ),
    'brief edited': (
        lambda out: edit(brief_file(out), 'A table.', 'A wet table.'),
        'was edited after it was ordered; take it in with: flywheel brief',
    ),
    'brief edited into nonsense': (
        lambda out: edit(brief_file(out), '"nominal"', '"magic"'),
        r"brief.json: field 'families\[1\].actions': 'magic' is not one of",
    ),
    'keyframe changed': (
        lambda out: (brief_file(out).parent / 'keyframes' / '0.png').write_bytes(b'x'),
        'keyframes/0.png: differs from its sha256',
    ),
}


@pytest.mark.parametrize(('spoil', 'told'), SPOILT.values(), ids=SPOILT)
def test_no_seed_mends_it(out: Path, spoil: Callable[[Path], object], told: str) -> None:
    spoil(out)
    with pytest.raises(OrderError, match=told):
        OrderWork()(jobs(out)[0], out)


def test_a_job_of_another_model_is_left_to_who_has_it(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as other:
        other.setattr(Augment, 'parameters', {'revision': 99})
        assert Worker(out, OrderWork()).run().left == 2
    first, _ = jobs(out)
    assert 'was ordered of augment with revision 1, here 99: give the robot' in first.reason
    assert Worker(out, OrderWork()).run().done == 2
    assert [job.attempt for job in jobs(out)] == [1, 1]


def test_a_job_of_another_robot_file_is_left_and_one_of_none_is_dead(out: Path) -> None:
    path = out / 'mine.yaml'
    path.write_text(ROBOTS.find('mujoco_push').read_text().replace('hz: 15', 'hz: 10'))
    job = jobs(out)[0]
    with pytest.raises(NotHereError, match='give the robot file'):
        OrderWork(means=Means(robot=str(path)))(job, out)
    request = {k: v for k, v in job.order.request.items() if k != 'robot_sha256'}
    with pytest.raises(OrderError, match='order it anew'):
        OrderWork()(replace(job, order=replace(job.order, request=request)), out)


def test_the_job_is_dead_at_its_first_attempt_and_others_go_on(out: Path) -> None:
    edit(brief_file(out), '"nominal"', '"magic"')
    Worker(out, OrderWork()).run()
    dead, done = jobs(out)
    assert (dead.state, dead.attempt, done.state) == ('dead', 1, 'done')
    assert str(brief_file(out)) in dead.reason


def test_a_brief_that_is_only_laid_out_otherwise_is_the_same(out: Path) -> None:
    path = brief_file(out)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7))
    assert OrderWork()(jobs(out)[0], out).candidate_id
