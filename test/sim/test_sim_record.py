# SPDX-License-Identifier: Apache-2.0
"""A recorder pairs a world with its twin; seen here with a world of one number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cosmos_flywheel import schemas
from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.sim.messages import TEXT, text
from cosmos_flywheel.sim.record import record
from cosmos_flywheel.sim.world import Fault, Said, Setup, Span

SHOVE = Fault('shove', 'world', ('go',), 'the thing is moved', '0 … 1 m')
LAZY = Fault('lazy', 'policy', ('go',), 'the policy goes half as fast', 'half', True)
ONSET_S, STOP_S = 2.0, 3.0


class ToyWorld:
    """A thing that goes where it is told, and further while it is shoved."""

    seconds = 4.0

    def __init__(self, setup: Setup) -> None:
        self._setup, self._ticks, self._x = setup, 0, 0.0
        self.span = Span(ONSET_S, STOP_S) if setup.fault else None
        self.closed = False

    def command(self) -> np.ndarray:
        lazy = self._setup.has('lazy') and self._ticks >= 30 * ONSET_S
        return np.array([0.5 if lazy else 1.0])

    def step(self, command: np.ndarray) -> None:
        self._x += float(command[0]) / 30
        if self._setup.has('shove') and self._ticks == 30 * ONSET_S:
            self._x += self._setup.strength
        self._ticks += 1

    def messages(self, stamp_ns: int, command: np.ndarray):
        yield Said('/place', TEXT, text(f'{self._x:.3f}'))

    def picture(self) -> np.ndarray:
        return np.full((16, 16, 3), int(20 * self._x), np.uint8)

    def truth(self) -> dict[str, np.ndarray]:
        return {'pose_thing': np.array([self._x, 0, 0, 1, 0, 0, 0])}

    def ends_well(self):
        return True

    def close(self) -> None:
        self.closed = True


class Toy:
    name, tasks, faults = 'toy', {'go': 'go'}, {'shove': SHOVE, 'lazy': LAZY}
    control_hz, camera_hz, camera_topic = 30, 15, '/camera'

    def __init__(self) -> None:
        self.worlds: list[ToyWorld] = []

    def start(self, setup: Setup) -> ToyWorld:
        self.worlds.append(ToyWorld(setup))
        return self.worlds[-1]


NOMINAL = Setup('go', 4)


def test_a_nominal_episode_is_its_own_twin():
    recording = record(Toy(), NOMINAL)
    label = recording.label
    schemas.check(label, 'sim-label-v1')
    assert (label['fault'], label['kind'], label['is_failure']) == ('none', 'none', False)
    assert label['onset_frame'] is None
    assert label['max_object_deviation_m'] == 0
    assert label['frames'] == 60
    assert not recording.truth['is_affected'].any()


def test_a_fault_of_the_world_strays_from_a_twin_under_the_same_commands():
    recording = record(Toy(), replace(NOMINAL, fault=SHOVE, strength=0.4))
    label = recording.label
    schemas.check(label, 'sim-label-v1')
    assert label['twin'] == 'same_commands'
    assert (label['onset_frame'], label['onset_s']) == (30, 2.0)
    assert label['end_frame'] == label['frames'] == 60
    assert label['max_object_deviation_m'] == pytest.approx(0.4)
    assert recording.truth['is_affected'].nonzero()[0].tolist() == list(range(30, 60))


def test_a_fault_without_consequences_ends_with_its_cause():
    label = record(Toy(), replace(NOMINAL, fault=SHOVE, strength=0.004)).label
    assert (label['onset_frame'], label['end_frame'], label['end_s']) == (30, 45, 3.0)


def test_a_policy_that_errs_is_compared_with_one_that_does_not():
    recording = record(Toy(), replace(NOMINAL, fault=LAZY, strength=1.0))
    assert recording.label['twin'] == 'nominal_policy'
    assert recording.label['max_object_deviation_m'] == pytest.approx(0.5 * 59 / 30, abs=0.02)
    assert recording.truth['command'].min() == 0.5


def test_messages_come_in_the_order_of_recording_soon_after_their_stamps():
    recording = record(Toy(), NOMINAL)
    logs = [message.log_ns for message in recording.messages]
    assert logs == sorted(logs)
    pictures = [m for m in recording.messages if m.topic == '/camera']
    assert len(pictures) == 60
    start_ns = recording.label['start_ns']
    for number, message in enumerate(pictures):
        stamp = message.content['header']['stamp']
        stamp_ns = stamp['sec'] * 10**9 + stamp['nanosec']
        assert stamp_ns == start_ns + round(number / 15 * 1e9)
        assert 0 < message.log_ns - stamp_ns < 20_000_000


def test_every_seed_begins_at_another_instant():
    starts = {record(Toy(), Setup('go', seed), seconds=0.2).label['start_ns'] for seed in range(5)}
    assert len(starts) == 5
    last = record(Toy(), Setup('go', 2**40), seconds=0.2).label['start_ns']
    assert last < 2**31 * 10**9


def test_the_truth_has_a_row_for_each_frame():
    truth = record(Toy(), NOMINAL).truth
    assert {len(rows) for rows in truth.values()} == {60}
    assert truth['twin_pose_thing'] == pytest.approx(truth['pose_thing'])
    assert truth['time_s'][1] == 1 / 15


def test_the_film_is_of_the_twin_and_only_if_wanted():
    recording = record(Toy(), replace(NOMINAL, fault=SHOVE, strength=1.0))
    assert len(recording.twin_film) == 60
    assert recording.twin_film[-1].max() < 20 * recording.truth['pose_thing'][-1, 0] - 10
    assert record(Toy(), NOMINAL, film=False).twin_film == ()


def test_a_fault_after_the_end_is_refused():
    with pytest.raises(SimError, match=r'the fault begins at 2\.0 s, after the end'):
        record(Toy(), replace(NOMINAL, fault=SHOVE, strength=1.0), seconds=2.0)


def test_worlds_are_closed_whatever_happens():
    toy = Toy()
    record(toy, NOMINAL)

    def stop(done_s: float, whole_s: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(toy, NOMINAL, progress=stop)
    assert [world.closed for world in toy.worlds] == [True] * 4


def test_progress_is_told_to_the_end():
    told: list[tuple[float, float]] = []
    record(Toy(), NOMINAL, progress=lambda *so_far: told.append(so_far))
    assert told[-1] == (4.0, 4.0)
    assert len(told) == 120
