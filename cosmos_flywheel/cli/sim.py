# SPDX-License-Identifier: Apache-2.0
"""`flywheel sim`: a simulated robot, a task and a fault in; a bag, and apart from it its label."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_flywheel.bags.record import write_bag
from cosmos_flywheel.cli.actions import add_action, run
from cosmos_flywheel.cli.progress import ProgressLine
from cosmos_flywheel.cli.table import amount, table
from cosmos_flywheel.core.errors import SimError, StoreError
from cosmos_flywheel.sim import ROBOTS, find_robot
from cosmos_flywheel.sim.record import SCHEMA, Progress, Recording
from cosmos_flywheel.sim.record import record as record_episode
from cosmos_flywheel.sim.world import Robot, Setup, setup_of
from cosmos_flywheel.store.files import storing, write_document
from cosmos_flywheel.video.encode import encode_webm

LABEL, TRUTH, FILM = 'label.json', 'truth.npz', 'twin.webm'
"""What lies in the folder of the truth."""
MOST_SWAY_RAD = 0.3


def add_parser(subparsers: Any) -> None:
    """Declare the verb and what it can do."""
    parser = subparsers.add_parser(
        'sim',
        help='record a simulated robot that fails at will, with labels',
        description='Records simulated robots whose failures are known to the frame.',
    )
    actions = parser.add_subparsers(metavar='ACTION', required=True)
    _add_record(actions)
    _add_list(actions)
    parser.set_defaults(run=run)


def truth_folder(bag: Path) -> Path:
    """Where the truth of a simulated bag lies: beside it, and nothing that a harvest reads."""
    return bag.with_name(f'{bag.name}.truth')


def record(
    path: Path,
    *,
    robot: str,
    task: str,
    fault: str = 'none',
    strength: float = 1.0,
    seed: int = 0,
    seconds: float | None = None,
    film: bool = True,
    sway_rad: float = 0.0,
    progress: Progress | None = None,
) -> Mapping[str, Any]:
    """Record one episode as a new bag, with its truth in the folder `truth_folder(path)`.

    Args:
        path: the bag's folder.
        robot: one of `sim.ROBOTS`.
        task: what it does.
        fault: what goes wrong, or `none`.
        strength: above 0, at most 1; not looked at without a fault.
        seed: decides everything that is left to chance.
        seconds: how long; by default until the task is done.
        film: whether the fault-free twin is rendered into `twin.webm`.
        sway_rad: by how much each joint of the arm sways on its own.
        progress: told how many seconds are recorded, and of how many.

    Returns:
        The label, as in label.json.

    Raises:
        SimError: Robot, task or fault is unknown, the strength is out of range, or MuJoCo is
            missing or cannot render here.
        StoreError: The bag or its truth exists, or cannot be written.
    """
    path = Path(path)
    for taken in (path, truth_folder(path)):
        if taken.exists():
            raise StoreError(f'{taken}: exists; nothing is overwritten, so name another bag')
    chosen = find_robot(robot)
    setup = _setup(chosen, setup_of(chosen, task, seed, fault, strength), sway_rad)
    if seconds is not None and not seconds > 0:
        raise SimError(f'{seconds:g} seconds cannot be recorded; give more than 0')
    recording = record_episode(chosen, setup, seconds=seconds, film=film, progress=progress)
    _write_truth(truth_folder(path), recording)
    try:
        write_bag(path, recording.messages)
    except BaseException:
        shutil.rmtree(truth_folder(path), ignore_errors=True)
        raise
    return recording.label


def _setup(robot: Robot, setup: Setup, sway_rad: float) -> Setup:
    if sway_rad and robot.name != 'arm':
        raise SimError(f'{robot.name} has no joints that could sway; leave --sway away')
    if not 0 <= sway_rad <= MOST_SWAY_RAD:
        raise SimError(f'a sway of {sway_rad:g} rad; give 0 to {MOST_SWAY_RAD}')
    return replace(setup, change=replace(setup.change, sway_rad=sway_rad))


def _write_truth(folder: Path, recording: Recording) -> None:
    with storing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix='.recording-', dir=folder.parent) as aside:
            made = Path(aside) / folder.name
            made.mkdir()
            write_document(made / LABEL, recording.label, SCHEMA)
            np.savez_compressed(made / TRUTH, **dict(recording.truth))  # type: ignore[arg-type]
            if recording.twin_film:
                film = encode_webm(recording.twin_film, recording.label['fps'])
                (made / FILM).write_bytes(film)
            made.rename(folder)


def _add_record(actions: Any) -> None:
    parser = add_action(actions, 'record', _record, 'record one episode as a bag')
    parser.add_argument('--robot', required=True, help=f'one of: {", ".join(ROBOTS)}')
    parser.add_argument('--task', required=True, help='what it does, see `flywheel sim list`')
    parser.add_argument('--fault', default='none', help='what goes wrong (default: %(default)s)')
    parser.add_argument(
        '--strength', type=float, default=1.0, help='above 0, at most 1 (default: %(default)s)'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='decides all that is left to chance (default: 0)'
    )
    parser.add_argument('--seconds', type=float, help='how long (default: until it is done)')
    parser.add_argument(
        '--no-twin', action='store_true', help='make no film of the fault-free twin'
    )
    parser.add_argument(
        '--sway',
        type=float,
        default=0.0,
        metavar='RAD',
        help='joints of the arm sway on their own by so much: bags that teach what each one does',
    )
    parser.add_argument(
        '-o', '--out', type=Path, required=True, metavar='BAG', help='the bag folder to write'
    )


def _add_list(actions: Any) -> None:
    add_action(actions, 'list', _list, 'robots, their tasks, and what can go wrong')


def _record(args: argparse.Namespace) -> int:
    with ProgressLine('episodes') as line:
        label = record(
            args.out,
            robot=args.robot,
            task=args.task,
            fault=args.fault,
            strength=args.strength,
            seed=args.seed,
            seconds=args.seconds,
            film=not args.no_twin,
            sway_rad=args.sway,
            progress=_told_to(line),
        )
    print(f'bag: {args.out}')
    print(f'truth: {truth_folder(args.out)}')
    print(_said(label))
    return 0


def _told_to(line: ProgressLine) -> Progress:
    def tell(done_s: float, whole_s: float) -> None:
        line.expect({'episode': whole_s})
        line('episode', done_s)

    return tell


def _said(label: Mapping[str, Any]) -> str:
    """The label in a line."""
    what = f'{label["robot"]} {label["task"]}, {label["frames"] / label["fps"]:.1f} s'
    if label['onset_s'] is None:
        return f'{what}: nominal'
    verdict = 'a failure' if label['is_failure'] else 'no failure'
    return (
        f'{what}: {label["fault"]} at strength {amount(label["strength"])} from '
        f'{label["onset_s"]:.2f} s to {label["end_s"]:.2f} s, {verdict}; an object strays by '
        f'{label["max_object_deviation_m"]:.3f} m'
    )


def _list(_args: argparse.Namespace) -> int:
    for name in ROBOTS:
        print('\n'.join(_listed(find_robot(name))))
    return 0


def _listed(robot: Robot) -> Iterator[str]:
    yield f'robot {robot.name}'
    for task, what in robot.tasks.items():
        yield f'  task {task}: {what}'
    yield ''
    rows = [('fault', 'kind', 'tasks', 'what happens')]
    rows += [(f.name, f.kind, ', '.join(f.tasks), f.what) for f in robot.faults.values()]
    head, *lines = table(rows)
    yield head
    for line, fault in zip(lines, robot.faults.values(), strict=True):
        yield line
        yield f'    strength 0 … 1: {fault.strength}'
    yield ''
