# SPDX-License-Identifier: Apache-2.0
"""Whether each clip arrives once and whole, or is still at the robot, whatever happens on the way.

Two machines' folders, joined by a road that can be spoilt (bench/road.py), and real processes of
`flywheel travel`. At the robot the policy is the harshest: what has arrived is removed at once.
While a case runs it is looked every 50 ms whether something has gone from the robot that does not
lie at the desk, verified by its hashes. Clips are random bytes.

`cases`: one table, a row for each thing that goes wrong.
`caps`: what a cap achieved, and a slow link, in bytes of clips.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from common import OUT, Bench, begin, print_table
from road import Link, Road, apart, road
from travel_case import (
    CLIP_BYTES,
    CLIPS,
    NEVER,
    Case,
    at_each_step,
    free_port,
    listens,
    mortal,
    wait_for,
)
from travelling import ids

from cosmos_flywheel.travel.fetch import fetch
from cosmos_flywheel.travel.http_source import HttpSource
from cosmos_flywheel.travel.inbox import QUARANTINE, Inbox
from cosmos_flywheel.travel.limit import Limit

ROAD_BYTES_S = 6e6
"""So slow that something can happen in mid-clip."""
DAYS = 4.0


def main() -> int:
    """Run the parts that are asked for."""
    apart()
    OUT.mkdir(exist_ok=True)
    bench = begin('travel', __doc__ or '')
    with (
        road() as between,
        tempfile.TemporaryDirectory(prefix='travel_', dir=OUT) as scratch,
    ):
        print(f'the road: {between.words}')
        if bench.wants('cases') or bench.only:
            cases(bench, between, Path(scratch))
        if bench.wants('caps'):
            caps(bench, between, Path(scratch))
    return bench.finish()


def cases(bench: Bench, between: Road, scratch: Path) -> None:
    """A row for each."""
    rows: list[tuple[object, ...]] = []
    for play, how in CASES:
        words = (play.__doc__ or '').rstrip('.')
        if not (bench.wants('cases') or play.__name__ in bench.only):
            continue
        if (play is silent and bench.quick) or (play in (full, small) and not between.can_mount):
            print(f'left out: {words}')
            continue
        between.rate(ROAD_BYTES_S)
        case = Case(between, scratch / play.__name__, bench.quick, **how)
        try:
            play(case)
        finally:
            found = case.close()
        rows = rows or [('what goes wrong', *found, 'noted')]
        noted = ', '.join(f'{what} {count}' for what, count in case.notes.items())
        rows.append((words, *found.values(), noted))
        bench.figures[play.__name__] = {**found, **case.notes}
        bench.bars[words] = (
            found['arrived'] == case.clips - case.stay
            and found['at the robot'] == case.stay
            and not any(found[bad] for bad in ('lost', 'twice', 'early'))
        )
    if rows:
        print_table(rows)


def caps(bench: Bench, between: Road, scratch: Path) -> None:
    """What was asked, and what came."""
    rows: list[tuple[object, ...]] = [('what holds it back', 'asked MB/s', 'came MB/s', 'share')]
    size = 2_000_000 if bench.quick else 2 * CLIP_BYTES
    for number, (words, rule, limit, road_s, count, asked_s) in enumerate(CAPS):
        between.rate(road_s)
        case = Case(between, scratch / f'cap_{number}', bench.quick, clip_bytes=size)
        try:
            case.rules(rule)
            case.serve()
            for process in [case.fetch(*limit) for _ in range(count)]:
                case.ends(process)
        finally:
            found = case.close()
        came_s = case.payload_s()
        share = came_s / asked_s
        rows.append((words, f'{asked_s / 1e6:g}', f'{came_s / 1e6:.3f}', f'{share:.1%}'))
        bench.figures[words] = round(share, 4)
        is_kept = share <= 1.02 and (share >= 0.9 or road_s is not None)
        bench.bars[words] = is_kept and found['arrived'] == CLIPS
    print_table(rows)


def nothing(case: Case) -> None:
    """Nothing."""
    case.serve()
    case.ends(case.fetch())


def cut(case: Case) -> None:
    """The link is down for 3 s in mid-clip."""
    case.serve()
    process = case.fetch()
    case.comes(CLIP_BYTES // 3)
    case.road.cut()
    time.sleep(1 if case.quick else 3)
    case.road.mend()
    case.ends(process)


def cut_often(case: Case) -> None:
    """The link is down for .5 s, ten times."""
    case.serve()
    process = case.fetch()
    for _ in range(4 if case.quick else 10):
        if case.comes(CLIP_BYTES // 5, process):
            case.road.cut()
            case.notes['cuts'] += 1
            time.sleep(0.5)
            case.road.mend()
    case.ends(process)


def silent(case: Case) -> None:
    """Every packet is lost for 40 s in mid-clip."""
    case.serve()
    process = case.fetch()
    case.comes(CLIP_BYTES // 3)
    case.road.silence()
    time.sleep(40)
    case.road.mend()
    case.ends(process)


def rotten(case: Case) -> None:
    """A bit of a clip flips at the robot after hashing."""
    case.serve()
    process = case.fetch()
    case.comes(CLIP_BYTES // 3)
    clip = case.robot / case.names[-1] / 'clip.mcap'
    with clip.open('r+b') as file:
        file.seek(CLIP_BYTES // 2)
        byte = file.read(1)
        file.seek(CLIP_BYTES // 2)
        file.write(bytes([byte[0] ^ 1]))
    case.ends(process, 1)
    case.notes['notes in quarantine'] = len(list((case.desk / QUARANTINE).glob('*')))
    with clip.open('r+b') as file:  # so that it can be counted as whole: nothing else was lost
        file.seek(CLIP_BYTES // 2)
        file.write(byte)


def flipped(case: Case, first: int = 3) -> None:
    """Bits flip on the way, three times."""
    flips = iter(range(first))

    def spoil(_: int, passed: int, block: bytes) -> bytes:
        if len(block) == 16384 and passed > 100_000 and next(flips, None) is not None:
            case.notes['flips'] += 1
            return block[:-1] + bytes([block[-1] ^ 1])
        return block

    case.serve('127.0.0.1')
    link = Link(case.port, spoil, case.road.serves)
    case.ends(case.fetch(url=link.url), 1 if case.stay else 0)
    link.close()


def flipped_ever(case: Case) -> None:
    """Bits flip on the way, always."""
    flipped(case, 10**9)


def full(case: Case) -> None:
    """The desk's disk is full in mid-clip, then free again."""
    case.mount(24_000_000)
    case.serve()
    process = case.fetch()
    case.comes(CLIP_BYTES + CLIP_BYTES // 3)
    other = case.desk / 'other'
    try:
        with other.open('wb', buffering=0) as file:
            while file.write(bytes(65536)):
                case.notes['others wrote, MB'] = round(file.tell() / 1e6)
    except OSError:
        pass
    case.until(lambda: b'trying again' in case._said(process))
    other.unlink()
    case.ends(process)


def small(case: Case) -> None:
    """The desk's disk holds two of three."""
    case.mount(27 * CLIP_BYTES // 10)
    case.serve()
    case.ends(case.fetch('--patience', '3'), 1)


def days(case: Case) -> None:
    """The robot is away for four days (waiting takes no time)."""
    case.serve()
    url, server = case.url, case._server
    assert server is not None
    process = get_context('fork').Process(target=_patient, args=(case, url))
    process.start()
    case.comes(CLIP_BYTES // 3)
    server.kill()
    case.until(lambda: (case.folder / 'days').exists())
    case.serve()
    (case.folder / 'back').touch()
    process.join(300)
    rounds, waited_s = (case.folder / 'days').read_text().split()
    case.notes |= {'rounds in vain': int(rounds), 'days': round(float(waited_s) / 86_400, 1)}


def _patient(case: Case, url: str) -> None:
    """A fetch whose waiting takes no time until the robot is due."""
    case.road.enter()
    waited_s, rounds, is_over = 0.0, 0, False

    def wait(seconds: float) -> bool:
        nonlocal waited_s, rounds
        waited_s, rounds = waited_s + seconds, rounds + 1
        if waited_s > DAYS * 86_400 and not (case.folder / 'days').exists():
            (case.folder / 'days').write_text(f'{rounds} {waited_s}')
            case.until(lambda: (case.folder / 'back').exists())
        return is_over

    def tell(_: str) -> None:
        nonlocal is_over
        is_over = len(ids(case.desk)) == case.clips

    case.desk.mkdir()
    source = HttpSource(url, case.token.read_text().strip())
    fetch(source, Inbox(case.desk, Limit(None), tell), watch=True, patience_s=0, wait=wait,
          tell=tell)  # fmt: skip


def kill_desk(case: Case) -> None:
    """The fetch is killed -9 in mid-clip, again and again."""
    case.serve()
    for _ in range(3 if case.quick else 10):
        process = case.fetch()
        if case.comes(CLIP_BYTES // 5, process):
            process.kill()
            case.notes['kills'] += 1
        process.wait()
    case.ends(case.fetch())


def kill_robot(case: Case) -> None:
    """The server is killed -9 in mid-clip, again and again."""
    case.serve()
    process = case.fetch()
    for _ in range(3 if case.quick else 10):
        if case.comes(CLIP_BYTES // 5, process) and case._server is not None:
            case._server.kill()
            case._server.wait()
            case.notes['kills'] += 1
            case.serve()
    case.ends(process)


def kill_desk_steps(case: Case) -> None:
    """The fetch is killed -9 before each change it makes."""
    case.serve()
    words = ['fetch', case.url, str(case.desk), '--token-file', str(case.token),
             '--patience', '0']  # fmt: skip

    def run(step: int) -> None:
        wait_for(mortal(case, words, step))

    at_each_step(case, run)


def kill_robot_steps(case: Case) -> None:
    """The server is killed -9 before each change it makes."""
    case.port = free_port(case.road.serves)
    words = ['serve', str(case.robot), '--policy', case.policy, '--token-file', str(case.token),
             '--bind', f'{case.road.serves}:{case.port}']  # fmt: skip
    get = ['fetch', case.url, str(case.desk), '--token-file', str(case.token),
           '--patience', '0']  # fmt: skip

    def run(step: int) -> None:
        server = mortal(case, words, step)
        case.until(lambda: server.exitcode is not None or listens(case))
        if server.exitcode is None:
            wait_for(mortal(case, get, NEVER))
            os.kill(server.pid or 0, signal.SIGTERM)
        wait_for(server)

    at_each_step(case, run)


def wrong_token(case: Case) -> None:
    """The token is wrong, then right."""
    case.serve()
    right = case.token
    case.token = case.folder / 'wrong'
    case.token.write_text('another-token-of-enough-letters')
    case.token.chmod(0o600)
    case.ends(case.fetch(), 2)
    case.notes['arrived by the wrong one'] = len(ids(case.desk))
    case.token = right
    case.ends(case.fetch())


def two_processes(case: Case) -> None:
    """Two fetch into one folder."""
    case.serve()
    for process in [case.fetch(), case.fetch()]:
        case.ends(process)


def two_desks(case: Case) -> None:
    """Two desks fetch into a folder each."""
    case.serve()
    case.desks.append(case.folder / 'desk2')
    for process in [case.fetch(), case.fetch(desk=case.desks[1])]:
        case.ends(process)
    both = set(ids(case.desks[0])) & set(ids(case.desks[1]))
    case.notes['at both desks'] = len(both)


CASES: tuple[tuple[Callable[[Case], None], dict[str, int]], ...] = (
    (nothing, {}),
    (cut, {}),
    (cut_often, {}),
    (silent, {}),
    (rotten, {'stay': 1}),
    (flipped, {}),
    (flipped_ever, {'stay': CLIPS}),
    (full, {}),
    (small, {'stay': 1}),
    (days, {}),
    (kill_desk, {}),
    (kill_robot, {}),
    (kill_desk_steps, {'clips': 1, 'clip_bytes': 200_000}),
    (kill_robot_steps, {'clips': 1, 'clip_bytes': 200_000}),
    (wrong_token, {}),
    (two_processes, {'clips': 6}),
    (two_desks, {'clips': 6}),
)
CAPS: tuple[tuple[str, str, tuple[str, ...], float | None, int, float], ...] = (
    ('policy, bytes_s: 500000', 'bytes_s: 500000', (), None, 1, 5e5),
    ('policy, bytes_s: 2000000', 'bytes_s: 2000000', (), None, 1, 2e6),
    ('the same, two fetches at once', 'bytes_s: 2000000', (), None, 2, 2e6),
    ('fetch --limit 2', '', ('--limit', '2'), None, 1, 2e6),
    ('a road of 8 Mbit/s, no cap', '', (), 1e6, 1, 1e6),
)
"""Words, rule of the policy, options of `fetch`, what the road carries, fetches, what is asked."""


if __name__ == '__main__':
    sys.exit(main())
