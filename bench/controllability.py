# SPDX-License-Identifier: Apache-2.0
"""Do other commands move the picture as they should: response slope and cross-axis leakage.

A chunk of 8 ticks of the simulated arm's script is changed along one direction at a time by a ramp
that ends 0.04 or 0.08 rad beside it, either way (scale and sign): single joints, joints that move
as the script moves them (a hand that stays upright: the wrist takes back what shoulder and elbow
turn), and shoulder, elbow and wrist alike, which the script never does. What that moves is the
mean optical flow from the last picture of the unchanged chunk to that of the changed one. `sim`
moves as physics has it: the measuring tool's own check, against the true place of the hand.
`augment` shows what was recorded whatever is asked: its slope must be 0. `local` is asked by the
function behind `flywheel generate`, twice: the engine of demo/sim_arm, fitted to nominal bags, or
of --model; and one fitted to as many bags of the same seeds in which each joint sways on its own.
That one is recorded and fitted here, which takes half an hour, and kept in bench/out; or it is of
--swaying. Slopes are in pixels of mean flow a radian along the direction in which the simulator
moves; leakage is the part of the response across that direction, as a share of it.

Then what it costs: skill of both, as bench/skill.py has it, on episodes without a sway and with
one. All that is measured is of seeds that no engine was fitted to. No Cosmos server is asked:
bench/controllability_server.py does.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from common import OUT, ROOT, Bench, begin, print_table
from detection import TASKS, model_of, run_all
from skill import STEPS as AHEAD
from skill import errors, said, skills

from cosmos_flywheel.bags.recording import Recording
from cosmos_flywheel.capture.learn import read_clips
from cosmos_flywheel.cli.sim import record, truth_folder
from cosmos_flywheel.engines import Local, LocalModel
from cosmos_flywheel.engines.local import training
from cosmos_flywheel.generate.augment import AXES, changed, draw_look
from cosmos_flywheel.generate.local import roll_out
from cosmos_flywheel.generate.steering import Floats, Responses, agreement, flow, steering
from cosmos_flywheel.generate.twin import course
from cosmos_flywheel.sim import find_robot
from cosmos_flywheel.sim.world import Setup
from cosmos_flywheel.store.files import write_bytes
from cosmos_flywheel.store.robots import load_robot

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
ROBOT = 'sim_arm'
PLAIN, SWAYING = 'local, nominal bags', 'local, swaying bags'
SWAY_RAD = 0.12
FITTED_SEEDS = range(9000, 9120)
"""Of each task, as many as demo/sim_arm was fitted to."""
JUDGED_SEEDS = range(9500, 9510)
"""Of each task, for the skill."""
QUICK_BAGS, QUICK_STEPS = 12, 150
WORKERS = 2


def main() -> int:
    """Fit what is missing; perturb, roll out, track; foretell."""
    bench = begin(
        'controllability', __doc__ or '',
        model='what `flywheel fit` wrote on nominal bags', swaying='likewise on swaying ones',
    )  # fmt: skip
    folders = {PLAIN: bench.given['model'] or ROOT / 'demo' / ROBOT}
    folders[SWAYING] = bench.given['swaying'] or swaying_model(bench)
    tell_learnt(bench, folders)
    if bench.wants('steering'):
        ask_steering(bench, folders)
    if bench.wants('skill'):
        ask_skill(bench, folders)
    return bench.finish()


def swaying_model(bench: Bench) -> Path:
    """Its folder; recorded and fitted now if it is not there."""
    bags = recorded_bags(FITTED_SEEDS, SWAY_RAD)
    name = 'swaying_models'
    if bench.quick:
        bags, name = bags[:QUICK_BAGS], 'swaying_models_quick'
        training.MOST_STEPS = training.LEAST_STEPS = QUICK_STEPS
    run_all(record_one, bags, WORKERS, 'recording swaying bags')
    model_of(OUT / name, ROBOT, [bag[0] for bag in bags])
    return OUT / name / ROBOT


def recorded_bags(seeds: Sequence[int], sway_rad: float) -> list[tuple[Path, str, int, float]]:
    """What `record_one` records: both tasks of each seed."""
    folder = OUT / 'episodes' / f'{ROBOT}_{"swaying" if sway_rad else "plain"}'
    return [(folder / f'{t}_{s}', t, s, sway_rad) for s in seeds for t in TASKS[ROBOT][1]]


def record_one(job: tuple[Path, str, int, float]) -> None:
    """Record one nominal episode unless it is there."""
    path, task, seed, sway_rad = job
    if not (truth_folder(path) / 'label.json').exists():
        record(path, robot='arm', task=task, seed=seed, film=False, sway_rad=sway_rad)


def tell_learnt(bench: Bench, folders: Mapping[str, Path]) -> None:
    """How much of each command's motion in the bags the other commands leave unexplained."""
    rows: list[tuple[object, ...]] = [
        ('engine', *load_robot(ROBOT).action_names, 'only moved together')
    ]
    for name, folder in folders.items():
        learnt = LocalModel.load(folder).identifiability
        if learnt is not None:
            shares = (f'{one:.2f}' for one in learnt.tolerance)
            rows.append((name, *shares, learnt.together() or '-'))
            bench.figures[f'{name}: own share of motion'] = learnt.tolerance
    print_table(rows)


def ask_steering(bench: Bench, folders: Mapping[str, Path]) -> None:
    """Slopes of all generators along all directions."""
    seeds = SEEDS[: 2 if bench.quick else None]
    starts = STARTS[: 1 if bench.quick else None]
    askers: dict[str, Path | None] = {'sim': None, **folders}
    told: list[dict[str, Floats]] = [{} for _ in seeds]
    for name, folder in askers.items():
        jobs = [(name, folder, seed, tuple(starts)) for seed in seeds]
        for one, more in zip(told, run_all(respond, jobs, WORKERS, name), strict=True):
            one.update(more)
    moved = np.concatenate([one.pop('moved') for one in told])
    flows = {name: np.concatenate([one[name] for one in told]) for name in told[0]}
    axes = list(AXES_TRIED) * len(starts) * len(seeds)
    found = [
        Responses(axis, np.array(AMOUNTS_RAD), {name: every[i] for name, every in flows.items()})
        for i, axis in enumerate(axes)
    ]
    rows: list[tuple[object, ...]] = [
        ('generator', 'axis', 'slope px/rad', 'of the simulator', 'leakage', 'sign right')
    ]
    for name in flows:
        for axis in AXES_TRIED:
            figures = fit(name, [one for one in found if one.axis == axis])
            bench.figures[f'{name} {axis}'] = figures
            rows.append((name, axis, *(f'{value:.2f}' for value in figures.values())))
    print_table(rows)
    tool = agreement(found, 'sim', list(moved))
    bench.figures['tool'] = tool
    print(f'the tool: flow and true motion of the hand agree with r = {tool:.3f} over '
          f'{len(found) * len(AMOUNTS_RAD)} changes\n')  # fmt: skip
    bench.bars['the tool measures'] = tool > LEAST_AGREEMENT
    bench.bars['augment does not answer'] = all(
        abs(bench.figures[f'augment {axis}']['slope']) < 0.01 for axis in AXES_TRIED
    )
    for name in folders:
        bench.bars[f'{name}: answers as the script moves'] = all(
            bench.figures[f'{name} {axis}']['slope'] > 0 for axis in NOMINAL
        )
        bench.bars[f'{name}: answers to each joint'] = all(
            bench.figures[f'{name} {axis}']['slope'] > 0 for axis in AXES_TRIED
        )


def respond(job: tuple[str, Path | None, int, Sequence[int]]) -> dict[str, Floats]:
    """What each change at each start of one episode moves, kept in bench/out.

    Args:
        job: whom to ask, the engine's folder (None asks the simulator and `augment`), the seed,
            and where chunks begin.

    Returns:
        By generator, (starts x axes, amounts, 2) px; of the simulator also `moved`, (starts x
        axes, amounts) m that the hand truly moved, signed as the amounts.

    """
    name, folder, seed, starts = job
    model = None if folder is None else LocalModel.load(folder)
    who = name if model is None else model.sha256[:16]
    kept = OUT / 'controllability' / f'{who}_{seed}_{"_".join(map(str, starts))}.npz'
    if not kept.exists():
        setup = Setup(TASK, seed)
        some = [shown(setup, s) if model is None else dreamt(model, setup, s) for s in starts]
        whole = {key: np.concatenate([one[key] for one in some]) for key in some[0]}
        buffer = io.BytesIO()
        np.savez(buffer, **whole)  # type: ignore[arg-type]
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(kept, buffer.getvalue())
    with np.load(kept) as arrays:
        return {name if key == 'local' else key: arrays[key] for key in arrays}


def offsets(width: int) -> Iterator[tuple[float, Floats]]:
    """Every amount along every axis, and what it adds to a command: (width,)."""
    for direction in AXES_TRIED.values():
        for amount in AMOUNTS_RAD:
            offset = np.zeros(width)
            offset[: len(direction)] = amount * np.array(direction)
            yield amount, offset


def laid_out(values: Sequence[Any]) -> Floats:
    """(axes, amounts, …)."""
    every = np.array(values)
    return every.reshape(len(AXES_TRIED), len(AMOUNTS_RAD), *every.shape[1:])


def shown(setup: Setup, start: int) -> dict[str, Floats]:
    """What physics moves at one start, and what `augment` shows of it."""
    arm = find_robot('arm')
    width = len(load_robot(ROBOT).action_names)
    plain = course(arm, setup, start, STEPS, np.zeros(width))
    look = draw_look(dict.fromkeys(AXES, 'as_recorded'), np.random.default_rng(start))
    clip = changed(plain.picture[None], look, np.random.default_rng(0))[0]
    real, augmented, moved = [], [], []
    for amount, offset in offsets(width):
        one = course(arm, setup, start, STEPS, offset)
        real.append(flow(plain.picture, one.picture))
        # It is given other commands, and shows the recorded clip all the same.
        again = changed(plain.picture[None], look, np.random.default_rng(0))[0]
        augmented.append(flow(clip, again))
        moved.append(float(np.linalg.norm(one.truth - plain.truth)) * np.sign(amount))
    return {'sim': laid_out(real), 'augment': laid_out(augmented), 'moved': laid_out(moved)}


def dreamt(model: LocalModel, setup: Setup, start: int) -> dict[str, Floats]:
    """What an engine moves at one start."""
    recording, path = recorded(setup, start)
    still = roll_out(model, recording, start, path)[-1]
    ramp = np.arange(1, STEPS + 1)[:, None] / STEPS
    every = [
        flow(still, roll_out(model, recording, start, path + ramp * offset)[-1])
        for _, offset in offsets(path.shape[1])
    ]
    return {'local': laid_out(every)}


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


def ask_skill(bench: Bench, folders: Mapping[str, Path]) -> None:
    """Skill of each engine on episodes of both kinds."""
    rows: list[tuple[object, ...]] = [('episodes', 'engine', *(f'k = {k}' for k in AHEAD))]
    for sway_rad in (0.0, SWAY_RAD):
        kind = 'swaying' if sway_rad else 'nominal'
        bags = recorded_bags(JUDGED_SEEDS[: 2 if bench.quick else None], sway_rad)
        run_all(record_one, bags, WORKERS, f'recording {kind} episodes')
        jobs = [(folder, kind, tuple(bag[0] for bag in bags)) for folder in folders.values()]
        for name, found in zip(folders, run_all(foretell, jobs, WORKERS, kind), strict=True):
            bench.figures[f'skill, {name}, {kind} episodes'] = found
            rows.append((kind, name, *(said(skill) for skill in found.values())))
    print_table(rows)


def foretell(job: tuple[Path, str, Sequence[Path]]) -> dict[str, dict[str, Any]]:
    """Skill of one engine on bags of one kind, by step; kept in bench/out."""
    folder, kind, bags = job
    model = LocalModel.load(folder)
    kept = OUT / 'controllability' / f'{model.sha256[:16]}_{kind}_{len(bags)}.json'
    if not kept.exists():
        engine = Local(model)
        _, clips = read_clips(bags, load_robot(ROBOT))
        found = skills([errors(engine, clip, shuffled=False) for bag in clips for clip in bag])
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(kept, json.dumps(found).encode())
    skill: dict[str, dict[str, Any]] = json.loads(kept.read_bytes())
    return skill


if __name__ == '__main__':
    raise SystemExit(main())
