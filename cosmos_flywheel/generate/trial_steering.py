# SPDX-License-Identifier: Apache-2.0
"""The second question of a trial: do actions steer what is generated?

A chunk of commands is changed on one element at a time by a ramp, in both directions and by two
amounts, and what that moves in the picture is held against a reference: physics, where the robot
has a twin; else what the recordings show to move with that command.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

import numpy as np

from cosmos_flywheel.bags.recording import Recording, read_recording
from cosmos_flywheel.core.errors import ConfigError, NotNowError
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.base import Generator, Order, Steerable
from cosmos_flywheel.generate.clip import read_clip
from cosmos_flywheel.generate.purse import Purse
from cosmos_flywheel.generate.sim import TWINS, Simulator, task_of
from cosmos_flywheel.generate.steering import (
    Floats,
    Responses,
    Steering,
    agreement,
    flow,
    steering,
)
from cosmos_flywheel.generate.trial_answer import Answer, answered
from cosmos_flywheel.generate.trial_reference import (
    SHARES,
    STEPS,
    Instant,
    clip_instants,
    twin_instants,
)
from cosmos_flywheel.generate.trial_scenarios import Progress, Subject

AMOUNTS = np.array([-1.0, -0.5, 0.5, 1.0])
"""By which a command is changed, as shares of the most."""
REACH = 0.08
"""The most, as a share of the element's range in the envelope …"""
PACE = 0.5
"""… that is reached at so much of the envelope's speed at most."""
MOST_AXES = 8
"""Elements that are asked; those that were recorded to move most in their range."""
MOST_NOMINAL = 4
"""Recordings beside the clip that tell what should move."""
LEAST_SEEN_PX = 0.05
"""A command whose largest change should move less than this cannot be judged by this camera."""
LEAST_SHARE, MOST_SHARE = 0.33, 3.0
"""Of the reference's slope: less or more is no answer."""
MOST_LEAKAGE = 0.5
LEAST_RIGHT = 0.9
"""Share of the changes that must go the right way."""
LEAST_AGREEMENT = 0.9
"""Of tracked with true motion, where the generator is the twin itself."""
PIECE = 'rollout'
OWN, REFERENCE = 'own', 'reference'
ORDERED = Variation('near_miss', 'perturbed')
"""What a generator is told that it makes."""

State = Literal['answers', 'does not answer', 'not seen', 'not measured']


@dataclass(frozen=True, slots=True)
class Axis:
    """One element of the command."""

    name: str
    unit: str
    amount: float
    """The largest change that was asked."""
    state: State
    steering: Steering | None
    """None where nothing was measured or is to be seen."""
    points: tuple[tuple[float, float, float], ...]
    """Amount, and px along the reference's direction: the generator's and the reference's."""
    pictures: tuple[Picture, ...] = ()
    """What the generator shows at the end of a chunk: changed most down, and most up."""


@dataclass(frozen=True, slots=True)
class Steered:
    """What came of the question."""

    answer: Answer
    reference: str
    """In words; '' where nothing was asked."""
    instants: int
    """Chunks at which all elements were changed."""
    axes: tuple[Axis, ...]
    agreement: float | None = None
    """Correlation of tracked and true motion, where the truth is known."""


@dataclass(slots=True)
class _Notes:
    """What is gathered of one element."""

    found: list[Responses] = field(default_factory=list)
    moved: list[Floats] = field(default_factory=list)
    pictures: tuple[Picture, ...] = ()
    hidden: int = 0
    """Chunks at which the reference does not know what it moves."""


def ask_steering(
    subject: Subject, generator: Generator, purse: Purse, *, seed: int, progress: Progress
) -> Steered:
    """Change commands around one episode and track what moves.

    Raises:
        FlywheelError: the clip, the engine or the simulator cannot be used.

    """
    name = generator.name
    if generator.kind == 'augmentation':
        why = f'not applicable: {name} changes the appearance only, so no action steers it'
        return Steered(Answer('no-go', why), '', 0, ())
    if subject.brief.envelope is None:
        why = 'no commands are recorded, so none can be changed'
        return Steered(Answer('undecided', why), '', 0, ())
    if not isinstance(generator, (Steerable, Simulator)):
        why = f'{name} cannot be asked for one chunk under changed commands'
        return Steered(Answer('undecided', why), '', 0, ())
    order = subject.order(ORDERED, seed)
    recording = read_clip(order).recording
    axes = _axes(subject, recording)
    notes = {place: _Notes() for place in axes}
    lacking, done = '', 0
    for instant in _instants(subject, order):
        try:
            lacking = _ask(instant, order, generator, axes, notes, purse, progress, done)
        except (ConfigError, NotNowError) as error:
            lacking = str(error)
        if lacking:
            break
        done += 1
    by_twin = subject.robot.name in TWINS
    reference = 'the simulator' if by_twin else 'the recorded motion'
    found = tuple(_axis(subject, place, amount, notes[place]) for place, amount in axes.items())
    truth = _agreement(list(notes.values()))
    answer = _answer(found, name, reference, lacking, done, truth)
    return Steered(answer, reference, done, found, truth)


def _axes(subject: Subject, recording: Recording) -> dict[int, float]:
    """The largest change by element, of those that have a range."""
    envelope, hz = subject.brief.envelope, subject.robot.clock.hz
    assert envelope is not None
    reach = np.subtract(envelope.high, envelope.low)
    most = np.minimum(REACH * reach, PACE * np.asarray(envelope.speed) * STEPS / hz)
    used = np.nan_to_num(np.nanstd(recording.actions, 0)) / np.maximum(reach, 1e-9)
    moving = [i for i in np.argsort(-used, kind='stable') if most[i] > 1e-6 and used[i] > 1e-3]
    return {int(i): float(most[i]) for i in sorted(moving[:MOST_AXES])}


def _instants(subject: Subject, order: Order) -> Iterator[Instant]:
    twin = TWINS.get(subject.robot.name)
    clip = read_clip(order)
    if twin is not None:
        task = task_of(twin, clip.recording, subject.robot.action_names)
        yield from twin_instants(twin, task, subject.robot)
        return
    height, width = clip.recording.pictures.shape[1:3]
    others = [
        read_recording(bag, subject.robot, (height, width))
        for bag in subject.nominal[:MOST_NOMINAL]
    ]
    yield from clip_instants(clip, others, subject.robot.action.kind)


def _ask(
    instant: Instant,
    order: Order,
    generator: Generator,
    axes: dict[int, float],
    notes: dict[int, _Notes],
    purse: Purse,
    progress: Progress,
    done: int,
) -> str:
    """All elements at one instant; what the budget lacks, '' if nothing."""
    width = instant.path.shape[1]
    ramp = np.arange(1, STEPS + 1)[:, None] / STEPS
    plain: Picture | None = None
    if isinstance(generator, Steerable):
        lacking = purse.lacks(PIECE)
        if lacking:
            return lacking
        plain = _shown(generator, order, instant, instant.path, purse)
    for number, (place, amount) in enumerate(axes.items()):
        progress((done + number / len(axes)) / len(SHARES))
        if not instant.shows[place]:
            notes[place].hidden += 1
            continue
        own, real, moved = [], [], []
        pictures: list[Picture] = []
        for share in AMOUNTS:
            lacking = purse.lacks(PIECE)
            if lacking:
                return lacking
            offset = np.zeros(width)
            offset[place] = share * amount
            with purse.pay(PIECE):
                reply = instant.ask(offset)
            real.append(reply.flow)
            moved.append(np.sign(share) * reply.moved)
            picture = reply.picture
            if plain is not None and isinstance(generator, Steerable):
                picture = _shown(generator, order, instant, instant.path + ramp * offset, purse)
                scale = np.divide(instant.recording.pictures.shape[1:3], plain.shape[:2])
                own.append(flow(plain, picture) * scale[::-1])
            if picture is not None:
                pictures.append(picture)
        flows = {REFERENCE: np.array(real), OWN: np.array(own or real)}
        notes[place].found.append(Responses('', AMOUNTS * amount, flows))
        notes[place].moved.append(np.array(moved))
        if not notes[place].pictures and pictures:
            notes[place].pictures = (pictures[0], pictures[-1])
    return ''


def _shown(
    generator: Steerable, order: Order, instant: Instant, path: Floats, purse: Purse
) -> Picture:
    """The last picture under these commands."""
    with purse.pay(PIECE) as piece:
        frames, piece.gpu_s = generator.steered(order, instant.recording, instant.keyframe, path)
    return np.asarray(frames[-1], np.uint8)


def _axis(subject: Subject, place: int, amount: float, notes: _Notes) -> Axis:
    name = subject.robot.action_names[place]
    envelope = subject.brief.envelope
    assert envelope is not None
    unit = envelope.units[place]
    if not notes.found:
        state: State = 'not seen' if notes.hidden else 'not measured'
        return Axis(name, unit, amount, state, None, ())
    seen = [one for one in notes.found if _largest_px(one) >= LEAST_SEEN_PX]
    if not seen:
        return Axis(name, unit, amount, 'not seen', None, (), notes.pictures)
    one = steering(OWN, seen, REFERENCE)
    is_steered = (
        LEAST_SHARE <= one.share <= MOST_SHARE
        and one.leakage <= MOST_LEAKAGE
        and one.sign_right >= LEAST_RIGHT
    )
    state = 'answers' if is_steered else 'does not answer'
    return Axis(name, unit, amount, state, one, tuple(_points(seen)), notes.pictures)


def _largest_px(one: Responses) -> float:
    return float(np.linalg.norm(one.flows[REFERENCE], axis=1).max())


def _points(found: Sequence[Responses]) -> Iterator[tuple[float, float, float]]:
    for one in found:
        slope = one.amounts @ one.flows[REFERENCE]
        along = slope / np.linalg.norm(slope)
        for amount, own, real in zip(
            one.amounts, one.flows[OWN] @ along, one.flows[REFERENCE] @ along, strict=True
        ):
            yield float(amount), float(own), float(real)


def _agreement(notes: Sequence[_Notes]) -> float | None:
    """Of the reference's flow with the truth, over what is to be seen."""
    pairs = [
        (one, moved)
        for note in notes
        for one, moved in zip(note.found, note.moved, strict=True)
        if np.isfinite(moved).all() and np.abs(moved).max() > 0
        if _largest_px(one) >= LEAST_SEEN_PX
    ]
    if not pairs:
        return None
    found = agreement([one for one, _ in pairs], REFERENCE, [moved for _, moved in pairs])
    return found if isfinite(found) else None


def _answer(
    axes: Sequence[Axis], name: str, reference: str, lacking: str, done: int, truth: float | None
) -> Answer:
    deaf = [one for one in axes if one.state == 'does not answer']
    good = [one for one in axes if one.state == 'answers']
    against = [
        f'{name} does not answer to {", ".join(map(_in_words, deaf))} as {reference} does'
    ] * bool(deaf)
    if truth is not None and truth < LEAST_AGREEMENT:
        against.append(f'tracked and true motion agree with r = {truth:.2f} only')
    missing = []
    if lacking:
        missing.append(f'{done} of {len(SHARES)} chunks were changed, then {lacking}')
    elif not done:
        missing.append('no chunk before the failure is long enough to be changed')
    elif not deaf and not good:
        missing.append('no command moves enough in this picture to be judged')
    return answered(against, missing, f'{name} answers to {", ".join(a.name for a in good)}')


def _in_words(one: Axis) -> str:
    assert one.steering is not None
    return (
        f'{one.name} ({one.steering.share:.2f} of the slope, '
        f'{one.steering.leakage:.2f} of it across, direction right in '
        f'{one.steering.sign_right:.0%})'
    )
