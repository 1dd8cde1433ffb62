# SPDX-License-Identifier: Apache-2.0
"""The failure acted out again in the simulator: another scene, exact physics, known truth.

The twin is set up from what the brief says (robot, task, cause), never from the ground truth of
a recording.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_flywheel.bags.record import write_bag
from cosmos_flywheel.bags.recording import Recording, read_recording
from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.contract import Robot as RobotFile
from cosmos_flywheel.core.errors import ConfigError, OrderError
from cosmos_flywheel.core.lineage import canonical_json
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.actions import Commands, planned
from cosmos_flywheel.generate.acts import ACTS, not_acted, unproved
from cosmos_flywheel.generate.base import Extra, Made, Order, unknown_axis
from cosmos_flywheel.generate.clip import read_clip
from cosmos_flywheel.generate.staging import AXES, Twin, cell_of, setup_for, spoils
from cosmos_flywheel.sim import find_robot
from cosmos_flywheel.sim.record import Recording as SimRecording
from cosmos_flywheel.sim.record import record
from cosmos_flywheel.sim.render import load_mujoco
from cosmos_flywheel.sim.world import Fault, Setup

REVISION = 6
"""Counts up whenever equal orders get other episodes."""
TWINS: Mapping[str, str] = {'sim_arm': 'arm', 'sim_base': 'base'}
"""Simulated robot by the name in the robot file."""
CAUSES: Mapping[str, str] = {
    'actuator_stall': 'stall',
    'blocked_path': 'blocked',
    'camera_dropout': 'dropped_frames',
    'camera_freeze': 'freeze',
    'camera_latency': 'latency',
    'camera_occlusion': 'occlusion',
    'dropped_object': 'weak_grip',
    'fallen_goods': 'fallen_carton',
    'misplaced_pallet': 'relocated_pallet',
    'object_lost': 'lost',
    'object_moved': 'kick',
    'person_in_way': 'person',
    'repeated_attempt': 'double_pick',
    'slipped_object': 'slip',
}
"""Fault by a pack's word for the cause, where the two are not the same word."""
STEADY = ('texture', 'other_goods', 'relocated_pallet')
"""Faults whose onset nobody chooses."""
IN_THE_WAY = ('person', 'blocked_aisle', 'fallen_carton')
"""What a base can stop for."""
STRAIGHT_RAD_S = 1e-3


class Simulator:
    """The generator `sim`: see `Generator`."""

    name = 'sim'
    kind = 'simulation'
    repeatable = True
    parameters: Mapping[str, Any] = {'revision': REVISION}
    axes: Mapping[str, Collection[str]] = {
        axis: {**AXES.get(axis, {}), **ACTS.get(axis, {})} for axis in (*AXES, *ACTS)
    }

    @property
    def model(self) -> tuple[str, str | None]:
        """MuJoCo and its version: another one may compute other bytes."""
        return 'mujoco', str(load_mujoco().__version__)

    def check(self) -> None:
        """MuJoCo is there; SimError with a remedy if not."""
        load_mujoco()

    def refusal(self, brief: Brief, variation: Variation) -> str:
        """It needs a twin of the robot and a fault that is the cause."""
        twin = TWINS.get(brief.origin.robot)
        if twin is None:
            known = ', '.join(sorted(TWINS))
            return f'there is no twin of robot {brief.origin.robot!r}, only of {known}'
        faults = find_robot(twin).faults
        fault = faults.get(fault_of(brief))
        if fault is None:
            return (
                f'the twin cannot fail by {brief.failure.cause!r}; it can by {", ".join(faults)}'
            )
        return (
            unknown_axis(variation, self.axes)
            or not_acted(variation, twin, fault.name)
            or unfit(twin, fault, variation.family)
        )

    def make(self, order: Order) -> Made:
        """One episode of the twin."""
        twin = _twin_of(order)
        setup, place = setup_for(order, twin)
        recording = record(twin.robot, setup, film=False)
        untrue = unproved(order.variation, recording)
        if untrue:
            raise ConfigError(f'sim: {order.variation}: seed {order.seed}: {untrue}')
        clip = _as_bag(recording)
        seen = _read(clip, order.robot)
        commands = _commands(order, seen, recording)
        label = recording.label
        return Made(
            frames=seen.pictures,
            fps=order.robot.clock.hz,
            commands=commands,
            onset_s=label['onset_s'],
            files=(Extra('clip.mcap', 'bag', clip),),
            truth={
                'label.json': canonical_json(label) + b'\n',
                'truth.npz': _packed(recording.truth),
            },
            notes=_notes(order, setup, place, recording),
        )


def fault_of(brief: Brief) -> str:
    """The fault that a brief's cause means."""
    return CAUSES.get(brief.failure.cause, brief.failure.cause)


def task_of(robot: str, recording: Recording, names: tuple[str, ...]) -> str:
    """Which of the twin's tasks a clip shows, by what was commanded.

    The arm pushes with closed fingers. The base drives straight on and then round a curve to the
    pallet; on patrol it always bends a little.
    """
    actions = recording.actions
    if robot == 'arm':
        return 'pick_place' if np.nanmax(actions[:, names.index('gripper')]) > 0.005 else 'push'
    ahead, turn = actions[:, 0], actions[:, 1]
    moving = np.abs(ahead) > 0.05
    straight = float((np.abs(turn[moving]) < STRAIGHT_RAD_S).mean()) if moving.any() else 0.0
    turned_rad = abs(float(np.nansum(turn))) * float(np.median(np.diff(recording.times_s)))
    return 'dock' if straight > 0.25 or turned_rad > 0.9 else 'patrol'


def unfit(twin: str, fault: Fault, family: str) -> str:
    """Why a family cannot be acted out with this fault; '' if it can."""
    if family in ('earlier', 'later') and (fault.kind == 'policy' or fault.name in STEADY):
        return f'{fault.name} begins with a leg of the script, not {family}'
    if family in ('recovery', 'near_miss') and fault.kind == 'sensor':
        return f'{fault.name} is of the camera: the world does not notice it'
    if family == 'recovery' and twin == 'base' and fault.name not in IN_THE_WAY:
        return f'the base can only stop for what is in its way, not for {fault.name}'
    if family == 'near_miss' and fault.name == 'missed_grasp':
        return 'a hand that closes beside the cube of the twin always misses it'
    if family == 'recovery' and fault.name == 'blocked':
        return 'the expert of the arm knows no way round what blocks it'
    if fault.kind == 'benign':
        return f'{fault.name} is no failure'
    return ''


def _twin_of(order: Order) -> Twin:
    name = TWINS[order.brief.origin.robot]
    robot = find_robot(name)
    fault = robot.faults[fault_of(order.brief)]
    task = task_of(name, read_clip(order).recording, order.robot.action_names)
    if task not in fault.tasks:
        raise OrderError(
            f'brief {order.brief.id}: the clip shows {name} {task}, which cannot fail by '
            f'{fault.name}; correct the cause in the brief'
        )
    return Twin(robot, task, fault)


def _commands(order: Order, seen: Recording, recording: SimRecording) -> Commands:
    """What the script commanded between the pictures; its whole path keeps to the envelope.

    As the simulator was told, at each picture: who reads the bag knows no command before the first
    message has come.
    """
    label, told = recording.label, np.asarray(recording.truth['command'], np.float64)
    if order.brief.envelope is not None:
        planned(told, 'expert', order.robot, order.brief.envelope)
    since_s = (seen.stamps_ns[:-1] - label['start_ns']) / 1e9
    frames = np.clip(np.rint(since_s * label['fps']).astype(int), 0, len(told) - 1)
    return Commands(told[frames], 'expert', order.robot.clock.hz, order.robot.action_names)


def _notes(order: Order, setup: Setup, place: int, recording: SimRecording) -> tuple[str, ...]:
    fault = setup.fault
    assert fault is not None
    ends = 'well' if recording.ends_well else 'badly'
    cell = cell_of(order)
    notes = [
        f'simulation: {recording.label["robot"]} {setup.task}, scene {setup.seed}, '
        f'{fault.name} at strength {setup.strength:g}; the task ends {ends}',
        'cell: ' + ', '.join(f'{axis} {value}' for axis, value in cell.items()),
    ]
    if order.variation.actions != 'expert':
        notes.append(
            f'{order.variation.actions} commands were ordered; they belong to the recorded scene, '
            'so in this one the script of the simulator commands'
        )
    if place:
        notes.append(
            f'scene {place + 1} of the seed: those before leave the envelope or end otherwise'
        )
    if setup.recovers:
        notes.append('an expert that sees the true world takes over once the fault has shown')
        if spoils(order, fault):
            notes.append('without it the task ends badly')
    return tuple(notes)


def _as_bag(recording: SimRecording) -> bytes:
    """The episode as the one MCAP file of a bag."""
    with tempfile.TemporaryDirectory(prefix='flywheel-sim-') as aside:
        folder = Path(aside) / 'clip'
        write_bag(folder, recording.messages)
        (file,) = folder.glob('*.mcap')
        return file.read_bytes()


def _read(clip: bytes, robot: RobotFile) -> Recording:
    """What a harvest would see of it."""
    with tempfile.TemporaryDirectory(prefix='flywheel-sim-') as aside:
        path = Path(aside) / 'clip.mcap'
        path.write_bytes(clip)
        return read_recording(path, robot)


def _packed(arrays: Mapping[str, Any]) -> bytes:
    buffer = BytesIO()
    np.savez_compressed(buffer, **dict(arrays))
    return buffer.getvalue()
