# SPDX-License-Identifier: Apache-2.0
"""`flywheel queue` shows and steers what is being generated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from queue_work import make, order

from cosmos_flywheel.cli.main import main
from cosmos_flywheel.generate.budget import Budget
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.generate.worker import Worker

HOSTILE = order(3, variation={'family': '\x1b[31mred', 'cell': {}}, request={'needs': '\x1b]0;x'})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two done, one dead with a reason that somebody else wrote, one waiting."""
    with Queue.open(tmp_path) as queue:
        queue.add([order(1), order(2, priority=4), HOSTILE])
        Worker(tmp_path, make).run()
        queue.add([order(5)])
    return tmp_path


def say(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    """What `flywheel queue` prints."""
    capsys.readouterr()
    assert main(['queue', *map(str, words)]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_list_shows_jobs_the_dead_with_reasons_and_prices(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = say(capsys, 'list', out).splitlines()
    assert lines[1].split()[:4] == [order(2).id, 'done', '4', '1']
    assert '1 waiting, 0 claimed, 2 done, 1 dead, 0 cancelled' in lines
    assert rf'dead {HOSTILE.id}: \x1b]0;x: is gone' in lines
    assert any(line.startswith('GPU s') and line.endswith('-') for line in lines)
    assert 'a done candidate cost' in lines[-1]


@pytest.mark.parametrize('words', [['list'], ['show', HOSTILE.id, '--out'], ['budget']])
def test_words_of_others_cannot_speak_to_the_terminal(
    out: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    said = say(capsys, *words, out)
    assert '\x1b' not in said
    assert r'\x1b]0;x' in said


def test_show_tells_every_attempt(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = say(capsys, 'show', HOSTILE.id[:7], '--out', out).splitlines()
    assert lines[0] == f'job {HOSTILE.id}: dead'
    assert sum(' failed ' in line for line in lines) == 3


def test_json_holds_what_was_asked_for(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = json.loads(say(capsys, 'list', out, '--state', 'done', '--json'))
    assert [job['id'] for job in done] == [order(2).id, order(1).id]
    shown = json.loads(say(capsys, 'show', order(1).id, '--out', out, '--json'))
    assert [attempt['outcome'] for attempt in shown['attempts']] == ['done']


def test_pause_and_resume(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert say(capsys, 'pause', out) == 'paused; 0 still run\n'
    assert '0 cancelled; paused' in say(capsys, 'list', out)
    say(capsys, 'resume', out)
    assert 'paused' not in say(capsys, 'list', out)


def test_retry_and_cancel(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert say(capsys, 'retry', '--all-dead', '--out', out) == f'{HOSTILE.id}: waiting\n'
    said = say(capsys, 'cancel', HOSTILE.id[:8], order(5).id, '--out', out)
    assert said == f'{HOSTILE.id}: cancelled\n{order(5).id}: cancelled\n'
    assert 'which? give JOB' in say(capsys, 'cancel', '--out', out, code=2)
    assert 'is done; only' in say(capsys, 'retry', order(1).id, '--out', out, code=2)


def test_the_budget_is_changed_limit_by_limit(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = 'gpu_hours=2,candidates=5'
    say(capsys, 'budget', out, '--set', limits, '--money-per-gpu-hour', 3.6)
    say(capsys, 'budget', out, '--set', 'candidates=none,disk=1GB')
    assert 'give a number from 0' in say(capsys, 'budget', out, '--set', 'money=-1', code=2)
    with Queue.open(out) as queue:
        assert queue.budget() == Budget(gpu_s=7200, disk_bytes=1e9)
        assert queue.rates().gpu_s == pytest.approx(0.001)


def test_watch_ends_after_its_seconds(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert '2 done' in say(capsys, 'watch', out, '--seconds', 0)


def test_a_folder_without_a_queue_is_named_and_only_given_a_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 'has no queue' in say(capsys, 'list', tmp_path, code=2)
    assert list(tmp_path.iterdir()) == []
    assert 'has no queue' in say(capsys, 'budget', tmp_path / 'typo', code=2)
    assert 'nothing costs any' in say(capsys, 'budget', tmp_path, '--set', 'money=5')
    say(capsys, 'budget', tmp_path, '--money-per-gpu-hour', 2)
    assert 'nothing costs any' not in say(capsys, 'budget', tmp_path)
