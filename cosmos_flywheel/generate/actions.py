# SPDX-License-Identifier: Apache-2.0
"""Where the commands of a candidate come from, each path held against the brief's envelope.

A path that leaves the envelope is refused by the name of the bound; none is clamped in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.recording import Recording
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.envelope import Envelope
from cosmos_flywheel.core.errors import ConfigError, EngineError, OrderError
from cosmos_flywheel.engines.cosmos.actions import ActionMap

Numbers = NDArray[np.float64]
"""(N, A) commands in the robot's units, one a tick."""

BLEND_S = 1.0
"""A path that is taken from elsewhere is led over within this time."""
NEAREST = 60
"""So many nominal instants are tried."""
FASTER, SLOWER = 1.25, 0.75
"""By how much a path is sped up or slowed down."""
EARLIER_S = 0.3
"""By how much a path is shifted."""
HARDER = 1.2
"""By how much the motion from a path's start is amplified."""
LARGEST_SHARE = 0.08
"""Of an element's range in the envelope that a perturbation is tried at first …"""
TRIES = 5
"""… then half of it, so many times."""
KNOT_S = 0.7
"""Between the random numbers that a perturbation runs through."""


@dataclass(frozen=True, slots=True)
class Commands:
    """A path of commands, and what is known of it."""

    values: Numbers
    source: str
    """One of `core.brief.ACTION_SOURCES`."""
    hz: float
    """Commands a second."""
    names: tuple[str, ...]
    """Of the A elements."""
    model: NDArray[np.float32] | None = None
    """(N, D) in the units of the robot's Cosmos domain, normalised; None without a domain."""
    violations: tuple[str, ...] = ()
    """Of the brief's envelope; a path that was planned has none."""


def recorded_commands(
    recording: Recording, robot: Robot, envelope: Envelope | None
) -> Commands | None:
    """What was commanded between the T pictures of a recording: T − 1; None without commands.

    What was executed is a fact: where it leaves the envelope, that is said and not refused. What
    was commanded before the first message of a topic is NaN.
    """
    if not robot.action_names or len(recording) < 2:
        return None
    values = np.asarray(recording.actions[:-1], np.float64)
    if not np.isfinite(values).any():
        return None
    bounds = None if envelope is None else _at(envelope, robot.clock.hz)
    left = () if bounds is None else bounds.violations(values, recorded=True)
    return Commands(
        values,
        'recorded',
        robot.clock.hz,
        robot.action_names,
        model_units(recording, robot),
        tuple(map(str, left)),
    )


def planned(
    values: Numbers,
    source: str,
    robot: Robot,
    envelope: Envelope | None,
    before: Numbers | None = None,
) -> Commands:
    """A path that somebody chose.

    Args:
        values: (N, A) at the robot's clock.
        source: who chose it.
        robot: whose commands they are.
        envelope: what they must keep to.
        before: (n, A) commands executed just before: the join is judged too.

    Raises:
        ConfigError: there is no envelope, or the path leaves it; names the bound.

    """
    if envelope is None:
        raise OrderError(
            f'{source} commands need an envelope to keep within and the brief has none; '
            'make the brief again with nominal bags, or take recorded commands'
        )
    left = _at(envelope, robot.clock.hz).violations(values, before)
    if left:
        more = f', and {len(left) - 1} more' if len(left) > 1 else ''
        raise ConfigError(
            f'{source} commands are refused: {left[0]}{more}; take another seed or source, or '
            'widen the envelope of the brief by hand if the robot may do this'
        )
    return Commands(np.asarray(values, np.float64), source, robot.clock.hz, robot.action_names)


def varied_in_time(path: Numbers, family: str, hz: float, share: float = 1.0) -> Numbers:
    """The path as a family wants it: faster, slower, earlier, later, harder; else unchanged.

    It begins where it began and is as long as it was: a path that ends early holds its last
    command. `share` is how much of the change is made, 0 … 1.
    """
    steps = np.arange(len(path), dtype=np.float64)
    if family == 'harder':
        return np.asarray(path[:1] + (1 + share * (HARDER - 1)) * (path - path[:1]), np.float64)
    wanted: Numbers | None = {
        'faster': (1 + share * (FASTER - 1)) * steps,
        'slower': (1 + share * (SLOWER - 1)) * steps,
        'earlier': _eased_shift(steps, share * EARLIER_S * hz),
        'later': _eased_shift(steps, -share * EARLIER_S * hz),
    }.get(family)
    if wanted is None:
        return np.array(path, np.float64)
    return np.asarray(
        np.column_stack([np.interp(wanted, steps, column) for column in path.T]), np.float64
    )


def perturbed(
    path: Numbers,
    chance: np.random.Generator,
    envelope: Envelope,
    hz: float,
    before: Numbers,
    known: Callable[[Numbers], Numbers] | None = None,
) -> tuple[Numbers, float]:
    """A path beside this one, and by which share of each element's range it strays at most.

    Smooth random offsets that begin at nothing are tried at `LARGEST_SHARE` of the range, then at
    half of it, until the whole path keeps to the envelope. `known` leaves of offsets (N, A) what
    can be answered to.

    Raises:
        ConfigError: not even the smallest keeps to it; names the bound.

    """
    reach = np.subtract(envelope.high, envelope.low)
    offset = _smooth_noise(chance, len(path), path.shape[1], hz) * reach
    if known is not None:
        offset = known(offset)
    bounds = _at(envelope, hz)
    share, left = LARGEST_SHARE, bounds.violations(path, before)
    for _ in range(TRIES):
        found = path + share * offset
        left = bounds.violations(found, before)
        if not left:
            return found, share
        share /= 2
    raise ConfigError(
        f'perturbed commands are refused: even {2 * share:.1%} of the range leaves the envelope '
        f'({left[0]}); the path that is perturbed is near a bound: take another source'
    )


def nominal_path(
    nominal: Sequence[Recording],
    state: NDArray[np.float32],
    envelope: Envelope,
    before: Numbers,
    steps: int,
    hz: float,
    rank: int = 0,
) -> tuple[Numbers, str]:
    """What was commanded after the nominal instant that is most like this one, and which that was.

    Instants are compared by state, each element in multiples of its spread. The path is led over
    from the last command within `BLEND_S`; of the `NEAREST` instants those count whose path keeps
    to the envelope.

    Args:
        nominal: recordings in which nothing went wrong.
        state: (S,) where to go on from; elements that are NaN are not compared.
        envelope: what the path must keep to.
        before: (n, A) commands executed just before.
        steps: how many commands are wanted.
        hz: ticks a second.
        rank: which of those that count: 0 the nearest; the last one if there are fewer.

    Raises:
        OrderError: no recording has so many commands after a known state, or no path keeps to
            the envelope; names the bound that the nearest leaves.

    """
    fit = [one for one in nominal if len(one) > steps]
    if not fit:
        raise OrderError(
            f'no nominal recording is {steps} commands long; give more of them with --nominal'
        )
    bounds, first_left = _at(envelope, hz), ''
    found: list[tuple[Numbers, str]] = []
    for apart, number, tick in _nearest(fit, state, steps):
        path = np.asarray(fit[number].actions[tick : tick + steps], np.float64)
        share = _ease(np.arange(1, steps + 1) / max(1.0, BLEND_S * hz))[:, None]
        led = path + (1 - share) * (before[-1] - path[0])
        left = bounds.violations(led, before)
        first_left = first_left or (str(left[0]) if left else '')
        if not left:
            said = f'nominal recording {number + 1} from its tick {tick}'
            found.append((led, f'commands of {said}, {apart:.2f} spreads of the state away'))
        if len(found) > rank:
            break
    if found:
        return found[-1]
    if not first_left:
        raise OrderError('no nominal recording has a state to compare; give others')
    raise OrderError(
        f'nominal commands are refused: led over from the last command, none of the {NEAREST} '
        f'nearest keeps to the envelope (the nearest: {first_left}); give more nominal recordings'
    )


def _nearest(
    recordings: Sequence[Recording], state: NDArray[np.float32], steps: int
) -> list[tuple[float, int, int]]:
    """Distance, recording and tick of the instants that are most like a state, nearest first."""
    spread = np.nanstd(np.concatenate([one.states for one in recordings]), 0)
    spread[~(spread > 1e-6)] = np.inf
    found: list[tuple[float, int, int]] = []
    for number, one in enumerate(recordings):
        apart = ((one.states[: len(one) - steps] - state) / spread) ** 2
        known = np.isfinite(apart)
        mean = np.where(known, apart, 0).sum(1) / np.maximum(known.sum(1), 1)
        is_sound = known.any(1) & np.isfinite(one.actions[: len(mean)]).all(1)
        found += [(float(np.sqrt(mean[t])), number, int(t)) for t in np.flatnonzero(is_sound)]
    return sorted(found)[:NEAREST]


def model_units(recording: Recording, robot: Robot) -> NDArray[np.float32] | None:
    """(T − 1, D) what was done, in the model space of the robot's Cosmos domain.

    None where there is no domain, its rows are not made of what is recorded, or some of it is not
    known.
    """
    if robot.domain is None or len(recording) < 2:
        return None
    try:
        rows = ActionMap.of(robot).executed(recording.states, recording.actions[:-1])
    except (ConfigError, EngineError):
        return None
    return np.asarray(rows, np.float32) if np.isfinite(rows).all() else None


def _at(envelope: Envelope, hz: float) -> Envelope:
    """The same bounds for commands at another rate: they are in units a second."""
    return replace(envelope, hz=hz)


def _smooth_noise(chance: np.random.Generator, steps: int, width: int, hz: float) -> Numbers:
    """(steps, width) within −1 … 1: a spline through random knots, 0 at the beginning."""
    every = max(2.0, KNOT_S * hz)
    knots = chance.uniform(-1, 1, (int(steps / every) + 3, width))
    knots[0] = 0
    at = np.arange(1, steps + 1) / every
    left = at.astype(int)
    share = _ease(at - left)[:, None]
    return np.asarray(knots[left] * (1 - share) + knots[left + 1] * share, np.float64)


def _eased_shift(steps: NDArray[np.float64], by: float) -> NDArray[np.float64]:
    """Steps of a path that runs ahead by so many (behind if negative), reached smoothly."""
    reached = _ease(np.minimum(steps / max(1.0, 3 * abs(by)), 1.0))
    return np.clip(steps + by * reached, 0, steps[-1])


def _ease(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 0 to 1 with the least jerk (Flash and Hogan, 1985); 1 from there on."""
    s = np.clip(share, 0, 1)
    return np.asarray(s**3 * (10 - 15 * s + 6 * s**2))
