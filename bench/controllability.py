# SPDX-License-Identifier: Apache-2.0
"""Do other commands move the picture as they should: response slope and cross-axis leakage.

A chunk of 8 ticks of the simulated arm's script is changed along one direction at a time by a ramp
that ends 0.04 or 0.08 rad beside it, either way (scale and sign): single joints, joints that move
as the script moves them (a hand that stays upright: the wrist takes back what shoulder and elbow
turn), and shoulder, elbow and wrist alike, which the script never does. What that moves is the
mean optical flow from the last picture of the unchanged chunk to that of the changed one. `sim`
moves as physics has it: the measuring tool's own check, against the true place of the hand.
`augment` shows what was recorded whatever is asked: its slope must be 0. `local` is the fitted
engine of demo/sim_arm, or of --model, asked by the function behind `flywheel generate`. Slopes are
in pixels of mean flow a radian along the direction in which the simulator moves; leakage is the
part of the response across that direction, as a share of it. The model was fitted to other seeds.
No Cosmos server was asked: none is configured here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
from common import ROOT, begin, print_table

from cosmos_flywheel.bags.recording import Recording
from cosmos_flywheel.engines import LocalModel
from cosmos_flywheel.generate.augment import AXES, changed, draw_look
from cosmos_flywheel.generate.local import roll_out
from cosmos_flywheel.generate.steering import Floats, Responses, agreement, flow, steering
from cosmos_flywheel.generate.twin import course
from cosmos_flywheel.sim import find_robot
from cosmos_flywheel.sim.world import Setup

AXES_TRIED = {
    'base': (1, 0, 0, 0), 'shoulder': (0, 1, 0, 0), 'elbow': (0, 0, 1, 0), 'wrist': (0, 0, 0, 1),
    'shoulder, hand upright': (0, 1, 0, -1), 'elbow, hand upright': (0, 0, 1, -1),
    'all three alike': (0, 3**-0.5, 3**-0.5, 3**-0.5),
}  # fmt: skip
"""What the first elements of the arm's command change by, by name."""
NOMINAL = ('base', 'shoulder, hand upright', 'elbow, hand upright')
"""Along these the script moves."""
AMOUNTS_RAD = (-0.08, -0.04, 0.04, 0.08)
STEPS = 8
STARTS = (30, 45, 60)
"""Ticks at 15 Hz at which a chunk begins."""
SEEDS = range(9300, 9308)
TASK = 'pick_place'
PERIODS = 2
"""Control periods in a tick."""
LEAST_AGREEMENT = 0.95


def main() -> int:
    """Perturb, roll out, track, fit."""
    bench = begin('controllability', __doc__ or '', model='what `flywheel fit` wrote')
    model = LocalModel.load(bench.given['model'] or ROOT / 'demo' / 'sim_arm')
    found: list[Responses] = []
    moved_m: list[Floats] = []
    for seed in list(SEEDS)[: 2 if bench.quick else None]:
        for start in STARTS[: 1 if bench.quick else None]:
            for responses, true_m in respond(model, Setup(TASK, seed), start):
                found.append(responses)
                moved_m.append(true_m)
    rows: list[tuple[object, ...]] = [
        ('generator', 'axis', 'slope px/rad', 'of the simulator', 'leakage', 'sign right')
    ]
    for name in ('sim', 'augment', 'local'):
        for axis in AXES_TRIED:
            figures = fit(name, [one for one in found if one.axis == axis])
            bench.figures[f'{name} {axis}'] = figures
            rows.append((name, axis, *(f'{value:.2f}' for value in figures.values())))
    print_table(rows)
    tool = agreement(found, 'sim', moved_m)
    bench.figures['tool'] = tool
    print(f'the tool: flow and true motion of the hand agree with r = {tool:.3f} over '
          f'{len(found) * len(AMOUNTS_RAD)} changes')  # fmt: skip
    bench.bars['the tool measures'] = tool > LEAST_AGREEMENT
    bench.bars['augment does not answer'] = all(
        abs(bench.figures[f'augment {axis}']['slope']) < 0.01 for axis in AXES_TRIED
    )
    bench.bars['local answers as the script moves'] = all(
        bench.figures[f'local {axis}']['slope'] > 0 for axis in NOMINAL
    )
    bench.bars['local answers to each joint'] = all(
        bench.figures[f'local {axis}']['slope'] > 0 for axis in AXES_TRIED
    )
    return bench.finish()


def respond(model: LocalModel, setup: Setup, start: int) -> Iterator[tuple[Responses, Floats]]:
    """Every axis at one start, and beside it how far the hand truly moved."""
    recording, path = recorded(setup, start)
    arm = find_robot('arm')
    plain = course(arm, setup, start, STEPS, np.zeros(path.shape[1]))
    still = roll_out(model, recording, start, path)[-1]
    look = draw_look(dict.fromkeys(AXES, 'as_recorded'), np.random.default_rng(start))
    shown = changed(plain.picture[None], look, np.random.default_rng(0))[0]
    for axis, direction in AXES_TRIED.items():
        flows: dict[str, list[Floats]] = {'sim': [], 'augment': [], 'local': []}
        moved: list[float] = []
        for amount in AMOUNTS_RAD:
            offset = np.zeros(path.shape[1])
            offset[: len(direction)] = amount * np.array(direction)
            real = course(arm, setup, start, STEPS, offset)
            ramp = np.arange(1, STEPS + 1)[:, None] / STEPS
            dreamt = roll_out(model, recording, start, path + ramp * offset)[-1]
            # It is given other commands, and shows the recorded clip all the same.
            augmented = changed(plain.picture[None], look, np.random.default_rng(0))[0]
            flows['sim'].append(flow(plain.picture, real.picture))
            flows['local'].append(flow(still, dreamt))
            flows['augment'].append(flow(shown, augmented))
            moved.append(float(np.linalg.norm(real.truth - plain.truth)) * np.sign(amount))
        whole = {name: np.array(vectors) for name, vectors in flows.items()}
        yield Responses(axis, np.array(AMOUNTS_RAD), whole), np.array(moved)


def recorded(setup: Setup, start: int) -> tuple[Recording, Floats]:
    """The episode up to a start, and the script's next commands: (STEPS, A)."""
    robot = find_robot('arm')
    pictures, states, commands = [], [], []
    with closing(robot.start(setup)) as world:
        for tick in range(start + STEPS):
            commands.append(world.command())
            if tick <= start:
                pictures.append(world.picture())
                states.append(world.truth()['joints'])
            for _ in range(PERIODS):
                world.step(world.command())
    stamps_ns = np.arange(start + 1) * 10**9 // robot.camera_hz
    actions = np.array(commands, np.float32)
    recording = Recording(
        stamps_ns, np.stack(pictures), np.array(states, np.float32), actions[: start + 1]
    )
    return recording, np.array(commands[start:], np.float64)


def fit(name: str, found: list[Responses]) -> dict[str, float]:
    """Slope along the simulator's direction, its share of the simulator's, leakage, signs."""
    one = steering(name, found, 'sim')
    return {
        'slope': one.slope,
        'of the simulator': one.share,
        'leakage': one.leakage,
        'sign right': one.sign_right,
    }


if __name__ == '__main__':
    raise SystemExit(main())
