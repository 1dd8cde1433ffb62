# SPDX-License-Identifier: Apache-2.0
"""The desk orders each failure once, and its jobs make what was ordered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from order_maker import make_episode

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.job import Job
from cosmos_flywheel.generate.backends import Means, able, find_backend
from cosmos_flywheel.generate.claims import Claims
from cosmos_flywheel.generate.desk import Desk, Wanted
from cosmos_flywheel.generate.order_work import OrderWork
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.generate.worker import Worker
from cosmos_flywheel.store.briefs import BRIEFS, iter_briefs, read_brief
from cosmos_flywheel.store.candidates import candidate_folder, read_candidate
from cosmos_flywheel.store.catalogue import Catalogue, rebuild


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output folder with one failure."""
    episode = make_episode(tmp_path)
    rebuild(tmp_path)
    with Catalogue.open(tmp_path) as catalogue:
        catalogue.label(episode.name, 'failure', reviewer='ann')
    return tmp_path


def jobs(out: Path) -> list[Job]:
    with Queue.open(out) as queue:
        return queue.jobs()


def test_a_failure_is_ordered_once_whoever_looks(out):
    desk = Desk(out, Wanted(count=4))
    assert desk.look() == 4
    assert desk.look() == 0
    assert Desk(out, Wanted(count=4)).look() == 0
    assert len(jobs(out)) == 4
    assert Desk(out, Wanted(count=6)).look() == 2, 'more of the same are new ones'


def test_a_brief_that_was_edited_is_taken_in_and_ordered_anew(out):
    desk = Desk(out, Wanted(count=1, backends=('augment',)))
    desk.look()
    (path,) = out.glob('briefs/*/brief.json')
    document = json.loads(path.read_text())
    document['prompt']['scene'] = 'A wet floor.'
    path.write_text(json.dumps(document))
    assert desk.look() == 1
    assert desk.look() == 0
    Worker(out, OrderWork()).run()
    old, new = jobs(out)
    assert (old.state, new.state) == ('dead', 'done')
    assert 'was edited after it was ordered' in old.reason


def test_nominal_bags_bound_commands_and_of_several_generators_one_that_can_is_asked(out):
    wanted = Wanted(count=1, nominal=(out / 'bag',), backends=('local', 'sim', 'augment'))
    desk = Desk(out, wanted)
    assert desk.look() == 1
    (folder,) = iter_briefs(out / BRIEFS)
    assert read_brief(folder).envelope.source == '1 nominal recording'
    assert jobs(out)[0].order.backend == 'augment', 'it has no twin'
    (why,) = desk.away
    assert why.startswith('local cannot be asked here: generator local needs an engine')


def test_what_nobody_has_judged_is_ordered_only_if_asked(out):
    with Catalogue.open(out) as catalogue:
        (row,) = catalogue.episodes()
        catalogue.label(row.id, 'untriaged', reviewer='ann')
    desk = Desk(out, Wanted(count=1))
    assert desk.look() == 0
    assert desk.waiting == 1
    assert Desk(out, Wanted(count=1, untriaged=True)).look() == 1


def test_a_failure_that_cannot_be_read_is_named_and_others_go_on(out):
    (clip,) = out.glob('*/clip.mcap')
    clip.write_bytes(clip.read_bytes()[:-9])
    desk = Desk(out, Wanted(count=1))
    assert desk.look() == 0
    assert desk.look() == 0
    (reason,) = desk.refused.values()
    assert 'differs from its sha256' in reason


def test_a_job_makes_its_candidate_and_finds_it_the_second_time(out):
    desk = Desk(out, Wanted(count=1, backends=('augment',)))
    desk.look()
    with Queue.open(out) as queue:
        job = Claims(queue).claim()
        assert isinstance(job, Job)
        made = OrderWork()(job, out)
        manifest = read_candidate(candidate_folder(out, made.candidate_id), verify=True)
        assert manifest['variation']['family'] == job.order.variation['family']
        assert manifest['seed'] == job.seed
        assert made.price.cpu_s > 0
        assert made.price.size_bytes >= manifest['video']['bytes']
        again = OrderWork()(job, out)
        assert (again.candidate_id, again.found) == (made.candidate_id, True)
        assert again.price.cpu_s == pytest.approx(made.price.cpu_s), 'what it cost whoever made it'


def test_a_generator_is_opened_once_for_the_same_means_and_says_what_it_lacks():
    one, other = Means(model=Path('model')), Means(model=Path('model'))
    assert find_backend('augment', one) is find_backend('augment', other)
    assert able(one) - able(Means()) == {'local'}
    with pytest.raises(ConfigError, match='give --model'):
        find_backend('local', Means())
