# SPDX-License-Identifier: Apache-2.0
"""The one family of errors: each message names the thing at fault and the remedy.

Library code raises; only the edges (a CLI verb, a node) catch, print and choose an exit code.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class FlywheelError(Exception):
    """Anything that a user of this package can cause or repair."""

    gpu_s: float | None = None
    """Seconds of graphics cards that the work took until then; None where nobody measured."""


class BagError(FlywheelError):
    """A recorded bag cannot be opened or read."""


class SourceError(FlywheelError):
    """A data set or a folder of films cannot be imported."""


class PictureError(FlywheelError):
    """One picture cannot be decoded, lies about its size, or is too large."""


class ConfigError(FlywheelError):
    """A robot file, trigger file or option is wrong."""


class SchemaError(FlywheelError):
    """A file that crosses stages does not hold what its schema says."""


class StoreError(FlywheelError):
    """An episode folder or the catalogue cannot be written or read."""


class EngineError(FlywheelError):
    """A world model cannot be opened or cannot predict."""


class SimError(FlywheelError):
    """A simulated robot, task or fault is unknown, or the simulator cannot run or render here."""


class NotNowError(FlywheelError):
    """What is needed is away, taken or cut off for a while; the same may be asked for later."""


class NotHereError(FlywheelError):
    """This process lacks what was ordered; another one may have it."""


class PermanentError(FlywheelError):
    """What was asked for can be had at no time and with no seed: somebody has to change it."""


class OrderError(ConfigError, PermanentError):
    """An order that no seed meets: the brief, the model or the recordings have to change."""


class WorkerDiedError(FlywheelError):
    """A process that worked for this one was killed, or ended by itself."""


class TravelError(FlywheelError):
    """Episodes cannot travel: a policy forbids it, or bytes are wrong."""


@contextmanager
def seedless(*, when: bool = True) -> Iterator[None]:
    """Make an OrderError of whatever error comes of it, since no seed plays a part in it."""
    try:
        yield
    except FlywheelError as error:
        if not when or isinstance(error, (NotHereError, NotNowError, PermanentError)):
            raise
        raise OrderError(str(error)) from error


@contextmanager
def costing(gpu_s: Callable[[], float]) -> Iterator[None]:
    """Add seconds of graphics cards, asked when it comes, to those that an error tells of."""
    try:
        yield
    except FlywheelError as error:
        error.gpu_s = (gpu_s_of(error) or 0.0) + gpu_s()
        raise


def gpu_s_of(error: BaseException | None) -> float | None:
    """What an error tells of seconds of graphics cards, or one that it was made of."""
    while error is not None:
        if isinstance(error, FlywheelError) and error.gpu_s is not None:
            return error.gpu_s
        error = error.__cause__
    return None
