# SPDX-License-Identifier: Apache-2.0
"""What comes of a candidate when its server misbehaves: brief, queue, worker, server, folder.

The server is the stand-in of the tests (test/omni_server.py), a process of its own that shares no
code with the client. It passes its positive control and then misbehaves in every way of
`remote_generation.py` while the queue has one order of two films, chunks under commands. Then it
proposes commands itself, two chunks likewise: within the envelope, outside from the second chunk
on, outside at once, too narrow, unknown. A server that is away or unfit is mended after the worker
has given the job back. Counted are candidates, films asked for
beyond what had to be made, attempts, what is left at the server, and files that are left behind.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from common import ROOT, begin, print_table
from remote_generation import AWAY, FAILING, PASSING, PATIENCE, REMADE, WORDS

from cosmos_flywheel.core.job import DEAD, DONE, WAITING, Job
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.engines.remote.server import SERVED
from cosmos_flywheel.generate import remote
from cosmos_flywheel.generate.backends import Means, find_backend
from cosmos_flywheel.generate.leftovers import GENERATING
from cosmos_flywheel.generate.order_work import OrderWork, job_order
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.generate.worker import Worker
from cosmos_flywheel.store.briefs import BRIEFS, read_brief, save_brief
from cosmos_flywheel.store.candidates import iter_candidates, read_candidate
from cosmos_flywheel.store.robots import load_robot

sys.path.insert(0, str(ROOT / 'test'))
from omni_stand import Stand, started_stand
from order_maker import ENVELOPE, make_brief, make_episode

ORDERED = Variation('same_failure_new_scene', 'recorded')
PROPOSED = Variation('recovery', 'policy')
WIDE = replace(ENVELOPE, low=(-9.0,) * 2, high=(9.0,) * 2, speed=(2.0,) * 2,
               acceleration=(999.0,) * 2)  # fmt: skip
"""From one chunk to the next the stand-in's policy jumps by twice its `reach`, in m."""
FILMS = 2
"""Of a candidate: its clip goes on for two chunks."""
PROPOSING: tuple[tuple[Mapping[str, Any], str], ...] = (
    ({'reach': 0.05}, 'candidate'),
    ({'reach': 0.14}, 'candidate of 1 chunk'),
    ({'reach': 99.0}, 'dead'),
    ({'reach': 0.05, 'narrow': 1}, 'candidate'),
    ({'reach': 0.05, 'unknown_action': 1}, 'candidate'),
    ({'reach': 0.05, 'never_done': 1}, 'candidate'),
)
"""What comes of a policy; in the last one the worker is killed while it waits."""
WRONG_ROWS = {'narrow', 'unknown_action'}
FOR_GOOD = ('blocked', 'fails', 'create_422')
"""No seed helps: the job is dead at once."""
WAITED = ('other', 'routed', 'served', 'token')
"""One film goes wrong, and then the control too: the server is unfit until it is mended."""
MENDED: Mapping[str, Any] = {'served': SERVED, 'routed': None, 'token': ''}
LASTING = 99
GIVE_UP_S = 120.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one order."""

    outcome: str
    candidates: int
    attempts: int
    films: int
    jobs_left: int
    files_left: int


def main() -> int:
    """Misbehave in every way."""
    bench = begin('remote_candidates', __doc__ or '')
    remote.PATIENCE = PATIENCE
    ways: list[tuple[str, Mapping[str, Any], str]] = [
        (label(told), told, 'candidate') for told in PASSING
    ]
    for name in FAILING:
        lasts = name in WAITED
        told = {name: WORDS.get(name, LASTING if lasts else 1)}
        ways.append((label(told), told, 'waits, then candidate' if lasts else 'candidate'))
    ways = [(n, t, 'dead' if set(t) & set(FOR_GOOD) else outcome) for n, t, outcome in ways]
    away = [name for name in AWAY if not name.startswith('models')]  # asked before the control
    ways += [(label({n: LASTING}), {n: LASTING}, 'waits, then candidate') for n in away]
    ways.append(('worker killed while it waits', {'never_done': 1}, 'candidate'))
    rows: list[tuple[object, ...]] = [
        ('server', 'outcome', 'as it has to be', 'attempts', 'films in vain', 'jobs left',
         'files left')
    ]  # fmt: skip
    wrong = twice = left = files = 0
    asked = [(ORDERED, *way) for way in ways[: 6 if bench.quick else None]]
    asked += [(PROPOSED, f'policy: {label(told)}', told, then) for told, then in PROPOSING]
    with started_stand() as stand:
        for variation, name, told, outcome in asked:
            seen = tried(stand, variation, told)
            is_right = seen.outcome == outcome and seen.candidates == (outcome != 'dead')
            vain = max(0, seen.films - FILMS - allowed(told)) if outcome != 'dead' else 0
            rows.append((name, seen.outcome, is_right, seen.attempts, vain, seen.jobs_left,
                         seen.files_left))  # fmt: skip
            wrong, twice = wrong + (not is_right), twice + vain
            left, files = left + seen.jobs_left, files + seen.files_left
    print_table(rows)
    bench.figures |= {
        'ways': len(rows) - 1, 'wrong_outcomes': wrong, 'films_in_vain': twice,
        'orphan_jobs': left, 'orphan_files': files,
    }  # fmt: skip
    bench.bars |= {
        'every outcome is right': not wrong, 'no film is made in vain': not twice,
        'no job is left': not left, 'no file is left': not files,
    }  # fmt: skip
    return bench.finish()


def label(told: Mapping[str, Any]) -> str:
    """A way of misbehaviour, in words."""
    return ' + '.join(f'{name} {value}' for name, value in told.items()) or 'well-behaved'


def allowed(told: Mapping[str, Any]) -> int:
    """Films that the misbehaviour itself makes necessary: lost, given up, or wrong ones."""
    if any(value == LASTING and name in (*REMADE, 'restart') for name, value in told.items()):
        return 2 * FILMS
    unmade = {'create_422', 'create_html', 'served', 'token'}
    wrong = set(told) & (set(FAILING) - unmade | WRONG_ROWS)
    return sum(name in REMADE for name in told) + FILMS * bool(wrong)


def tried(stand: Stand, variation: Variation, told: Mapping[str, Any]) -> Seen:
    """Order one candidate, and have it made."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        stand.behave()
        work, job_id = ordered(out, stand, variation)
        find_backend('remote', work.means).check()
        stand.told(**told)
        outcome = ''
        if told.get('never_done'):
            killed(out, work, stand)
        job = worked(out, work, job_id)
        if job.state == WAITING:
            outcome = 'waits, then '
            stand.told(**{**dict.fromkeys(told, 0), **MENDED})
            with Queue.open(out) as queue:
                queue.resume()
            job = worked(out, work, job_id)
        outcome += {DONE: 'candidate', DEAD: 'dead'}.get(job.state, job.state)
        notes = [note for one in iter_candidates(out) for note in read_candidate(one)['notes']]
        if any('ends after 1 of 2 chunks' in note for note in notes):
            outcome += ' of 1 chunk'
        state = stand.state()
        films = [form for form in state['forms'] if 'coloured patches' not in form['prompt']]
        files = list((out / GENERATING).rglob('*'))
        made = len(list(iter_candidates(out)))
        return Seen(outcome, made, job.attempt, len(films), len(state['jobs']), len(files))


def ordered(out: Path, stand: Stand, variation: Variation) -> tuple[OrderWork, str]:
    """One job in a new queue, who does it, and its id."""
    episode = make_episode(out)
    given = {'envelope': WIDE} if variation == PROPOSED else {}
    brief = make_brief(episode, **given)
    folder = save_brief(out / BRIEFS, brief, {'keyframes/0.png': b'a picture'})
    text = (ROOT / 'config' / 'robots' / 'mujoco_push.yaml').read_text()
    robot = out / 'mujoco_push.yaml'
    robot.write_text(text.replace('  domain: none', '  domain: pusht\n  chunk: 8'))
    work = OrderWork(means=Means(robot=str(robot), server=stand.endpoint))
    order = job_order(
        read_brief(folder),
        find_backend('remote', work.means),
        variation,
        0,
        robot=load_robot(robot),
    )
    with Queue.open(out) as queue:
        queue.add([order])
    return work, order.id


def worked(out: Path, work: OrderWork, job_id: str) -> Job:
    """The job after a worker's shift, which ends when it is done, dead or given back."""
    worker = Worker(out, work, stay=True)
    thread = threading.Thread(target=worker.run)
    thread.start()

    def is_over() -> bool:
        with Queue.open(out) as queue:
            attempts = queue.attempts(job_id)
            is_postponed = bool(attempts) and attempts[-1].outcome == 'postponed'
            return queue.known(job_id).state in (DONE, DEAD) or is_postponed

    with Queue.open(out) as queue:
        before = len(queue.attempts(job_id))
    try:
        await_that(lambda: new_attempt(out, job_id, before) and is_over())
    finally:
        worker.stop()
        thread.join()
    with Queue.open(out) as queue:
        return queue.known(job_id)


def new_attempt(out: Path, job_id: str, before: int) -> bool:
    """Whether an attempt has begun that was not there."""
    with Queue.open(out) as queue:
        return len(queue.attempts(job_id)) > before


def killed(out: Path, work: OrderWork, stand: Stand) -> None:
    """A worker begins, waits for its film, and is killed; then the server goes on."""
    process = get_context('fork').Process(target=Worker(out, work).run)
    process.start()
    await_that(lambda: len(stand.state()['forms']) > 1)  # the control, and a film
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    stand.finish()


def await_that(holds: Callable[[], bool]) -> None:
    """Until it holds; a bench that waits too long ends."""
    until_s = time.monotonic() + GIVE_UP_S
    while not holds():
        if time.monotonic() > until_s:
            sys.exit('a job does not end; see the queue')
        time.sleep(0.02)


if __name__ == '__main__':
    raise SystemExit(main())
