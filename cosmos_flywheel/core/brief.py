# SPDX-License-Identifier: Apache-2.0
"""One failure made into an order: what to show, from where to begin, what may be commanded.

A brief is JSON (`brief-v1`) that people may edit; see `store/briefs.py` for its folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cosmos_flywheel.core.envelope import Envelope
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.lineage import ID_DIGITS, canonical_json, sha256_hex
from cosmos_flywheel.core.settings import nearest

SCHEMA = 'brief-v1'

FAMILIES = (
    'same_failure_new_scene', 'near_miss', 'recovery', 'earlier', 'later', 'faster', 'slower',
    'harder',
)  # fmt: skip
"""How a variation stands to the failure that it comes from."""
ACTION_SOURCES = ('recorded', 'policy', 'nominal', 'expert', 'perturbed')
"""Where a variation's commands come from: as recorded; the model's policy mode; the nearest
nominal episode; a scripted expert in the simulator; a perturbation within the envelope."""
EFFECTS = ('suspends', 'inverts')
"""What a failure does to a check within its window: nothing is asked, or the opposite is."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The failure episode that a brief answers to."""

    id: str
    manifest_sha256: str
    clip_sha256: str
    robot: str
    task: str
    label: str
    """What people called it; see `store/labels.py`."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong."""

    cause: str
    """A word of the pack's taxonomy; `unknown` where nothing fits."""
    object: str
    """What it happened to, in words; '' where unknown."""
    phase: str
    """What was being done, in words; '' where unknown."""
    onset_s: float
    """Seconds from the clip's start."""
    evidence: tuple[str, ...]
    """What speaks for the cause, a sentence each."""
    said_by: str
    """Who named the cause: `channels`, `person`, `reasoner`."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a world model is told, in parts; its JSON form is made where it is needed."""

    framing: str
    """The viewpoint in a sentence."""
    scene: str
    """What is to be seen."""
    actions: tuple[tuple[float, float, str], ...]
    """From when to when, in seconds, and what is done or happens."""
    negative: str = ''
    said_by: str = 'pack'
    """`pack`, `reasoner` where a caption of one is in it, `person` once edited."""


@dataclass(frozen=True, slots=True)
class Scene:
    """From what a candidate begins."""

    camera: str
    view_point: str
    tier: int
    size: tuple[int, int]
    """(H, W) of the pictures as recorded."""
    fps: float
    keyframes: tuple[str, ...]
    """Files of the brief's folder, the oldest first; the last is the instant to begin from."""
    keyframe_stamps_ns: tuple[int, ...]
    controls: Mapping[str, str] = field(default_factory=dict)
    """File by kind: edge, blur, depth; a film of the clip's pictures each."""


@dataclass(frozen=True, slots=True)
class Normality:
    """A check that this failure suspends or inverts, where and when."""

    check: str
    effect: str
    """One of `EFFECTS`."""
    start_s: float
    """From the clip's start."""
    end_s: float
    region: tuple[float, float, float, float]
    """x0, y0, x1, y1 as shares of the picture."""
    because: str


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of variation that is ordered, and its axes."""

    name: str
    """One of `FAMILIES`."""
    actions: str
    """One of `ACTION_SOURCES`."""
    axes: Mapping[str, tuple[str, ...]]
    """Values by axis; every combination is a cell."""


@dataclass(frozen=True, slots=True)
class Brief:
    """The whole order.

    Raises:
        ConfigError: a word is not known, or what is ordered contradicts itself.

    """

    origin: Origin
    pack: str
    pack_sha256: str
    failure: Failure
    prompt: Prompt
    scene: Scene
    envelope: Envelope | None
    """None for a robot whose commands are not recorded: then only recorded pictures vary."""
    makes_normal: tuple[Normality, ...]
    families: tuple[Family, ...]
    parents: tuple[str, ...] = ()
    licence: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    """sha256 by file of the brief's folder."""

    def __post_init__(self) -> None:
        for family in self.families:
            _one_of('family', family.name, FAMILIES)
            _one_of(f'family {family.name}: actions', family.actions, ACTION_SOURCES)
            if family.name == 'recovery' and family.actions == 'perturbed':
                raise ConfigError(
                    'family recovery: perturbed actions recover by luck alone; '
                    'take policy, nominal or expert'
                )
            if self.envelope is None and family.actions != 'recorded':
                raise ConfigError(
                    f'family {family.name}: there is no action envelope to keep {family.actions} '
                    'actions within; take recorded'
                )
        for one in self.makes_normal:
            _one_of(f'check {one.check}: effect', one.effect, EFFECTS)
            if not one.start_s <= one.end_s:
                raise ConfigError(f'check {one.check}: ends before it starts; swap them')
            x0, y0, x1, y1 = one.region
            if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
                raise ConfigError(
                    f'check {one.check}: region {one.region} is none; '
                    'write x0, y0, x1, y1 as shares of the picture'
                )

    @property
    def id(self) -> str:
        """16 hex digits of everything in it: an edited brief is another one."""
        return self.sha256[:ID_DIGITS]

    @property
    def sha256(self) -> str:
        """64 hex digits of everything in it, however its file is laid out."""
        return sha256_hex(canonical_json(asdict(self)))

    def document(self) -> dict[str, Any]:
        """As `brief-v1` has it."""
        return {'schema': SCHEMA, 'id': self.id, **asdict(self)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Brief:
        """The brief of a document that its schema holds for; an edited one gets its new id."""
        envelope = document['envelope']
        return cls(
            origin=Origin(**document['origin']),
            pack=document['pack'],
            pack_sha256=document['pack_sha256'],
            failure=Failure(
                **{**document['failure'], 'evidence': tuple(document['failure']['evidence'])}
            ),
            prompt=Prompt(
                **{
                    **document['prompt'],
                    'actions': tuple((a, b, str(c)) for a, b, c in document['prompt']['actions']),
                }
            ),
            scene=Scene(
                **{
                    **document['scene'],
                    'size': tuple(document['scene']['size']),
                    'keyframes': tuple(document['scene']['keyframes']),
                    'keyframe_stamps_ns': tuple(document['scene']['keyframe_stamps_ns']),
                }
            ),
            envelope=None if envelope is None else Envelope(**_with_tuples(envelope)),
            makes_normal=tuple(Normality(**_with_tuples(one)) for one in document['makes_normal']),
            families=tuple(
                Family(
                    one['name'],
                    one['actions'],
                    {axis: tuple(values) for axis, values in one['axes'].items()},
                )
                for one in document['families']
            ),
            parents=tuple(document['parents']),
            licence=document['licence'],
            files=dict(document.get('files', {})),
        )


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _one_of(what: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise ConfigError(f'{what} is {word!r}; {nearest(word, known)}')
