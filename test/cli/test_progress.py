# SPDX-License-Identifier: Apache-2.0
"""The progress line tells how far, how fast, and how long still."""

from __future__ import annotations

import io

import pytest

from cosmos_flywheel.cli import progress as module
from cosmos_flywheel.cli.progress import BAR, LINE_S, LOG_S, ProgressLine, clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def now(monkeypatch) -> list[float]:
    """The monotonic clock, to be set by hand."""
    time_s = [100.0]
    monkeypatch.setattr(module.time, 'monotonic', lambda: time_s[0])
    return time_s


def make_line(stream: io.StringIO | None = None) -> ProgressLine:
    line = ProgressLine('bags', stream or io.StringIO())
    line.expect({'a': 60.0, 'b': 40.0})
    return line


def test_a_line_tells_share_parts_speed_and_time_left(now):
    line = make_line()
    line('a', 60.0)
    text = line.line(now[0] + 10)
    assert ' 60% ' in text
    assert '1/2 bags' in text
    assert '6.0× real time' in text
    assert '0:07 left' in text
    assert text.count('█') == round(0.6 * BAR)
    assert text.count('█') + text.count('░') == BAR


def test_before_anything_is_done_no_time_left_is_made_up(now):
    text = make_line().line(now[0] + 10)
    assert ' 0% ' in text
    assert '0/2 bags' in text
    assert 'left' not in text


def test_when_all_is_done_nothing_is_left(now):
    line = make_line()
    line('a', 60.0)
    line('b', 40.0)
    assert '100%  2/2 bags' in line.line(now[0] + 1)


def test_a_part_counts_no_more_than_its_size(now):
    line = make_line()
    line('a', 1000.0)
    assert ' 60% ' in line.line(now[0] + 1)


def test_parts_without_length_are_done(now):
    line = ProgressLine('bags', io.StringIO())
    line.expect({'a': 0.0})
    line('a', 0.0)
    assert '100%  1/1 bags' in line.line(now[0])


def test_a_terminals_line_is_redrawn_in_place_and_not_too_often(now):
    terminal = Terminal()
    line = make_line(terminal)
    for i in range(1, 21):
        now[0] += 0.3 * LINE_S
        line('a', float(i))
    assert terminal.getvalue().count('\r') == 5
    assert '\n' not in terminal.getvalue()


def test_a_log_file_gets_whole_lines_seldom_and_no_control_characters(now):
    log = io.StringIO()
    line = make_line(log)
    for i in range(1, 31):
        now[0] += 1
        line('a', float(i))
    assert len(log.getvalue().splitlines()) == 30 // LOG_S
    assert '\r' not in log.getvalue()
    assert '\x1b' not in log.getvalue()


def test_a_terminals_line_is_wiped_at_the_end_also_after_an_error(now):
    terminal = Terminal()
    with pytest.raises(RuntimeError), make_line(terminal):
        raise RuntimeError
    assert terminal.getvalue().endswith('\r\x1b[K')


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(0, '0:00'), (59.6, '1:00'), (61, '1:01'), (3599.9, '1:00:00'), (7322, '2:02:02')],
)
def test_seconds_become_a_clock(seconds, text):
    assert clock(seconds) == text
