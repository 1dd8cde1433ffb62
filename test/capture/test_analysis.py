# SPDX-License-Identifier: Apache-2.0
"""A whole bag watched from end to end: what is found, what is traced, and that it repeats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from push_bags import (
    CAMERA,
    COMMANDS,
    COVERED_S,
    START_NS,
    STATES,
    Row,
    changed,
    covered,
    joints,
    picture,
    position,
    recording,
    without,
    write,
)

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.analysis import Analysis, Capture
from cosmos_flywheel.capture.fit import fit
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.model import Judge
from cosmos_flywheel.capture.report.result import BagTrace
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.store.robots import load_robot

ROBOT = load_robot('mujoco_push')
PHASE = 1.7
FAULT_S = 2.0
SECONDS = 3.2


@dataclass(frozen=True)
class Found:
    """What came of one bag."""

    captures: list[Capture]
    trace: BagTrace
    analysis: Analysis

    @property
    def causes(self) -> dict[str, float]:
        """By channel, when it first alarmed, in seconds from the bag's start."""
        return {
            c.name: (c.onset_ns - START_NS) / 1e9
            for capture in reversed(self.captures)
            for c in reversed(capture.incident.causes)
        }


@pytest.fixture(scope='module')
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """What three nominal bags taught."""
    folder = tmp_path_factory.mktemp('nominal')
    paths = [write(folder / f'{i}', recording(5.0, i)) for i in (0.4, 1.1, 2.3)]
    known = fit(paths, ROBOT, 'flow')
    return Judge('flow', known, known.size)


@pytest.fixture
def watch(judge: Judge, tmp_path: Path) -> Callable[..., Found]:
    """Writes rows as a bag and watches it."""
    bags = iter(range(100))

    def run(rows: list[Row], by: Judge = judge, **settings) -> Found:
        with open_bag(write(tmp_path / f'bag {next(bags)}', rows)) as source:
            analysis = Analysis(source, ROBOT, by, CaptureSettings(**settings))
            return Found(list(analysis.run()), analysis.trace('run'), analysis)

    return run


def frozen(rows: list[Row]) -> list[Row]:
    """From the fault on, the camera repeats its last picture under new stamps."""
    last = [r.message.data for r in rows if r.topic == CAMERA and r.at_s < FAULT_S][-1]
    return changed(
        rows,
        CAMERA,
        lambda r: r if r.at_s < FAULT_S else replace(r, message=picture(r.at_s, bytes(last))),
    )


def stalled(rows: list[Row]) -> list[Row]:
    """From the fault on, the joints stay where they are, whatever is commanded."""
    there = position(FAULT_S, PHASE)
    return changed(
        rows,
        STATES,
        lambda r: r if r.at_s < FAULT_S else replace(r, message=joints(r.at_s - 0.001, there)),
    )


def covered_lens(rows: list[Row]) -> list[Row]:
    """Something covers a part of the lens."""
    assert COVERED_S == FAULT_S
    return covered(rows[-1].at_s, PHASE)


def test_a_nominal_bag_is_silent(watch):
    found = watch(recording(SECONDS, PHASE))
    assert found.captures == []
    assert all(c.alarms == () for c in found.trace.channels)


@pytest.mark.parametrize(
    ('fault', 'cause', 'within_s'),
    [
        (frozen, 'stream_health', 1.0),
        (stalled, 'tracking_error', 0.5),
        (covered_lens, 'picture', 0.2),
    ],
)
def test_a_fault_is_found_by_its_channel_and_soon(watch, fault, cause, within_s):
    found = watch(fault(recording(SECONDS, PHASE)))
    assert len(found.captures) == 1
    assert FAULT_S - 0.01 <= found.causes[cause] <= FAULT_S + within_s


def test_a_fault_is_found_without_any_calibration_after_the_warm_up(watch):
    rows = recording(7.0, PHASE)
    late = [replace(r, message=joints(r.at_s, position(4.5, PHASE)))
            if r.topic == STATES and r.at_s > 4.5 else r for r in rows]  # fmt: skip
    assert watch(rows, Judge()).captures == []
    assert 4.5 <= watch(late, Judge()).causes['tracking_error'] <= 5.5


def test_a_capture_holds_its_window_its_pictures_and_its_peaks(watch):
    found = watch(covered_lens(recording(SECONDS, PHASE)), pre_roll_s=1.0)
    (capture,) = found.captures
    assert capture.incident.start_ns == capture.incident.onset_ns - 10**9
    assert [round(c.time_s, 1) for c in capture.strip][:3] == [-0.4, 0.0, 0.3]
    assert capture.strip[1].residual is not None
    peak = capture.peaks['picture']
    score, threshold = peak.score, peak.threshold
    assert score > threshold
    assert score == pytest.approx(capture.incident.causes[0].peak)


def test_the_trace_is_as_long_as_the_ticks(watch):
    found = watch(recording(SECONDS, PHASE))
    ticks = round(SECONDS * 15)
    assert len(found.trace.times_s) == ticks
    assert {len(c.scores) for c in found.trace.channels} == {ticks}
    assert {len(c.thresholds) for c in found.trace.channels} == {ticks}
    assert found.trace.times_s[0] == pytest.approx(0, abs=0.01)
    assert found.trace.pictures == ticks


def test_the_trace_shows_each_alarm_where_it_was(watch):
    found = watch(stalled(recording(SECONDS, PHASE)))
    (channel,) = (c for c in found.trace.channels if c.name == 'tracking_error')
    ((begin, end),) = channel.alarms
    loud = found.trace.times_s[channel.scores > channel.thresholds]
    assert begin == pytest.approx(loud[0])
    assert end >= loud[-1]


def test_the_same_bag_gives_the_same_scores_again(watch):
    rows = covered_lens(recording(SECONDS, PHASE))
    one, other = watch(rows), watch(rows)
    assert [c.incident for c in one.captures] == [c.incident for c in other.captures]
    for a, b in zip(one.trace.channels, other.trace.channels, strict=True):
        assert np.array_equal(a.scores, b.scores, equal_nan=True)


@pytest.mark.parametrize('late', [CAMERA, STATES, COMMANDS])
def test_messages_that_come_later_within_the_lateness_change_no_score(watch, late):
    rows = stalled(recording(SECONDS, PHASE))
    delayed = [replace(r, at_s=r.at_s + 0.15) if r.topic == late else r for r in rows]
    one, other = watch(rows), watch(delayed)
    assert [c.incident.onset_ns for c in one.captures] == [
        c.incident.onset_ns for c in other.captures
    ]
    for a, b in zip(one.trace.channels, other.trace.channels, strict=True):
        if a.name != 'clock_health':  # it judges the order of arrival itself
            assert np.array_equal(a.scores, b.scores, equal_nan=True)


def test_the_future_changes_no_score_of_the_past(watch):
    whole = watch(recording(SECONDS, PHASE), Judge())
    cut = watch([r for r in recording(SECONDS, PHASE) if r.at_s < SECONDS - 1], Judge())
    known = len(cut.trace.times_s) - 1
    for a, b in zip(whole.trace.channels, cut.trace.channels, strict=True):
        assert np.array_equal(a.scores[:known], b.scores[:known], equal_nan=True)


def test_an_alarm_that_stands_at_the_end_is_captured_up_to_there(watch):
    (capture,) = watch(stalled(recording(2.6, PHASE))).captures
    assert capture.incident.end_ns <= START_NS + round(2.6e9)
    assert not capture.incident.cut


def test_a_bag_without_commands_is_judged_by_what_is_left(watch):
    found = watch(without(recording(SECONDS, PHASE), COMMANDS), Judge())
    assert 'tracking_error' not in {c.name for c in found.trace.channels}
    assert any(COMMANDS in note for note in found.trace.notes)


def test_a_bag_of_other_topics_than_those_fitted_is_refused(watch):
    with pytest.raises(ConfigError, match=r'does not fit this recording.*flywheel fit'):
        watch(without(recording(SECONDS, PHASE), COMMANDS))


def test_what_was_lost_is_counted_and_told(watch):
    rows = changed(
        recording(SECONDS, PHASE),
        STATES,
        lambda r: (
            r if r.at_s < SECONDS - 0.1 else replace(r, message=joints(r.at_s, (np.nan, 0.0)))
        ),
    )
    found = watch(rows)
    ((topic, reason),) = found.analysis.losses.counts
    assert (topic, reason) == (STATES, 'not_finite')
    count = found.analysis.losses.counts[topic, reason]
    assert f'{STATES}: {count} × not finite' in '\n'.join(found.trace.notes)


def test_a_clock_that_begins_anew_closes_the_capture_before_it(watch):
    rows = stalled(recording(SECONDS, PHASE))
    again = [replace(r, at_s=r.at_s + SECONDS) for r in recording(SECONDS, PHASE)]
    found = watch([*rows, *again])
    first = found.captures[0].incident
    assert first.end_ns <= START_NS + round(SECONDS * 1e9)
    assert 'clock_health' in found.causes
    assert len(found.trace.times_s) >= 2 * SECONDS * 15 - 2
    assert (np.diff(found.trace.times_s) > 0).all()
