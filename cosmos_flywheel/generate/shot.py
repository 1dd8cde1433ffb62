# SPDX-License-Identifier: Apache-2.0
"""An order → the film that a world model is asked for, all of it checked before it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.recording import Recording
from cosmos_flywheel.core.caption import brief_caption
from cosmos_flywheel.core.errors import ConfigError, PermanentError
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.engines.base import FORWARD_DYNAMICS, POLICY
from cosmos_flywheel.engines.cosmos.canvas import Canvas
from cosmos_flywheel.generate.actions import Commands, Numbers, recorded_commands
from cosmos_flywheel.generate.base import Order
from cosmos_flywheel.generate.clip import FailureClip, read_clip
from cosmos_flywheel.generate.conditions import (
    LATENT_GROUP,
    Rows,
    chunk_of,
    executed_rows,
    planned_rows,
    proposed_commands,
    untold,
    varied_prompt,
)
from cosmos_flywheel.generate.film_kind import (
    CONTROLS,
    IMAGE_TO_VIDEO,
    NEW_SCENE,
    VIDEO_TO_VIDEO,
    film_kind,
)
from cosmos_flywheel.generate.framing import content_of, fitted, laid, size_of
from cosmos_flywheel.generate.local import CONTEXT_S, IN_TIME, plan_commands
from cosmos_flywheel.generate.pictures import blurred, edges
from cosmos_flywheel.store.briefs import BRIEFS
from cosmos_flywheel.video.decode import decode_video

LOOKS: Mapping[str, Callable[[Picture], Picture]] = {'edge': edges, 'blur': blurred}
"""Of a control that is drawn anew in the film's size; depth comes from the brief's film."""
MOST_FRAMES = 189
"""Of a film without actions, as Cosmos 3 was trained (cosmos-framework, `inference/defaults`)."""
MOST_CONTROLLED = 93
"""Along a control: what the server makes at once (vllm-omni, `cosmos3/transfer.py`)."""
MOST_CHUNKS = 4
"""Every chunk goes on from the last picture of the one before, and errors add up."""
LONGEST: Mapping[int, int] = {256: 400, 480: 300}
"""Frames of one call by tier (cosmos-framework, `docs/faq`); 200 at larger ones."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A film to be asked for."""

    kind: str
    size: tuple[int, int]
    """(H, W) in px that is asked for."""
    shown: tuple[int, int]
    """(H, W) in px of its upper left part that is the camera's picture."""
    frames: int
    """The given picture included."""
    fps: float
    chunk: int
    """Actions of one call; without actions, frames after the first."""
    order: Order
    clip: FailureClip
    begin: int
    """Tick of the clip that the film begins at."""
    context: NDArray[np.uint8]
    """(n, *shown, 3) recorded pictures that come before what is made; the last is given."""
    control: tuple[str, NDArray[np.uint8]] | None = None
    """Kind and (frames, *size, 3)."""
    rows: Rows | None = None
    """(frames - 1, width) in the model space of the robot's domain."""
    commands: Commands | None = None
    """Of context and film."""
    notes: tuple[str, ...] = ()

    @property
    def onset_s(self) -> float | None:
        """When the failure begins in context and film, where that is asked for as it was."""
        if self.order.variation.family != NEW_SCENE:
            return None
        recording, before = self.clip.recording, max(0, len(self.context) - 1)
        return max(0.0, self.clip.onset_s - float(recording.times_s[self.begin - before]))

    @property
    def avoid(self) -> str:
        """What the model is led away from, without what a tokenizer may take for its own."""
        return self.order.brief.prompt.negative.replace('<', ' ')

    def caption(self, at: int = 0, frames: int | None = None) -> str:
        """What the model reads of a part of the film that begins `at` frames into it."""
        begin_s = float(self.clip.recording.times_s[self.begin]) + at / self.fps
        prompt = varied_prompt(self.order.brief.prompt, self.order.variation)
        return brief_caption(prompt, frames or self.frames, self.fps, self.size, begin_s)


def shot_of(order: Order, tier: int = 0, most_frames: int = 0) -> Shot:
    """What is asked for; nothing is sent yet.

    Args:
        order: one candidate.
        tier: of the film; 0 for the brief's.
        most_frames: that are made, the given picture included; 0 for what its kind usually has.

    Raises:
        ConfigError: commands leave the envelope or are not known.
        PermanentError: the clip is too short, or a control of the brief is not there.
        StoreError: the clip is not there.

    """
    kind, why = film_kind(order.brief, order.variation, order.robot)
    if why:
        raise PermanentError(why)
    order, clip = _at_tier(order, tier), read_clip(order)
    if kind == VIDEO_TO_VIDEO:
        return _controlled(order, clip, most_frames)
    if kind == IMAGE_TO_VIDEO:
        return _from_picture(order, clip, most_frames)
    return _with_actions(order, clip, kind, most_frames)


def steered_shot(
    order: Order, recording: Recording, keyframe: int, path: Numbers, tier: int = 0
) -> Shot:
    """One chunk under any commands (N, A), without a context but the keyframe.

    Raises:
        ConfigError: the robot's domain cannot tell such commands.

    """
    why = untold(order.robot, 'planned')
    if why:
        raise ConfigError(why)
    order = _at_tier(order, tier)
    canvas = Canvas.choose(size_of(recording), order.brief.scene.tier)
    return Shot(
        kind=FORWARD_DYNAMICS,
        size=canvas.shown,
        shown=canvas.shown,
        frames=len(path) + 1,
        fps=order.robot.clock.hz,
        chunk=len(path),
        order=order,
        clip=FailureClip(recording, float(recording.times_s[keyframe]), keyframe),
        begin=keyframe,
        context=fitted(recording, keyframe, keyframe + 1, canvas),
        rows=planned_rows(order.robot, recording.states[keyframe], path),
    )


def past_commands(recording: Recording, begin: int, ticks: int) -> Numbers:
    """(n, A) of the ticks before one of them, as far as the clip goes back."""
    return np.asarray(recording.actions[max(0, begin - ticks) : begin], np.float64)


def with_past(
    order: Order,
    recording: Recording,
    begin: int,
    before: Numbers,
    found: Commands,
    rows: Rows,
) -> Commands:
    """With the recorded commands of the context in front, in both units where they are known."""
    model: Rows | None = rows
    if len(before):
        try:
            past = executed_rows(order.robot, recording, begin - len(before), begin)
            model = np.concatenate([past, rows])
        except ConfigError:
            model = None
    values = np.concatenate([before, found.values])
    return Commands(values, found.source, found.hz, found.names, model, found.violations)


def _at_tier(order: Order, tier: int) -> Order:
    scene = replace(order.brief.scene, tier=tier or order.brief.scene.tier)
    return replace(order, brief=replace(order.brief, scene=scene))


def _with_actions(order: Order, clip: FailureClip, kind: str, most_frames: int) -> Shot:
    recording, robot, begin = clip.recording, order.robot, clip.keyframe
    chunk = chunk_of(robot)
    most, left = (
        most_frames - 1 if most_frames else MOST_CHUNKS * chunk,
        len(recording) - 1 - begin,
    )
    if kind == POLICY:
        # Nothing of the clip is told, so it may go on for longer than that where it is asked to.
        steps = chunk * max(1, (most if most_frames else min(most, left)) // chunk)
    else:
        steps = _steps(min(left, most), chunk)
    before = past_commands(recording, begin, round(CONTEXT_S * robot.clock.hz))
    given: dict[str, Any] = {}
    if kind == POLICY:
        width = robot.domain.width if robot.domain else 0
        proposed_commands(robot, recording.states[begin], np.zeros((1, width), np.float32))
    else:
        commands, rows, note = _told(order, recording, begin, steps)
        commands = with_past(order, recording, begin, before, commands, rows)
        given = {'commands': commands, 'rows': rows, 'notes': (note,)}
    canvas = Canvas.choose(size_of(recording), order.brief.scene.tier)
    return Shot(
        kind=kind,
        size=canvas.shown,
        shown=canvas.shown,
        frames=steps + 1,
        fps=robot.clock.hz,
        chunk=min(chunk, steps),
        order=order,
        clip=clip,
        begin=begin,
        context=fitted(recording, begin - len(before), begin + 1, canvas),
        **given,
    )


def _from_picture(order: Order, clip: FailureClip, most_frames: int) -> Shot:
    recording, begin, tier = clip.recording, clip.keyframe, order.brief.scene.tier
    most = min(most_frames or MOST_FRAMES, LONGEST.get(tier, 200))
    frames = _whole(min(len(recording) - begin, most))
    canvas = Canvas.choose(size_of(recording), tier)
    notes: tuple[str, ...] = (
        'words alone say what happens: no commands were told, and none belong to the film',
    )
    if order.variation.cell:
        notes += ('it begins with the recorded picture, in the look of then',)
    return Shot(
        kind=IMAGE_TO_VIDEO,
        size=canvas.shown,
        shown=canvas.shown,
        frames=frames,
        fps=order.robot.clock.hz,
        chunk=frames - 1,
        order=order,
        clip=clip,
        begin=begin,
        context=fitted(recording, begin, begin + 1, canvas),
        notes=notes,
    )


def _controlled(order: Order, clip: FailureClip, most_frames: int) -> Shot:
    """The clip's stretch round its onset; the commands of then, since it keeps the motion."""
    recording, scene = clip.recording, order.brief.scene
    frames = _whole(min(len(recording), MOST_CONTROLLED, most_frames or MOST_CONTROLLED))
    onset = int(np.searchsorted(recording.times_s, clip.onset_s))
    begin = max(0, min(onset - frames // 2, len(recording) - frames))
    part = recording.part(begin, begin + frames)
    kind = next(kind for kind in CONTROLS if kind in scene.controls)
    size = Canvas.choose(size_of(recording), scene.tier).size
    shown = content_of(size_of(recording), size)
    pictures = _depth(order, begin, begin + frames) if kind == 'depth' else part.pictures
    followed = [laid(picture, size) for picture in pictures]
    if kind in LOOKS:
        followed = [LOOKS[kind](picture) for picture in followed]
    return Shot(
        kind=VIDEO_TO_VIDEO,
        size=size,
        shown=shown,
        frames=frames,
        fps=order.robot.clock.hz,
        chunk=frames - 1,
        order=order,
        clip=clip,
        begin=begin,
        context=np.zeros((0, *shown, 3), np.uint8),
        control=(kind, np.stack(followed)),
        commands=recorded_commands(part, order.robot, order.brief.envelope),
        notes=(f'follows the {kind} of the recorded clip: the commands of then belong to it',),
    )


def _told(
    order: Order, recording: Recording, begin: int, steps: int
) -> tuple[Commands, Rows, str]:
    """Commands from the keyframe on, as rows, and whence."""
    robot, family = order.robot, order.variation.family
    if order.variation.actions == 'recorded' and family not in IN_TIME:
        part = recording.part(begin, begin + steps + 1)
        found = recorded_commands(part, robot, order.brief.envelope)
        if found is None:
            raise PermanentError(
                f'robot {robot.name}: the clip holds no commands after its keyframe'
            )
        rows = executed_rows(robot, recording, begin, begin + steps)
        return found, rows, 'commands: as recorded'
    whole, note = plan_commands(order, recording, begin, steps)
    values = whole.values[-steps:]
    rows = planned_rows(robot, recording.states[begin], values)
    return Commands(values, whole.source, whole.hz, whole.names), rows, note


def _steps(left: int, chunk: int) -> int:
    """As many whole chunks as the clip goes on for, or else a part of one."""
    steps = left // chunk * chunk or left // LATENT_GROUP * LATENT_GROUP
    if not steps:
        raise PermanentError(
            f'the clip ends {left} ticks after the keyframe, and a film has {LATENT_GROUP} more '
            'than its first picture; capture with a longer post-roll'
        )
    return steps


def _whole(frames: int) -> int:
    """The most frames that whole latent frames make up."""
    if frames <= LATENT_GROUP:
        raise PermanentError(
            f'the clip has {frames} pictures to make a film of, {LATENT_GROUP + 1} are the '
            'fewest; capture with a longer post-roll'
        )
    return (frames - 1) // LATENT_GROUP * LATENT_GROUP + 1


def _depth(order: Order, begin: int, end: int) -> list[Picture]:
    """The depth picture of each tick, of the brief's film, which has one for each of the clip."""
    file = order.brief.scene.controls['depth']
    path = order.episode.parent / BRIEFS / order.brief.id / file
    try:
        _, pictures = decode_video(path.read_bytes())
    except OSError as error:
        raise PermanentError(
            f'{path}: cannot be read ({error.strerror}); make the brief again, or take depth out '
            'of its controls'
        ) from error
    if len(pictures) < end:
        raise PermanentError(
            f'{path}: has {len(pictures)} pictures, fewer than the clip; make the brief again'
        )
    return pictures[begin:end]
