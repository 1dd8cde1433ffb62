# SPDX-License-Identifier: Apache-2.0
"""The generator node: what people call a failure becomes candidates, and nothing else does."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import yaml
from order_maker import make_episode
from playing import Told

from cosmos_flywheel.core.errors import ConfigError, FlywheelError
from cosmos_flywheel.generate.budget import Budget, Rates
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.nodes.board import CANDIDATE, EPISODE_QOS
from cosmos_flywheel.store.candidates import candidate_folder, iter_candidates, read_candidate
from cosmos_flywheel.store.catalogue import Catalogue, rebuild

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]
COUNT = 3


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output folder with one episode that nobody has judged."""
    make_episode(tmp_path / 'out')
    rebuild(tmp_path / 'out')
    return tmp_path / 'out'


@pytest.fixture
def generator(graph, out):
    """Starts the node beside that folder."""

    def start(*ros_arguments):
        return graph.start('generator', *ros_arguments, out=str(out), count=COUNT, look_s=0.2)

    return start


@pytest.fixture
def told(graph):
    """Diagnostics, and candidates as they are published."""
    from cosmos_flywheel.msg import Candidate

    heard = Told(graph)
    heard.candidates = []
    for namespace in ('', '/b'):
        topic = f'{namespace}/{CANDIDATE}'
        heard.node.create_subscription(Candidate, topic, heard.candidates.append, EPISODE_QOS)
    return heard


def judge(out: Path, label: str) -> None:
    with Catalogue.open(out) as catalogue:
        (row,) = catalogue.episodes()
        catalogue.label(row.id, label, reviewer='ann')


def test_only_a_judged_failure_becomes_candidates_and_two_nodes_tell_each_once(
    graph, told, generator, out
):
    nodes = {'generator': generator(), 'b/generator': generator('-r', '__ns:=/b')}

    def published():
        return sum(int(told.values.get(name, {}).get('published', 0)) for name in nodes)

    for name in nodes:
        told.until_says(name, '1 episodes wait to be judged')
    assert not told.candidates
    assert not list(iter_candidates(out))

    judge(out, 'failure')
    graph.until(lambda: published() >= COUNT, 'the candidates')
    told.values.clear()
    graph.until(lambda: nodes.keys() <= told.values.keys(), 'what came of a later look')
    assert published() == COUNT
    assert [told.values[name]['done'] for name in nodes] == [str(COUNT)] * 2
    assert sorted(m.id for m in told.candidates) == sorted(f.name for f in iter_candidates(out))
    for message in told.candidates:
        manifest = read_candidate(candidate_folder(out, message.id), verify=True)
        assert message.video_sha256 == manifest['video']['sha256']
        assert message.episode == manifest['episode']
        assert message.cell == [f'{a}={v}' for a, v in manifest['variation']['cell'].items()]
        assert message.cpu_time_s > 0
    assert [process.stop() for process in nodes.values()] == [0, 0]


def test_it_is_told_what_flywheel_generate_is_told(graph, root, out):
    from cosmos_flywheel.nodes.generator import PARAMETERS, _limit, _wanted

    given = {p.name: p.default for p in PARAMETERS}
    file = yaml.safe_load((root / 'config' / 'nodes' / 'generator.yaml').read_text('utf-8'))
    stated = file['/**']['ros__parameters']
    assert {p.name: p.checked(stated[p.name]) for p in PARAMETERS} == given
    assert stated.keys() == given.keys()
    given |= {
        'nominal': (str(out / 'bag'),),
        'settings': ('tier=480',),
        'backend': ('remote', 'sim'),
    }
    given |= {'robot': 'mine.yaml', 'commit': 'c' * 40, 'guardrails': False, 'count': 3}
    wanted = _wanted(given)
    assert (wanted.backends, wanted.count) == (('remote', 'sim'), 3)
    assert [bag.name for bag in wanted.nominal] == ['bag']
    means = wanted.means
    assert (means.robot, means.commit, means.guardrails) == ('mine.yaml', 'c' * 40, False)
    with pytest.raises(FlywheelError, match='480'):
        _wanted({**given, 'settings': ('tier=481',)})
    with Queue.open(out) as queue:
        queue.set_budget(Budget(candidates=9))
        with pytest.raises(ConfigError, match='what seconds cost'):
            _limit(queue, {**given, 'budget': 'money=5'})
        _limit(queue, {**given, 'budget': 'money=5', 'money_per_gpu_hour': 3.6})
        assert queue.budget() == Budget(candidates=9, money=5.0)
        assert queue.rates() == Rates(gpu_s=0.001)


def test_what_is_no_failure_is_left_alone(graph, told, generator, out):
    judge(out, 'false_alarm')
    generator()
    graph.until(lambda: told.words('generator') == 'generating', 'the node')
    assert told.values['generator']['waiting'] == '0'
    assert not list(iter_candidates(out))


def test_a_killed_node_goes_on_where_it_was(graph, told, generator, out):
    judge(out, 'failure')
    process = generator()
    graph.until(lambda: told.candidates, 'the first candidate')
    process.send(signal.SIGKILL)
    process.wait()
    generator()
    graph.until(
        lambda: (
            {m.id for m in told.candidates} == {f.name for f in iter_candidates(out)}
            and len(list(iter_candidates(out))) == COUNT
        ),
        'all candidates',
    )
    with Queue.open(out) as queue:
        assert queue.counts() == {'done': COUNT}
        assert len({job.candidate_id for job in queue.jobs()}) == COUNT
