# SPDX-License-Identifier: Apache-2.0
"""One film that a server of Cosmos is asked for: every number of it, checked when it is made.

Kinds and defaults are those of Cosmos 3 (cosmos-framework `inference/defaults`), ranges and the
rules between fields those of vllm-omni 0.30.0 (`protocol/videos.py`, `models/cosmos3/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from cosmos_flywheel.core.domains import SLOTS
from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.lineage import canonical_json, sha256_hex
from cosmos_flywheel.core.types import Vector

WITH_ACTIONS = ('forward_dynamics', 'policy')
KINDS = (*WITH_ACTIONS, 'image_to_video', 'video_to_video')
SAMPLING: Mapping[str, Mapping[str, Any]] = {
    kind: {'steps': 30, 'guidance': 1.0, 'shift': 10.0}
    if kind in WITH_ACTIONS
    else {'steps': 35, 'guidance': 6.0, 'shift': 10.0}
    for kind in KINDS
}
"""Steps, guidance and shift by kind, as cosmos-framework has them."""
CONTROLLED: Mapping[str, Any] = {'steps': 35, 'guidance': 3.0, 'shift': 10.0}
"""The same of `video_to_video` with controls, as vllm-omni has it (`cosmos3/transfer.py`)."""
RANGES: Mapping[str, tuple[float, float]] = {
    'frames': (5, 401),
    'fps': (1, 60),
    'steps': (1, 200),
    'guidance': (0, 20),
    'shift': (0.1, 100),
    'seed': (0, 2**63 - 1),
    'crf': (0, 51),
    'control_guidance': (0, 20),
}
"""Least and most; actions of up to 400 steps as the report has them (§6.3.1)."""
CELL_PX, GROUP = 16, 4
"""Pixels and frames of a latent cell."""
LONGEST_SIDE_PX = 1280
ACTION_WIDTH = 64
"""Numbers that the model has for an action."""
CONTROLS = ('edge', 'blur', 'depth')
COMPUTED = ('edge', 'blur')
"""Controls that the server can work out of the given film."""
BUCKETS: Mapping[str, tuple[tuple[int, int], ...]] = {
    '256': ((256, 256), (256, 320), (320, 256), (192, 320), (320, 192)),
    '480': ((640, 640), (544, 736), (736, 544), (480, 832), (832, 480)),
    '704': ((960, 960), (832, 1088), (1088, 832), (704, 1280), (1280, 704)),
    '720': ((960, 960), (832, 1104), (1104, 832), (720, 1280), (1280, 720)),
}
"""(H, W) by tier; with a control the server knows no other sizes (`utils.py`)."""
LONGEST_PROMPT = 20_000
MOST_UPLOAD_BYTES = 512 << 20
"""The server's limit (`video/generation/helpers.py`)."""


@dataclass(frozen=True, slots=True)
class Control:
    """What the film has to follow, picture by picture."""

    kind: str
    """One of `CONTROLS`."""
    film: bytes | None = None
    """A film of the job's size; None has the server work it out of the given film."""
    weight: float = 1.0
    """Against the other controls."""


@dataclass(frozen=True, eq=False)
class VideoJob:
    """A film to be made.

    Raises:
        EngineError: a value is out of its range, or fields do not go together.

    """

    kind: str
    """One of `KINDS`."""
    prompt: str
    """Words, or a caption as JSON."""
    size: tuple[int, int]
    """(H, W) in px, multiples of 16. Pictures that are given should have it: the server crops."""
    frames: int
    """A multiple of 4, and 1; the first one is the given picture."""
    fps: float
    reference: bytes | None = None
    """A picture (PNG, JPEG), or for `video_to_video` a film."""
    seed: int = 0
    steps: int = 35
    guidance: float = 6.0
    shift: float = 10.0
    """These three as `SAMPLING` has them; what a kind was not trained with is unproved."""
    negative_prompt: str = ''
    controls: tuple[Control, ...] = ()
    control_guidance: float = 1.5
    condition_frames: tuple[int, ...] = (0, 1)
    """Latent frames of a given film that are kept, 0 for its first picture, each further one for
    4 more; with controls a run from 0 on, or none."""
    keep: str = 'first'
    """Which end of a longer film is given: `first` or `last`."""
    domain_id: int | None = None
    width: int | None = None
    """Numbers per action; with `domain_id` for kinds with actions."""
    actions: Vector | None = None
    """(frames - 1, width) in model space, for `forward_dynamics`."""
    guardrails: bool = True
    """False asks the server to leave them out for this film; its face filter alters pictures."""
    crf: int = 10
    """Of the film that comes back (x264; 0 is without loss)."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise _wrong('kind', self.kind, f'give one of {", ".join(KINDS)}')
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise _wrong(name, value, f'give {least:g} to {most:g}')
        if self.frames % GROUP != 1:
            raise _wrong('frames', self.frames, 'give a multiple of 4, and 1: 5, 9, 13 …')
        self._check_words()
        self._check_size()
        self._check_reference()
        self._check_actions()
        self._check_controls()

    @cached_property
    def sha256(self) -> str:
        """Of everything that is asked."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name in _PLAIN}
        content = {
            **plain,
            'reference': sha256_hex(self.reference or b''),
            'controls': [
                [c.kind, None if c.film is None else sha256_hex(c.film), c.weight]
                for c in self.controls
            ],
            'actions': None if self.actions is None else self.actions.tolist(),
        }
        return sha256_hex(canonical_json(content))

    @property
    def has_actions(self) -> bool:
        """Whether actions are given or asked for."""
        return self.kind in WITH_ACTIONS

    @property
    def begins_with_reference(self) -> bool:
        """Whether the film's first picture has to be the first one that was given."""
        if self.kind != 'video_to_video':
            return True
        return 0 in self.condition_frames and self.keep == 'first'

    @property
    def tier(self) -> str:
        """Of the size, where it is one of a tier's; empty elsewhere."""
        return next((tier for tier, sizes in BUCKETS.items() if self.size in sizes), '')

    def _check_words(self) -> None:
        for name in ('prompt', 'negative_prompt'):
            text = getattr(self, name)
            if len(text) > LONGEST_PROMPT:
                raise _wrong(name, f'{len(text)} letters long', f'give {LONGEST_PROMPT} at most')
            try:
                text.encode()
            except UnicodeEncodeError:
                raise _wrong(name, 'no text', 'leave out what UTF-8 cannot say') from None
        if not self.prompt.strip():
            raise _wrong('prompt', 'empty', 'say what is to be seen')

    def _check_size(self) -> None:
        high, wide = self.size
        if (
            high % CELL_PX
            or wide % CELL_PX
            or not 0 < min(high, wide) <= max(high, wide) <= LONGEST_SIDE_PX
        ):
            raise _wrong(
                'size',
                f'{wide}x{high}',
                f'give sides that are multiples of {CELL_PX}, {LONGEST_SIDE_PX} at most',
            )
        if self.controls and not self.tier:
            known = ', '.join(f'{w}x{h}' for sizes in BUCKETS.values() for h, w in sizes)
            raise _wrong('size', f'{wide}x{high}', f'controls go with {known} only')

    def _check_reference(self) -> None:
        free = self.kind == 'video_to_video' and any(c.film for c in self.controls)
        if not self.reference and not free:
            what = 'a film' if self.kind == 'video_to_video' else 'a picture'
            raise _wrong('reference', 'empty', f'{self.kind} begins with {what}')
        if len(self.reference or b'') > MOST_UPLOAD_BYTES:
            raise _wrong('reference', 'too long', f'give {MOST_UPLOAD_BYTES >> 20} MiB at most')
        if self.keep not in ('first', 'last'):
            raise _wrong('keep', self.keep, 'give first or last')
        if self.kind != 'video_to_video':
            return
        frames = self.condition_frames
        latent = (self.frames - 1) // GROUP + 1
        if sorted(set(frames)) != list(frames) or any(not 0 <= i < latent for i in frames):
            raise _wrong('condition_frames', frames, f'give rising ones of 0 to {latent - 1}')
        if not frames and not self.controls:
            raise _wrong('condition_frames', 'empty', 'name one, or give a control')
        if self.controls and frames != tuple(range(len(frames))):
            raise _wrong('condition_frames', frames, 'with controls they run from 0 on')
        if self.controls and (self.keep != 'first' or (frames and not self.reference)):
            raise _wrong('condition_frames', frames, 'they need a film, and keep its first part')

    def _check_actions(self) -> None:
        if not self.has_actions:
            if any(x is not None for x in (self.domain_id, self.width, self.actions)):
                raise _wrong('domain_id, width, actions', 'given', f'{self.kind} takes none')
            return
        if self.domain_id is None or not 0 < self.domain_id < SLOTS:
            raise _wrong('domain_id', self.domain_id, f'give 1 to {SLOTS - 1}')
        if self.width is None or not 0 < self.width <= ACTION_WIDTH:
            raise _wrong('width', self.width, f'give 1 to {ACTION_WIDTH}')
        if (self.actions is not None) != (self.kind == 'forward_dynamics'):
            raise _wrong('actions', 'not right', 'forward_dynamics takes them, policy gives them')
        if self.actions is not None:
            shape = (self.frames - 1, self.width)
            if self.actions.shape != shape or not np.isfinite(self.actions).all():
                raise _wrong('actions', self.actions.shape, f'give {shape}, all of them known')

    def _check_controls(self) -> None:
        if self.controls and self.kind != 'video_to_video':
            raise _wrong('controls', 'given', 'they go with video_to_video only')
        kinds = [control.kind for control in self.controls]
        if len(set(kinds)) != len(kinds) or not set(kinds) <= set(CONTROLS):
            raise _wrong('controls', kinds, f'give each of {", ".join(CONTROLS)} once at most')
        if sum(control.film is not None for control in self.controls) > 1:
            raise _wrong('controls', kinds, 'the server takes one film of a control at most')
        for control in self.controls:
            if control.film is None and not (control.kind in COMPUTED and self.reference):
                raise _wrong(
                    'controls',
                    f'{control.kind} without its film',
                    f'give one; of a given film the server works out {", ".join(COMPUTED)}',
                )
            if not 0 < control.weight <= 100:
                raise _wrong('controls', f'a weight of {control.weight}', 'give 0.01 to 100')
            if len(control.film or b'') > MOST_UPLOAD_BYTES:
                raise _wrong('controls', 'too long', f'give {MOST_UPLOAD_BYTES >> 20} MiB at most')


_PLAIN = {f.name for f in fields(VideoJob) if f.name not in ('reference', 'controls', 'actions')}


def _wrong(name: str, value: object, remedy: str) -> EngineError:
    return EngineError(f'{name} is {value}; {remedy}')
