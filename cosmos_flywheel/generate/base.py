# SPDX-License-Identifier: Apache-2.0
"""What every generator takes and gives: an order in, a candidate's frames and commands out."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.recording import Recording
from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.job import Price
from cosmos_flywheel.core.lineage import canonical_json, sha256_hex
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.actions import Commands, Numbers

KINDS = ('generated', 'simulation', 'rollout', 'augmentation')
"""By a sampler of a world model; by exact physics; by a fitted engine; the recorded clip with
another appearance."""


@dataclass(frozen=True, slots=True)
class Order:
    """One candidate that is asked for."""

    brief: Brief
    episode: Path
    """The folder of the failure that the brief answers to."""
    robot: Robot
    variation: Variation
    seed: int
    nominal: tuple[Path, ...] = ()
    """Bags in which nothing went wrong, to take commands from."""

    def chance(self, what: str) -> np.random.Generator:
        """Random numbers for one purpose; other purposes, seeds and cells draw others."""
        order = [self.brief.id, asdict(self.variation), self.seed]
        digits = sha256_hex(canonical_json(order))[:16]
        return np.random.default_rng([int(digits, 16), zlib.crc32(what.encode())])


@dataclass(frozen=True, slots=True)
class Extra:
    """One more file of the candidate's folder."""

    file: str
    kind: str
    data: bytes


def nothing() -> None:
    """Where there is nothing to be done."""


@dataclass(frozen=True, slots=True)
class Guardrail:
    """What the model's own guardrail had to do with a film."""

    asked: bool
    ran: bool | None
    """None where a server does not say."""
    blocked: bool | None = None
    changed_frames: int | None = None
    """Frames that it altered, such as by hiding faces; None where nobody counted."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a generator made; the same order must give the same if it is `repeatable`."""

    frames: NDArray[np.uint8]
    """(T, H, W, 3) RGB."""
    fps: float
    commands: Commands | None
    """T − 1 of them, one between two frames; None where the robot's are not recorded."""
    onset_s: float | None
    """When the failure begins in the film; None where none is asked for."""
    begins_step: int = 0
    """The first frame that was made; those before are recorded."""
    files: tuple[Extra, ...] = ()
    truth: Mapping[str, bytes] = field(default_factory=dict)
    """By file name, what no validator may see; kept beside the folder, not in it."""
    notes: tuple[str, ...] = ()
    gpu_s: float = 0.0
    guardrail: Guardrail | None = None
    """None where the generator has none."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """What a world model was told, as it follows from order and parameters."""
    release: Callable[[], object] = nothing
    """Called once the candidate lies in its place: what it was made from may go."""


class Generator(Protocol):
    """One way to make candidates."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        ...

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        ...

    @property
    def repeatable(self) -> bool:
        """Whether the same order gives the same bytes again."""
        ...

    @property
    def model(self) -> tuple[str, str | None]:
        """Name, and the commit of a checkpoint or the sha256 of an engine."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Everything beside the order that decides the result."""
        ...

    @property
    def axes(self) -> Mapping[str, Collection[str]]:
        """The values that it knows, by axis; what an order leaves open, its seed decides."""
        ...

    def check(self) -> None:
        """See that it can run here; raises EngineError, SimError or ConfigError with a remedy."""
        ...

    def refusal(self, brief: Brief, variation: Variation) -> str:
        """Why it cannot make this cell of this brief, in words; '' if it can."""
        ...

    def make(self, order: Order) -> Made:
        """Make one candidate.

        Raises:
            ConfigError: the order cannot be met, such as a path that leaves the envelope.
            FlywheelError: the clip, the engine or the simulator cannot be used.

        """
        ...


@runtime_checkable
class Steerable(Protocol):
    """A generator that can be asked what any commands would show."""

    def steered(
        self, order: Order, recording: Recording, keyframe: int, path: Numbers
    ) -> tuple[NDArray[np.uint8], float]:
        """What is shown after a keyframe under these commands.

        Args:
            order: whose robot, words and seed count.
            recording: of that robot.
            keyframe: its tick to go on from.
            path: (N, A) commands from there on.

        Returns:
            Frames (N, H, W, 3), and seconds of graphics cards.

        """
        ...


@runtime_checkable
class Priced(Protocol):
    """A generator that knows beforehand what a candidate is expected to cost."""

    def estimate(self, brief: Brief, variation: Variation) -> Price:
        """Of one attempt, before any was made."""
        ...


@runtime_checkable
class Licensed(Protocol):
    """A generator whose model comes with terms of its own."""

    @property
    def model_licence(self) -> str | None:
        """As the model's card states it; None where nobody knows."""
        ...


def unknown_axis(variation: Variation, known: Mapping[str, Collection[str]]) -> str:
    """Which axis or value of a variation is not among `known`, in words; '' if all are."""
    for axis, value in sorted(variation.cell.items()):
        if axis not in known:
            return f'does not vary {axis}; it varies {", ".join(sorted(known)) or "nothing"}'
        if value not in known[axis]:
            return f'knows no {axis} {value!r}; it knows {", ".join(sorted(known[axis]))}'
    return ''


def whole_cell(order: Order, known: Mapping[str, Collection[str]]) -> dict[str, str]:
    """A value on every axis: the order's, or where it leaves one open, one by its seed."""
    drawn = {
        axis: str(order.chance(f'axis {axis}').choice(sorted(values)))
        for axis, values in sorted(known.items())
    }
    return {**drawn, **order.variation.cell}
