# SPDX-License-Identifier: Apache-2.0
"""The recorded clip with another appearance: light, camera and sensor change, nothing else does.

One set of parameters holds for a whole film, so that nothing flickers that did not before. The
commands are the recorded ones, and the candidate is called what it is: an augmentation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.actions import recorded_commands
from cosmos_flywheel.generate.base import Made, Order, unknown_axis, whole_cell
from cosmos_flywheel.generate.clip import read_clip

REVISION = 1
"""Counts up whenever equal orders get other pictures."""
FAMILY = 'same_failure_new_scene'


@dataclass(frozen=True, slots=True)
class Look:
    """How a film is to look; the values here leave it as it is."""

    gain: float = 1.0
    """Of the light."""
    gamma: float = 1.0
    """Above 1 darkens the middle tones."""
    red: float = 1.0
    blue: float = 1.0
    """White balance."""
    across: float = 0.0
    down: float = 0.0
    """Light that falls off: so much of it from one edge of the picture to the other."""
    turn_deg: float = 0.0
    zoom: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    """The camera, as shares of the picture."""
    noise: float = 0.0
    """Sigma in grey levels."""
    blur_px: float = 0.0
    """Sigma."""
    quality: int = 0
    """Of JPEG; 0 for none."""


AXES: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    'light': {
        'as_recorded': {},
        'dim': {'gain': 0.6, 'gamma': 1.1},
        'bright': {'gain': 1.3, 'gamma': 0.9},
        'warm': {'red': 1.14, 'blue': 0.86},
        'cool': {'red': 0.88, 'blue': 1.12},
        'side': {'across': 0.45},
    },
    'camera': {
        'as_recorded': {},
        'closer': {'zoom': 1.15},
        'shifted': {'zoom': 1.1, 'shift_x': 0.035, 'shift_y': -0.025},
        'turned': {'zoom': 1.1, 'turn_deg': 2.0},
    },
    'sensor': {
        'as_recorded': {},
        'noisy': {'noise': 7.0},
        'blurred': {'blur_px': 1.1},
        'compressed': {'quality': 25},
    },
}
"""What each value of each axis sets; the seed moves everything a little beside it."""

_BALANCE_SIGMA, _GAIN_SIGMA, _GAMMA_SIGMA, _FALL_SIGMA = 0.03, 0.06, 0.05, 0.08
_MOST_TURN_DEG, _MOST_SHIFT, _ROOM = 0.6, 0.01, 0.03


class Augment:
    """The generator `augment`: see `Generator`."""

    name = 'augment'
    kind = 'augmentation'
    repeatable = True
    model = ('augment', None)
    parameters: Mapping[str, Any] = {'revision': REVISION}
    axes: Mapping[str, Collection[str]] = AXES

    def check(self) -> None:
        """It needs nothing."""

    def refusal(self, _brief: Brief, variation: Variation) -> str:
        """It changes the look of what happened, never what happened."""
        if variation.family != FAMILY or variation.actions != 'recorded':
            return f'shows what was recorded: {FAMILY} with recorded commands only'
        return unknown_axis(variation, AXES)

    def make(self, order: Order) -> Made:
        """The clip, looking otherwise."""
        clip = read_clip(order)
        cell = whole_cell(order, AXES)
        look = draw_look(cell, order.chance('look'))
        envelope = order.brief.envelope
        return Made(
            frames=changed(clip.recording.pictures, look, order.chance('noise')),
            fps=order.robot.clock.hz,
            commands=recorded_commands(clip.recording, order.robot, envelope),
            onset_s=clip.onset_s,
            notes=(
                'augmentation: the recorded clip with another appearance; what happens and what '
                'is commanded are unchanged',
                'cell: ' + ', '.join(f'{axis} {value}' for axis, value in cell.items()),
                'look: ' + ', '.join(f'{k} {v:.4g}' for k, v in asdict(look).items()),
            ),
        )


def draw_look(cell: Mapping[str, str], chance: np.random.Generator) -> Look:
    """The look of a cell, moved a little by chance."""
    asked: dict[str, float] = {}
    for axis, value in sorted(cell.items()):
        asked |= AXES[axis][value]
    wanted = Look(**asked)  # type: ignore[arg-type]
    bright, red, blue, gamma, across, down = chance.standard_normal(6)
    turn, x, y = chance.uniform(-1, 1, 3)
    return replace(
        wanted,
        gain=wanted.gain * float(np.exp(_GAIN_SIGMA * bright)),
        gamma=wanted.gamma * float(np.exp(_GAMMA_SIGMA * gamma)),
        red=wanted.red * float(np.exp(_BALANCE_SIGMA * red)),
        blue=wanted.blue * float(np.exp(_BALANCE_SIGMA * blue)),
        across=wanted.across + _FALL_SIGMA * float(across),
        down=wanted.down + _FALL_SIGMA * float(down),
        turn_deg=wanted.turn_deg + _MOST_TURN_DEG * float(turn),
        zoom=wanted.zoom + _ROOM,
        shift_x=wanted.shift_x + _MOST_SHIFT * float(x),
        shift_y=wanted.shift_y + _MOST_SHIFT * float(y),
    )


def changed(
    pictures: NDArray[np.uint8], look: Look, chance: np.random.Generator
) -> NDArray[np.uint8]:
    """(T, H, W, 3) pictures as the look has them; noise alone differs from frame to frame."""
    size = pictures.shape[1:3]
    gains, tones, move = _gains(size, look), _tones(look), _camera(size, look)
    return np.stack([_shown(p, look, gains, tones, move, chance) for p in pictures])


def _shown(
    picture: Picture,
    look: Look,
    gains: NDArray[np.float32],
    tones: NDArray[np.float32],
    move: NDArray[np.float64],
    chance: np.random.Generator,
) -> Picture:
    height, width = picture.shape[:2]
    moved = cv2.warpAffine(
        picture, move, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    seen = tones[moved] * gains
    if look.blur_px:
        seen = np.asarray(cv2.GaussianBlur(seen, (0, 0), look.blur_px), np.float32)
    if look.noise:
        seen = seen + look.noise * chance.standard_normal(seen.shape, np.float32)
    shown = np.clip(seen + 0.5, 0, 255).astype(np.uint8)
    return _compressed(shown, look.quality) if look.quality else shown


def _gains(size: tuple[int, int], look: Look) -> NDArray[np.float32]:
    """(H, W, 3) by which the light of each pixel changes."""
    down, across = np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in size), indexing='ij')
    fall = np.clip(1 + look.across * across + look.down * down, 0.2, None)
    colours = look.gain * np.array([look.red, 1.0, look.blue])
    return np.asarray(fall[..., None] * colours, np.float32)


def _tones(look: Look) -> NDArray[np.float32]:
    """(256,) what each grey level becomes before the light changes."""
    return np.asarray(255 * (np.arange(256) / 255) ** look.gamma, np.float32)


def _camera(size: tuple[int, int], look: Look) -> NDArray[np.float64]:
    """(2, 3) from recorded to shown pixels."""
    height, width = size
    middle = (width - 1) / 2, (height - 1) / 2
    move = np.asarray(cv2.getRotationMatrix2D(middle, look.turn_deg, look.zoom), np.float64)
    move[:, 2] += look.shift_x * width, look.shift_y * height
    return move


def _compressed(picture: Picture, quality: int) -> Picture:
    _, data = cv2.imencode('.jpg', picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])
