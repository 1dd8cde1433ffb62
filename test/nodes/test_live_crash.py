# SPDX-License-Identifier: Apache-2.0
"""Processes are killed: the graph heals, nothing stays behind, and what is listed is whole."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from playing import ROBOT, Played, Told

from cosmos_flywheel.cli.main import main
from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.episodes import iter_episodes, read_episode

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]


@pytest.fixture
def bag(root: Path) -> Path:
    return root / 'demo' / 'bags' / 'mujoco_push_faults' / 'bags' / 'push_1104'


@pytest.fixture
def live(graph, root, tmp_path):
    """Starts `flywheel live` beside the demo's robot."""

    def start(*words: str):
        command = [sys.executable, '-m', 'cosmos_flywheel.cli.main', 'live', '--robot', ROBOT]
        command += ['--model', str(root / 'demo' / 'model'), '--out', str(tmp_path / 'out')]
        return graph.run(*command, *words)

    return start


def children_of(pid: int) -> dict[str, int]:
    """Ids of the nodes that a process started, by name."""
    found = {}
    for folder in Path('/proc').iterdir():
        if not folder.name.isdigit():
            continue
        try:
            parent = int((folder / 'stat').read_text().rpartition(')')[2].split()[1])
            words = (folder / 'cmdline').read_bytes().decode().split('\0')
        except OSError:
            continue
        if parent == pid and 'node' in words:
            found[words[words.index('node') + 1]] = int(folder.name)
    return found


def is_there(pid: int) -> bool:
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return False
    return state != 'Z'


def test_killed_nodes_come_back_and_failures_are_still_captured(graph, live, bag, tmp_path):
    told = Told(graph)
    process = live()
    robot = Played(graph, bag)
    robot.begin(3)
    told.until_seen()
    for name in ('predictor', 'monitor'):
        victim = children_of(process.pid)[name]
        os.kill(victim, signal.SIGKILL)
        graph.until(lambda v=victim: not is_there(v), f'the end of {name}')
        graph.until(
            lambda n=name, v=victim: children_of(process.pid).get(n, v) != v, f'{name} again'
        )
        told.until_seen()
    for count in (1, 2):  # the second began when all had healed
        robot.is_quiet = True
        graph.until(lambda c=count: len(told.episodes) >= c, 'an episode')
        robot.is_quiet = False
        told.more_scores(100)
    assert process.stop() == 0
    for episode in told.episodes:
        manifest = read_episode(tmp_path / 'out' / episode.id, verify=True)
        assert manifest['clip']['sha256'] == episode.clip_sha256
    assert 'Traceback' not in process.output


def test_who_loses_its_supervisor_ends_by_itself(graph, live):
    process = live()
    graph.until(lambda: len(children_of(process.pid)) == 3, 'three nodes')
    nodes = children_of(process.pid)
    process.send(signal.SIGKILL)
    process.wait()
    graph.until(lambda: not any(map(is_there, nodes.values())), 'the end of all nodes', 30)


@pytest.mark.parametrize(
    ('number', 'waits_s'), [(signal.SIGINT, (0.3, 1.6)), (signal.SIGTERM, (1.0, 2.5))]
)
def test_told_to_end_at_any_moment_of_its_start_nothing_stays(graph, live, number, waits_s):
    for wait_s in waits_s:
        process = live()
        nodes: dict[str, int] = {}
        end_s = time.monotonic() + wait_s
        while time.monotonic() < end_s:
            nodes |= children_of(process.pid)
        process.send(number)
        while process.runs:
            nodes |= children_of(process.pid)
            time.sleep(0.01)
        assert not any(map(is_there, nodes.values()))
        if nodes:
            assert process.wait() == 0
            assert 'Traceback' not in process.output


def test_whenever_power_is_cut_what_is_listed_is_whole(graph, tmp_path, capsys, bag):
    from std_srvs.srv import Trigger

    out = tmp_path / 'out'
    told = Told(graph)
    recorder = graph.start('recorder', robot=ROBOT, out=str(out), pre_roll_s=1.0, post_roll_s=0.3)
    robot = Played(graph, bag)
    robot.begin(1)
    graph.until(lambda: robot.said > 45, 'a second of messages')
    asked, copies = 0, []
    while len(told.episodes) < 4:
        if asked == len(told.episodes):
            assert graph.call(told.node, Trigger, '/recorder/capture').success
            asked += 1
        if len(copies) < 80 and (not copies or any(out.glob('.partial-*'))):
            copies.append(copied(recorder, out, tmp_path / f'copy_{len(copies)}'))
        graph._executor.spin_once(timeout_sec=0.01)
    copies.append(copied(recorder, out, tmp_path / 'last'))
    assert recorder.stop() == 0
    half = sum(any(copy.glob('.partial-*')) for copy in copies)
    assert half, 'some cuts fell into a write'
    listed = [only_whole_episodes_are_listed(copy, capsys) for copy in copies]
    assert max(listed) >= 3
    assert min(listed) == 0


def copied(recorder, out: Path, to: Path) -> Path:
    """The folder as it is at one instant: the recorder stands still meanwhile."""
    recorder.send(signal.SIGSTOP)
    try:
        while Path(f'/proc/{recorder.pid}/stat').read_text().rpartition(')')[2].split()[0] != 'T':
            time.sleep(0.001)
        shutil.copytree(out, to)
    finally:
        recorder.send(signal.SIGCONT)
    return to


def only_whole_episodes_are_listed(out: Path, capsys) -> int:
    whole = {folder.name for folder in iter_episodes(out)}
    for name in whole:
        assert read_episode(out / name, verify=True)['id'] == name
    with Catalogue.open(out) as catalogue:
        rows = {row.id for row in catalogue.episodes()}
        for name in rows:
            read_episode(catalogue.folder(name), verify=True)
    assert rows <= whole
    assert main(['episodes', 'rebuild', str(out)]) == 0
    capsys.readouterr()
    assert main(['episodes', 'list', str(out)]) == 0
    said = capsys.readouterr().out
    assert all(name[:8] in said for name in whole)
    return len(whole)
