# SPDX-License-Identifier: Apache-2.0
"""Do the numbers that the model is fed fill the range that its normaliser was made for?"""

from __future__ import annotations

import numpy as np

from cosmos_flywheel.core.domains import VECTOR
from cosmos_flywheel.core.normaliser import SMALLEST_SPAN
from cosmos_flywheel.core.preflight.belief import Belief
from cosmos_flywheel.core.preflight.finding import Finding, cannot_tell, listed
from cosmos_flywheel.core.preflight.log import Floats
from cosmos_flywheel.core.timeline import NS

NORMALISER, WIDTH = 'normaliser', 'width'
MOST_OUTSIDE = 0.25
"""By its making, 2 % of an element are clamped; another task may have more, but not so many."""
LEAST_USED = 0.06
"""A slow task uses a part of the range; NVIDIA's own notebooks used 1/55 of it."""
FEWEST_STEPS = 30


def check_width(belief: Belief) -> Finding:
    """The elements of the action against the width of the domain, where they are its vector."""
    robot = belief.study.robot
    domain = robot.domain
    if domain is None:
        return cannot_tell(WIDTH, 'the robot has no Cosmos domain')
    if domain.tool_rotation is not None:
        why = f'{len(VECTOR)} numbers are built from the flange and the gripper'
        missing = '' if robot.action.gripper else 'action.gripper'
        missing = missing if robot.cosmos.pose else 'cosmos.pose'
        if missing:
            why = f'domain {domain.name} is built from flange and gripper; {missing} is missing'
            return Finding(WIDTH, 'wrong', why, fix=f'write {missing}')
        return Finding(WIDTH, 'ok', why)
    width = len(robot.action_names)
    numbers = {'elements': float(width), 'domain': float(domain.width)}
    if width == domain.width:
        return Finding(WIDTH, 'ok', f'{width} numbers, as {domain.name} has', numbers=numbers)
    why = f'the action has {width} elements, domain {domain.name} has {domain.width}'
    fix = f'name {domain.width} elements in action.sources, or another cosmos.domain'
    return Finding(WIDTH, 'wrong', why, fix=fix, numbers=numbers)


def check_normaliser(belief: Belief) -> Finding:
    """Quantiles of the written normaliser against those of these recordings."""
    robot = belief.study.robot
    normaliser, domain = robot.action.normaliser, robot.domain
    if normaliser is None:
        if domain is not None and domain.normaliser is not None:
            why = f'domain {domain.name} was trained on normalised actions, none is written'
            return Finding(NORMALISER, 'wrong', why, fix='action.normaliser: quantile')
        return cannot_tell(NORMALISER, 'action.normaliser is none')
    vector = _vector(belief)
    if len(vector) < FEWEST_STEPS or vector.shape[1] != len(normaliser.q01):
        return cannot_tell(NORMALISER, f'{len(vector)} whole steps: too few to compare')
    names = VECTOR if _is_built(belief) else robot.action_names
    low, high = np.array(normaliser.q01), np.array(normaliser.q99)
    outside = ((vector < low - SMALLEST_SPAN) | (vector > high + SMALLEST_SPAN)).mean(axis=0)
    own = np.quantile(vector, (0.01, 0.99), axis=0)
    used = (own[1] - own[0]) / np.maximum(high - low, SMALLEST_SPAN)
    numbers = {'outside': float(outside.max()), 'used': float(np.median(used))}
    beyond = tuple(n for n, share in zip(names, outside, strict=True) if share > MOST_OUTSIDE)
    fix = 'action.normaliser: with the quantiles of `flywheel fit --stats`, or mend the units'
    if beyond:
        why = f'{outside.max():.0%} of {listed(beyond)} are beyond its quantiles and are clamped'
        return Finding(NORMALISER, 'wrong', why, beyond, fix, numbers)
    if np.median(used) < LEAST_USED:
        why = f'the actions use {np.median(used):.1%} of its range (median of the elements)'
        return Finding(NORMALISER, 'wrong', why, tuple(names), fix, numbers)
    why = f'the actions use {np.median(used):.0%} of its range, at most {outside.max():.0%} beyond'
    return Finding(NORMALISER, 'ok', why, numbers=numbers)


def _is_built(belief: Belief) -> bool:
    domain = belief.study.robot.domain
    return domain is not None and domain.tool_rotation is not None


def _vector(belief: Belief) -> Floats:
    """(N, A) what the model would be fed before it is normalised; whole rows only."""
    study, robot = belief.study, belief.study.robot
    if not _is_built(belief):
        told = np.concatenate([stretch.action for stretch in study.stretches])
        rows: Floats = told / np.array(study.meaning.action_si)
        return rows[np.isfinite(rows).all(1)]
    if robot.action.gripper is None or not robot.cosmos.pose:
        return np.empty((0, len(VECTOR)))
    place = robot.action_names.index(robot.action.gripper.name)
    parts = []
    for stretch in study.stretches:
        period_ns = round(NS / robot.clock.hz)
        times = np.arange(stretch.times_ns[0], stretch.times_ns[-1], period_ns)
        state = study.state_at(stretch, times) / np.array(study.meaning.state_si)
        held = np.searchsorted(stretch.times_ns, times, side='right') - 1
        gripper = stretch.action[held, place] / study.meaning.action_si[place]
        rows = robot.domain_vector(robot.poses(state), gripper[:-1]).astype(np.float64)
        parts.append(rows[np.isfinite(rows).all(1)])
    return np.concatenate(parts)
