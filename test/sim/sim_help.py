# SPDX-License-Identifier: Apache-2.0
"""Runs worlds without a recorder."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import numpy as np

from cosmos_flywheel.sim import find_robot
from cosmos_flywheel.sim.world import Said, Span, setup_of

SCENE = """<mujoco><worldbody>
  <light pos="0 0 3"/><camera name="above" pos="0 0 1"/>
  <geom type="plane" size="2 2 0.1" rgba="0.2 0.2 0.2 1"/>
  <geom type="sphere" size="0.2" rgba="1 0 0 1"/>
</worldbody></mujoco>"""
"""A red ball on a grey floor, in the middle of the picture."""


@dataclass(frozen=True)
class Drive:
    """One episode, a row each control period."""

    span: Span | None
    hz: int
    commands: np.ndarray
    truth: dict[str, np.ndarray]
    said: list[list[Said]]

    @property
    def onset(self) -> int:
        """The control period in which the fault begins."""
        assert self.span is not None
        return round(self.span.start_s * self.hz)

    def last(self, topic: str) -> str:
        """What was said last on a topic of texts."""
        return next(
            m.content['data'] for row in reversed(self.said) for m in row if m.topic == topic
        )


def drive(robot: str, task: str, seed: int = 0, fault: str = 'none', strength: float = 1) -> Drive:
    """Run an episode under its own policy; nothing is rendered."""
    chosen = find_robot(robot)
    commands, truths, said = [], [], []
    with closing(chosen.start(setup_of(chosen, task, seed, fault, strength))) as world:
        for _ in range(round(world.seconds * chosen.control_hz)):
            command = world.command()
            commands.append(command)
            truths.append(world.truth())
            said.append(list(world.messages(0, command)))
            world.step(command)
        truth = {name: np.array([t[name] for t in truths]) for name in truths[0]}
        return Drive(world.span, chosen.control_hz, np.array(commands), truth, said)


def strays_m(one: Drive, other: Drive, name: str) -> float:
    """How far an object gets from where it is in another episode."""
    count = min(len(one.commands), len(other.commands))
    apart = one.truth[f'pose_{name}'][:count, :3] - other.truth[f'pose_{name}'][:count, :3]
    return float(np.linalg.norm(apart, axis=1).max())
