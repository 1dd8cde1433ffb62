# SPDX-License-Identifier: Apache-2.0
"""A live recording captures the windows of a harvest, whole, with what is missing said."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.capture.analysis import Analysis, Capture
from cosmos_flywheel.capture.episode import write_episode
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.live.recording import Captured, Recording, Session
from cosmos_flywheel.capture.model import load_judge
from cosmos_flywheel.core.ring import Kept, Ring
from cosmos_flywheel.core.types import AnomalyScore, ChannelScore
from cosmos_flywheel.store.robots import load_robot

NS = 10**9
ROBOT = 'mujoco_push'
RUN = {'schema': 'run-v1', 'bag_path': '/live', 'host': 'here'}


def recording(seconds: float = 60.0, most_bytes: int = 10**9, **settings) -> Recording:
    return Recording(
        load_robot(ROBOT),
        Session('5' * 64, 'live', 0),
        CaptureSettings(**settings),
        Ring(seconds, most_bytes),
        WireTypes([]),
    )


@pytest.fixture(scope='module')
def bag(root: Path) -> Path:
    return root / 'demo' / 'bags' / 'mujoco_push_faults' / 'bags' / 'push_1104'


@pytest.fixture(scope='module')
def harvested(root: Path, bag: Path) -> tuple[list[Capture], list[tuple[AnomalyScore, int]]]:
    with open_bag(bag) as source:
        judge = load_judge(root / 'demo' / 'model')
        analysis = Analysis(source, load_robot(ROBOT), judge, CaptureSettings())
        captures = list(analysis.run())
        return captures, list(zip(analysis.scores.scores, analysis.scores.log_ns, strict=True))


def live(bag: Path, scores: list[tuple[AnomalyScore, int]], made: Recording) -> list[Captured]:
    """The bag's messages and its scores in the order in which they would have come."""
    with open_bag(bag) as source:
        steps = [(m.log_ns, Kept(m.topic, m.msgtype, m.log_ns, m.data)) for m in source.messages()]
    steps += [(log_ns, score) for score, log_ns in scores]
    found = []
    for log_ns, step in sorted(steps, key=lambda s: s[0]):
        if isinstance(step, Kept):
            made.take(step)
        else:
            made.score(step, log_ns, 'e' * 64)
        found += made.due(log_ns)
    return found + made.flush()


def test_windows_causes_and_messages_are_those_of_a_harvest(bag, harvested, tmp_path):
    captures, scores = harvested
    (captured,) = live(bag, scores, recording())
    (expected,) = captures
    assert captured.capture.incident == expected.incident
    assert captured.capture.peaks == expected.peaks
    identity = write_episode(
        tmp_path, captured.subject, captured.capture, config_hash=captured.config_hash, run=RUN
    )
    manifest = json.loads((tmp_path / identity / 'manifest.json').read_text())
    assert manifest['source']['format'] == 'live'
    assert manifest['window']['start_ns'] == expected.incident.start_ns
    incident = expected.incident
    with open_bag(bag) as source, open_bag(tmp_path / identity / 'clip.mcap') as clip:
        wanted = list(source.messages(None, incident.start_ns, incident.end_ns))
        held = list(clip.messages())
        assert [(m.topic, m.log_ns, bytes(m.data)) for m in held] == [
            (m.topic, m.log_ns, bytes(m.data)) for m in wanted
        ]
        assert clip.deserialize(held[0]) is not None
    assert [e['id'] for e in map(dict, iter_manifests(tmp_path))] == [identity]
    assert [round(c.time_s, 1) for c in captured.capture.strip][:2] == [-0.4, 0.0]


def iter_manifests(out: Path):
    return [json.loads((p / 'manifest.json').read_text()) for p in out.iterdir() if p.is_dir()]


def say(made: Recording, at_s: float, sequence: int, topic: str = '/joint_states') -> None:
    kept = Kept(topic, 'std_msgs/msg/String', round(at_s * NS), bytes(50), sequence, b'p')
    made.take(kept)


def score(at_s: float, value: float = 0.1) -> AnomalyScore:
    channel = ChannelScore('picture', value, 1.0, value > 1, False, 'x')
    return AnomalyScore(round(at_s * NS), (channel,), 'c', 'local')


def test_overlapping_captures_are_each_whole():
    made = recording(pre_roll_s=3.0, post_roll_s=1.0)
    found = []
    for tick in range(200):
        at_s = 100 + tick / 10
        say(made, at_s, tick)
        alarm = tick in (50, 51) or tick in (75, 76)
        made.score(score(at_s, 2.0 if alarm else 0.1), round(at_s * NS))
        found += made.due(round(at_s * NS))
    assert len(found) == 2
    windows = [(c.capture.incident.start_ns, c.capture.incident.end_ns) for c in found]
    assert windows[1][0] < windows[0][1], 'the second begins within the first'
    for captured, (start_ns, end_ns) in zip(found, windows, strict=True):
        stamps = [m.log_ns for m in captured.subject.source.messages({'/joint_states'})]
        assert len(stamps) == len(set(stamps)) == round((end_ns - start_ns) / NS * 10)


def test_gaps_in_a_publishers_sequence_are_counted_where_they_fall():
    made = recording(pre_roll_s=2.0, post_roll_s=1.0)
    found = []
    sequence = 0
    for tick in range(100):
        at_s = 100 + tick / 10
        sequence += 8 if tick in (3, 45) else 1
        say(made, at_s, sequence)
        made.score(score(at_s, 2.0 if tick == 50 else 0.1), round(at_s * NS))
        found += made.due(round(at_s * NS))
    assert made.lost == 14
    (captured,) = found
    counts = Counter((x.topic, x.reason) for x in captured.capture.losses)
    assert counts == {('/joint_states', 'sequence_gap'): 7}


def test_what_the_ring_could_not_hold_is_said():
    made = recording(most_bytes=5000, pre_roll_s=3.0, post_roll_s=1.0)
    found = []
    for tick in range(100):
        at_s = 100 + tick / 10
        say(made, at_s, tick)
        made.score(score(at_s, 2.0 if tick == 50 else 0.1), round(at_s * NS))
        found += made.due(round(at_s * NS))
    (captured,) = found
    counts = Counter((x.topic, x.reason) for x in captured.capture.losses)
    held = len(list(captured.subject.source.messages()))
    incident = captured.capture.incident
    sent = round((incident.end_ns - incident.start_ns) / NS * 10)
    assert held < 21
    assert counts == {('/joint_states', 'ring_budget'): sent - held}


def test_somebody_may_ask_and_no_score_is_needed():
    made = recording(pre_roll_s=1.0, post_roll_s=1.0)
    found = []
    for tick in range(60):
        at_s = 100 + tick / 10
        say(made, at_s, tick)
        if tick == 20:
            made.ask('look here', round(at_s * NS))
        made.pass_time(round(at_s * NS))
        found += made.due(round(at_s * NS))
    (captured,) = found
    incident = captured.capture.incident
    assert [c.name for c in incident.causes] == ['trigger:service']
    assert [incident.start_ns / NS, incident.end_ns / NS] == [101.0, 103.0]
    assert captured.subject.trace.level == 'none'


def test_who_asks_gets_a_clip_whatever_else_is_captured():
    made = recording(pre_roll_s=1.0, post_roll_s=1.0)
    found = []
    for tick in range(80):
        at_s = 100 + tick / 10
        say(made, at_s, tick)
        made.score(score(at_s, 2.0 if tick == 25 else 0.1), round(at_s * NS))
        if tick in (20, 23, 30):
            made.ask(f'tick {tick}', round(at_s * NS))
        found += made.due(round(at_s * NS))
    windows = {
        captured.capture.incident.causes[0].detail: [
            round(m.log_ns / NS * 10) - 1000 for m in captured.subject.source.messages()
        ]
        for captured in found
    }
    for asked in (20, 23, 30):
        assert windows.pop(f'tick {asked}') == list(range(asked - 10, asked + 10))
    ((alarm, ticks),) = windows.items()
    assert 'tick' not in alarm
    assert set(range(15, 35)) <= set(ticks)
    assert len(ticks) == len(set(ticks))


def test_headers_on_another_clock_do_not_move_the_window():
    made = recording(pre_roll_s=1.0, post_roll_s=1.0)
    found = []
    for tick in range(80):
        at_s = 10_000 + tick / 10
        say(made, at_s, tick)
        made.pass_time(round((at_s - 0.05) * NS))  # before the first score: headers are unknown
        stamped = score(at_s - 5000, 2.0 if tick == 40 else 0.1)
        made.score(stamped, round(at_s * NS))
        found += made.due(round(at_s * NS))
    (captured,) = found
    stamps = [m.log_ns / NS for m in captured.subject.source.messages()]
    assert min(stamps) == pytest.approx(10_003.0)
    incident = captured.capture.incident
    assert max(stamps) == pytest.approx(incident.end_ns / NS + 5000 - 0.1)


@pytest.mark.parametrize('step_s', [-3600, 3600])
def test_headers_that_jump_close_the_capture_by_the_clock_that_was(step_s):
    made = recording(pre_roll_s=1.0, post_roll_s=1.0)
    found = []
    for tick in range(60):
        at_s = 10_000 + tick / 10
        say(made, at_s, tick)
        jumped = step_s if tick >= 30 else 0
        made.score(score(at_s + jumped, 2.0 if tick == 28 else 0.1), round(at_s * NS))
        found += made.due(round(at_s * NS))
    (captured,) = found
    incident = captured.capture.incident
    assert [incident.start_ns / NS, incident.onset_ns / NS] == [10_001.8, 10_002.8]
    assert incident.onset_ns < incident.end_ns <= 10_003 * NS
    stamps = [m.log_ns for m in captured.subject.source.messages()]
    assert incident.start_ns <= min(stamps) <= max(stamps) < incident.end_ns


@pytest.mark.parametrize('step_s', [-100, -3, 3600])
def test_a_recorders_clock_that_jumps_is_noticed_and_what_is_open_is_kept(step_s):
    made = recording(pre_roll_s=1.0, post_roll_s=5.0)
    assert made.has_jumped(10_000 * NS), 'the session began at another time'
    made.session = replace(made.session, start_ns=10_000 * NS)
    for tick in range(30):
        at_s = 10_000 + tick / 10
        assert not made.has_jumped(round(at_s * NS))
        say(made, at_s, tick)
        made.pass_time(round(at_s * NS))
        if tick == 20:
            made.ask('now', round(at_s * NS))
    assert made.has_jumped(round((at_s + step_s) * NS))
    (captured,) = made.flush()
    incident = captured.capture.incident
    assert incident.end_ns == round(at_s * NS) + 1, 'not beyond what was heard'
    assert len(list(captured.subject.source.messages())) == 20


def test_only_time_in_which_something_could_have_alarmed_is_watched():
    made = recording()
    assert made.watched() is None
    for tick in range(101):
        made.score(score(100 + tick / 10), round((100 + tick / 10) * NS))
    blind = AnomalyScore(
        0, (ChannelScore('picture', 0.1, float('nan'), False, False, ''),), '', ''
    )
    for tick in range(50):
        at_ns = round((110 + tick / 10) * NS)
        made.score(replace(blind, stamp_ns=at_ns), at_ns)
    made.score(score(1000.0), 1000 * NS)
    session = made.watched()
    assert session.watched_s == pytest.approx(10.0)
    assert (session.bag_id, session.robot, session.duration_s) == ('5' * 64, ROBOT, 1000.0)


def test_an_alarm_that_rings_as_the_recording_begins_has_a_window_in_order():
    made = recording(pre_roll_s=1.0, post_roll_s=0.5)
    made.pass_time(100 * NS)
    found = []
    for tick in range(30):
        at_s = 100.1 + tick / 10
        say(made, at_s, tick)
        made.score(score(at_s - 0.4, 2.0 if tick < 3 else 0.1), round(at_s * NS))
        found += made.due(round(at_s * NS))
    (captured,) = found
    incident = captured.capture.incident
    assert incident.start_ns <= incident.onset_ns <= incident.end_ns
    assert incident.onset_ns == round(99.7 * NS)
