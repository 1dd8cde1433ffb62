# SPDX-License-Identifier: Apache-2.0
"""A harvest that is killed or interrupted: nothing half-written, and run again it finishes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harvest_outcome import Outcome, content, folders
from push_bags import covered, write

COUNT = 3
PATIENCE_S = 60.0
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bags with one failure each."""
    folder = tmp_path_factory.mktemp('many')
    for number in range(COUNT):
        write(folder / f'bag_{number}', covered(3.5, 0.4 * number))
    return folder


@pytest.fixture(scope='module')
def undisturbed(bags: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What becomes of them when nothing happens."""
    out = tmp_path_factory.mktemp('undisturbed') / 'out'
    subprocess.run(command(bags, model, out, 1), check=True, capture_output=True)
    found = Outcome(0, '', '', None, out)
    assert len(found.episodes) == COUNT
    return found


def command(bags: Path, model: Path, out: Path, workers: int) -> list[str]:
    words = ['harvest', bags, '--model', model, '--out', out, '--workers', workers]
    return [sys.executable, '-m', 'cosmos_flywheel.cli.main', *map(str, words)]


@pytest.fixture
def start(bags: Path, model: Path, root: Path) -> Iterator[Start]:
    """Starts a harvest in a process group of its own, as a shell would."""
    started: list[subprocess.Popen[str]] = []

    def begin(out: Path, workers: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command(bags, model, out, workers),
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Whoever runs the tests in the background has Ctrl-C ignored, and children inherit it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(true: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < until_s, 'nothing happened'
        time.sleep(0.005)


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def has_episode(out: Path) -> bool:
    return any(out.glob('*/manifest.json'))


def has_begun_one(out: Path) -> bool:
    return any(out.glob('.partial-*')) or has_episode(out)


@pytest.mark.parametrize(('workers', 'when'), [(1, has_begun_one), (2, has_episode)])
def test_killed_in_the_middle_and_run_again_it_is_as_if_never_killed(
    tmp_path: Path,
    start: Start,
    undisturbed: Outcome,
    workers: int,
    when: Callable[[Path], bool],
) -> None:
    out = tmp_path / 'out'
    killed = start(out, workers)
    wait_until(lambda: when(out))
    killed.kill()
    killed.wait()
    wait_until(lambda: group_is_gone(killed.pid))  # workers do not outlive it
    again = start(out, workers)
    said, complained = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0, complained
    found = Outcome(0, said, complained, None, out)
    assert found.episodes.keys() == undisturbed.episodes.keys()
    assert content(out) == content(undisturbed.out)
    assert found.content_hash == undisturbed.content_hash
    assert (out / 'report.html').read_bytes() == (undisturbed.out / 'report.html').read_bytes()


@pytest.mark.parametrize('workers', [1, 2])
def test_interrupted_it_ends_at_once_without_a_word_or_a_half_written_folder(
    tmp_path: Path, start: Start, undisturbed: Outcome, workers: int
) -> None:
    out = tmp_path / 'out'
    process = start(out, workers)
    wait_until(lambda: has_begun_one(out))
    os.killpg(process.pid, signal.SIGINT)
    said, complained = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert said == ''
    assert 'Traceback' not in complained
    wait_until(lambda: group_is_gone(process.pid))
    assert len(folders(out)) < COUNT
    assert set(folders(out)) <= undisturbed.episodes.keys()
    assert not (out / 'report.html').exists()


def test_workers_that_are_killed_are_said_and_what_is_finished_is_kept(
    tmp_path: Path, start: Start, undisturbed: Outcome
) -> None:
    out = tmp_path / 'out'
    process = start(out, 2)
    wait_until(lambda: has_episode(out))
    for worker in workers_of(process.pid):  # in mid-bag, or between two
        os.kill(worker, signal.SIGKILL)
    _, complained = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert 'a worker process died' in complained
    assert '--workers' in complained
    assert 'Traceback' not in complained
    again = start(out, 2)
    assert again.wait(timeout=PATIENCE_S) == 0
    assert content(out) == content(undisturbed.out)


def workers_of(parent: int) -> set[int]:
    """Child processes that run a worker, not multiprocessing's own bookkeeper."""
    found = set()
    for folder in Path('/proc').glob('[0-9]*'):
        with suppress(OSError):
            status = (folder / 'stat').read_text().rpartition(')')[2].split()
            if int(status[1]) == parent and b'spawn_main' in (folder / 'cmdline').read_bytes():
                found.add(int(folder.name))
    return found
