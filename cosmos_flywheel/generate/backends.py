# SPDX-License-Identifier: Apache-2.0
"""The generators by name, what they need beside an order, and who of some makes a variation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.errors import ConfigError, FlywheelError
from cosmos_flywheel.core.settings import nearest
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.engines.remote.server import SERVED, Server
from cosmos_flywheel.generate.augment import Augment
from cosmos_flywheel.generate.base import Generator
from cosmos_flywheel.generate.cosmos import Cosmos
from cosmos_flywheel.generate.film_settings import FilmSettings
from cosmos_flywheel.generate.local import LocalRollout
from cosmos_flywheel.generate.plan import make_plan
from cosmos_flywheel.generate.remote import Remote
from cosmos_flywheel.generate.sim import Simulator


@dataclass(frozen=True, slots=True)
class Means:
    """What generators need beside an order; goes to other processes."""

    model: Path | None = None
    """A folder of `flywheel fit`, for `local`."""
    robot: str = ''
    """A robot or a robot file that goes before the brief's."""
    server: str = ''
    """Address of a vLLM-Omni server, for `remote`."""
    served: str = SERVED
    """What the server calls its model."""
    commit: str = ''
    """Of its checkpoint, where somebody vouches for it."""
    allow_remote: bool = False
    """Whether pictures may go to a server on another machine."""
    guardrails: bool = True
    """Whether Cosmos' guardrails are to look at prompt and film."""
    checkpoint: str = ''
    """A folder, or OWNER/NAME[@COMMIT] in the hub's cache, for `cosmos`."""
    settings: tuple[str, ...] = ()
    """NAME=VALUE of `FilmSettings`, for `cosmos` and `remote`."""


def _local(means: Means) -> Generator:
    if means.model is None:
        raise ConfigError('generator local needs an engine: give --model, see flywheel fit')
    return LocalRollout(means.model)


def _remote(means: Means) -> Generator:
    if not means.server:
        raise ConfigError('generator remote needs a vLLM-Omni server: give --server URL')
    server = Server(means.server, means.served, means.commit, means.allow_remote)
    settings = FilmSettings.parse(means.settings, of_a_server=not means.checkpoint)
    return Remote(server, robot=means.robot, guardrails=means.guardrails, settings=settings)


def _cosmos(means: Means) -> Generator:
    if not means.checkpoint:
        raise ConfigError('generator cosmos needs weights: give --checkpoint, see engine pull')
    return Cosmos(means.checkpoint, FilmSettings.parse(means.settings), robot=means.robot)


BACKENDS: Mapping[str, Callable[[Means], Generator]] = {
    'augment': lambda _: Augment(),
    'cosmos': _cosmos,
    'local': _local,
    'remote': _remote,
    'sim': lambda _: Simulator(),
}


NEEDS: Mapping[str, str] = {'cosmos': 'checkpoint', 'local': 'model', 'remote': 'server'}
"""By generator the field of `Means` that it cannot do without."""


def able(means: Means) -> frozenset[str]:
    """Names of the generators that these means are enough for."""
    return frozenset(name for name in BACKENDS if name not in NEEDS or getattr(means, NEEDS[name]))


@lru_cache(maxsize=8)
def find_backend(name: str, means: Means) -> Generator:
    """The generator of that name, opened once a process.

    Raises:
        ConfigError: there is none, or it lacks something.
        FlywheelError: what it needs cannot be used.

    """
    if name not in BACKENDS:
        raise ConfigError(f'no generator {name!r}; {nearest(name, BACKENDS)}')
    return BACKENDS[name](means)


def ready(
    names: Sequence[str], means: Means, *, check: bool = False
) -> tuple[list[Generator], list[str]]:
    """Generators of these names that can be asked here, in turn, and why the others cannot.

    Args:
        names: wanted, the first one first.
        means: what they need.
        check: have each see whether it can run.

    Raises:
        ConfigError: there is none of such a name.
        FlywheelError: of the last one, where none can be asked.

    """
    found: list[Generator] = []
    away: list[str] = []
    for name in names:
        try:
            generator = find_backend(name, means)
            if check:
                generator.check()
            found.append(generator)
        except FlywheelError as error:
            if name not in BACKENDS or (name == names[-1] and not found):
                raise
            away.append(f'{name} cannot be asked here: {error}')
    return found, away


def first_maker(generators: Sequence[Generator], brief: Brief) -> Generator:
    """The first that makes anything of a brief; where none does, the first."""
    makes = (one for one in generators if make_plan(brief, one, 1).orders)
    return next(makes, generators[0])


def usual_backend(brief: Brief) -> Generator:
    """Exact physics where the robot has a twin that can fail so, else the recorded clip anew."""
    simulator = Simulator()
    if make_plan(brief, simulator, 1).orders:
        return simulator
    return Augment()


def makers(
    generators: Sequence[Generator], brief: Brief, variation: Variation
) -> tuple[tuple[str, ...], str]:
    """Names of those that make a variation of a brief, and, where none does, why."""
    told = {one.name: one.refusal(brief, variation) for one in generators}
    names = tuple(name for name, why in told.items() if not why)
    return names, '' if names else '; '.join(f'{name} {why}' for name, why in told.items())
