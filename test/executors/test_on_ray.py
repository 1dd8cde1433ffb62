# SPDX-License-Identifier: Apache-2.0
"""The queue and a harvest on real actors of Ray, one cluster for all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from order_maker import FAMILIES, make_brief, make_episode
from push_bags import recording, write
from queue_work import candidate_id, made, make, order

from cosmos_flywheel import __version__
from cosmos_flywheel.bags.source import find_bags
from cosmos_flywheel.capture.harvest import Plan, harvest
from cosmos_flywheel.capture.model import Judge
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.errors import ConfigError, WorkerDiedError
from cosmos_flywheel.core.job import Job, JobOrder, Outcome
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.executors.ray import RayExecutor, _Place
from cosmos_flywheel.generate.pool import work_queue
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.store.briefs import save_brief
from cosmos_flywheel.store.candidates import iter_candidates, read_candidate
from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.episodes import RUN
from cosmos_flywheel.store.robots import load_robot

TEST = Path(__file__).resolve().parents[1]
LISTENS = '0A'
"""A state in /proc/net/tcp."""


@pytest.fixture(scope='module')
def ray(
    tmp_path_factory: pytest.TempPathFactory, need: Callable[[str, str], None]
) -> Iterator[RayExecutor]:
    """A cluster of two processors, whose actors know the work of tests."""
    if find_spec('ray') is None:
        need('ray', 'Ray is not installed')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHONPATH', f'{TEST}:{TEST.parent}:{os.environ.get("PYTHONPATH", "")}')
        with RayExecutor(tmp_path_factory.getbasetemp(), workers=2) as executor:
            yield executor


def put(out: Path, *orders: JobOrder) -> None:
    with Queue.open(out) as queue:
        queue.add(orders)


def test_nothing_is_lost_and_nothing_made_twice_though_actors_are_killed(
    tmp_path: Path, ray: RayExecutor
) -> None:
    put(
        tmp_path,
        order(0, request={'kills': 'always'}),
        order(1, request={'kills': 'once'}),
        order(2, request={'fails': 1}),
        *map(order, range(3, 9)),
    )
    work_queue(tmp_path, make, 2, executor=ray)
    with Queue.open(tmp_path) as queue:
        killer, *rest = queue.jobs()
        outcomes = [[one.outcome for one in queue.attempts(job.id)] for job in rest]
        ledger = queue.ledger()
    assert (killer.state, 'as 3 did over this job' in killer.reason) == ('dead', True)
    assert outcomes == [['lost', 'done'], ['failed', 'done'], *[['done']] * 6]
    lying = sorted(path.name for path in (tmp_path / 'candidates').iterdir())
    assert lying == sorted(candidate_id(job) for job in rest)
    assert len(made(tmp_path)) == 3 + 2 + 2 + 6
    assert ledger.running == 0
    assert ledger.spent.cpu_s == pytest.approx(sum(job.price.cpu_s for job in (killer, *rest)))


def test_what_is_cancelled_is_let_go_and_ctrl_c_gives_back(
    tmp_path: Path, ray: RayExecutor
) -> None:
    unwanted, interrupted = (order(n, request={'seconds': 600}) for n in range(2))
    put(tmp_path, unwanted, interrupted)

    def look(queue: Queue) -> None:
        if len(made(tmp_path)) < 2:
            return
        if queue.job(unwanted.id).state != 'cancelled':
            queue.cancel(unwanted.id)
        elif queue.attempts(unwanted.id)[0].outcome == 'cancelled':
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work_queue(tmp_path, make, 2, executor=ray, progress=look, beat_s=0.05)
    with Queue.open(tmp_path) as queue:
        assert [job.state for job in queue.jobs()] == ['cancelled', 'waiting']
        assert [one.outcome for one in queue.attempts(interrupted.id)] == ['given_back']
        assert queue.ledger().running == 0


class Unreadable:
    """Work that no other process can receive."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return eval, ('1 / 0',)

    def __call__(self, job: Job, out: Path) -> Outcome:
        raise AssertionError


def test_a_replica_that_cannot_begin_is_an_error_and_no_job_is_taken(
    tmp_path: Path, ray: RayExecutor
) -> None:
    put(tmp_path, order())
    with pytest.raises(WorkerDiedError, match='a worker process died'):
        work_queue(tmp_path, Unreadable(), 1, executor=ray)
    with Queue.open(tmp_path) as queue:
        assert [job.attempt for job in queue.jobs()] == [0]


def found(out: Path) -> dict[str, str]:
    """What a harvest wrote, by sha256; when and where is in no hash."""
    files = [path for path in out.rglob('*') if path.is_file()]
    kept = [path for path in files if path.name != RUN and path.parent != out]
    with Catalogue.open(out) as catalogue:
        content = {'catalogue': catalogue.content_hash()}
    return content | {str(path.relative_to(out)): sha256_file(path) for path in kept}


def test_a_harvest_on_ray_is_one_without(tmp_path: Path, ray: RayExecutor) -> None:
    write(tmp_path / 'bags' / 'one', recording(5.0, covered_s=4.0))
    write(tmp_path / 'bags' / 'two', recording(4.0, 1.1))
    bags, robot = find_bags([tmp_path / 'bags']), load_robot('mujoco_push')
    told: dict[str, float] = {}

    class Line:
        def expect(self, seconds: object) -> None:
            """All bags are known before the work."""

        def __call__(self, path: str, done_s: float, /) -> None:
            told[path] = done_s

    documents = [
        harvest(
            bags,
            lambda _: Plan(robot, Judge('flow')),
            tmp_path / name,
            workers=2 if executor else 1,
            executor=executor,
            progress=Line() if executor else None,
        )[0]
        for name, executor in (('plain', None), ('ray', ray))
    ]
    assert documents[0] == documents[1]
    assert any(bag['episodes'] for bag in documents[0]['bags'])
    assert found(tmp_path / 'plain') == found(tmp_path / 'ray')
    assert told == {bag['bag']: pytest.approx(bag['duration_s']) for bag in documents[0]['bags']}


def test_candidates_made_on_ray_are_those_made_here(
    tmp_path: Path, ray: RayExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('cosmos_flywheel.cli.executor.RayExecutor', lambda *_: nullcontext(ray))
    manifests = []
    for options in ([], ['--executor', 'ray', '--workers', '2']):
        out = tmp_path / f'out{len(options)}'
        brief = make_brief(make_episode(out), families=FAMILIES)
        save_brief(out / 'briefs', brief, {'keyframes/0.png': b''})
        assert main(['generate', '--all', '--out', str(out), '-n', '2', *options]) == 0
        manifests.append([read_candidate(one, verify=True) for one in iter_candidates(out)])
    assert len(manifests[0]) == 2
    assert manifests[0] == manifests[1]


def test_an_actor_looks_for_the_folders_before_it_takes_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path.cwd())  # and back
    mark = tmp_path / 'mark'
    mark.touch()
    place = _Place(__version__, tmp_path, Path('out'), 'mark')
    assert place.refusal() is None
    mark.unlink()
    assert 'does not see' in str(place.refusal())
    assert 'has cosmos_flywheel' in str(replace(place, version='0.0.0').refusal())


def test_a_cluster_of_ones_own_listens_on_loopback_only(ray: RayExecutor) -> None:
    parents = {
        int(path.name): int(stat.rpartition(')')[2].split()[1])
        for path in Path('/proc').glob('[0-9]*')
        if (stat := text(path / 'stat'))
    }
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    inodes = {link for pid in ours for link in sockets(pid)}
    listening = [
        row[1].rpartition(':')[0]
        for table in ('tcp', 'tcp6')
        for row in map(str.split, text(Path('/proc/net') / table).splitlines()[1:])
        if row[3] == LISTENS and row[9] in inodes
    ]
    assert len(listening) > 2
    assert {address[-8:] for address in listening} == {'0100007F'}  # 127.0.0.1, or mapped into v6


def text(path: Path) -> str:
    try:
        return path.read_text('ascii', 'replace')
    except OSError:
        return ''


def sockets(pid: int) -> Iterator[str]:
    """Inodes of a process's sockets."""
    for path in Path(f'/proc/{pid}/fd').glob('*'):
        try:
            match = re.match(r'socket:\[(\d+)\]', os.readlink(path))
        except OSError:
            continue
        if match:
            yield match[1]


def test_what_ray_cannot_give_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = 'cosmos_flywheel.executors.ray.find_spec'
    monkeypatch.setattr(spec, lambda _: True)
    with pytest.raises(ConfigError, match='whole ones, or a share'):
        RayExecutor(tmp_path, gpus=1.5)
    with pytest.raises(ConfigError, match='on a machine of the cluster'):
        RayExecutor(tmp_path, 'ray://somewhere:10001')
    monkeypatch.setattr(spec, lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'cosmos_flywheel\[ray\]'"):
        RayExecutor(tmp_path)
