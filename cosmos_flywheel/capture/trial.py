# SPDX-License-Identifier: Apache-2.0
"""A fitted level and nominal bags that it was not fitted on → what it is worth on this machine.

Each bag is watched once as it is: how long chunks take, how near pictures come beside simpler
models, how much rests on the actions, whether anything alarms. Then once for every fault that can
be laid into it. One process, one bag after the other: what takes time is timed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from cosmos_flywheel.bags.source import BagSource, open_bag
from cosmos_flywheel.capture.analysis import Analysis
from cosmos_flywheel.capture.grounding import EVERY_S, Probing, every_ticks
from cosmos_flywheel.capture.hindsight import observation_of
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.injecting import FAULTS, Injecting
from cosmos_flywheel.capture.model import Judge
from cosmos_flywheel.capture.workers import Progress
from cosmos_flywheel.core.channels import Moment
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError, EngineError
from cosmos_flywheel.core.grounding import NOISE, Probed
from cosmos_flywheel.core.skill import Errors
from cosmos_flywheel.core.timeline import NS, Tick
from cosmos_flywheel.core.types import ActionChunk, AnomalyScore, Picture, Prediction, Vector
from cosmos_flywheel.engines import Cosmos, Flow, Local, WorldModel

WARM_UP_S = 1.0
"""No fault begins earlier in a bag, nor before a chunk has been held against what came."""
GRACE_S = 1.0
"""A fault is found if something alarms within a chunk, a stride and so long of its onset."""
PERSISTENCE = 'persistence'
MOST_ASKED = 3
"""Chunks of a bag that are kept to be asked of another back end."""


@dataclass(frozen=True, slots=True, eq=False)
class Calm:
    """What came of one bag as it is."""

    bag_id: str
    errors: Mapping[str, Errors]
    """By peer."""
    probed: Probed
    factors: tuple[float, ...]
    """Seconds that a stride's predictions took, over the seconds of a stride."""
    asked: tuple[tuple[Picture, Vector], ...]
    """Of Cosmos, some chunks as its runtime was asked."""
    alarms: tuple[str, ...]
    """Channels that began to alarm, in the order of time."""
    seconds: float
    onset_ns: int | None
    """Where most moves afterwards; None where the bag is too short for a fault."""


@dataclass(frozen=True, slots=True)
class Hit:
    """What became of one injected fault."""

    fault: str
    lags_s: Mapping[str, float]
    """By channel that alarmed because of it, seconds from the onset to its first alarm."""

    @property
    def lag_s(self) -> float | None:
        """Of the first alarm; None for a fault that was missed."""
        return min(self.lags_s.values(), default=None)

    @property
    def by_prediction(self) -> bool:
        """Whether a channel that rests on predictions found it."""
        return any(name in NOISE for name in self.lags_s)


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """All bags."""

    calm: tuple[Calm, ...]
    hits: tuple[Hit, ...]
    within_s: float
    """From its onset on, a fault had so long to be found."""


class Trying(Probing):
    """Probing that also times predictions and holds them against simpler models.

    Args:
        robot: as Probing.
        engine: likewise.
        every: likewise.
        peers: by name, what else foretells the same chunks; opened here.

    """

    def __init__(
        self, robot: Robot, engine: WorldModel, every: int, peers: Mapping[str, WorldModel]
    ) -> None:
        super().__init__(robot, engine, every)
        self._peers = peers
        self._far = max(self._horizons)
        self._spent_s = 0.0
        self.factors: list[float] = []
        self._stamps_ns: list[int] = []
        self._errors: dict[str, list[float]] = {n: [] for n in ('', PERSISTENCE, *peers)}
        self._sampled_ns: int | None = None
        self.kept: list[tuple[Picture, Vector]] = []
        self.motion: list[tuple[int, float]] = []
        """By tick, stamp and mean square of what changed in the picture."""
        self._open_peers()

    @property
    def errors(self) -> dict[str, Errors]:
        """By peer, all that was held against it so far."""
        own = np.array(self._errors[''], np.float64)
        stamps_ns = np.array(self._stamps_ns, np.int64)
        return {
            name: Errors(stamps_ns, own, np.array(theirs, np.float64))
            for name, theirs in self._errors.items()
            if name
        }

    def foretell(self, tick: Tick) -> tuple[Prediction | None, ...]:
        """Take note of a tick, by the clock on the wall."""
        begun_s = time.perf_counter()
        predictions = super().foretell(tick)
        self._spent_s += time.perf_counter() - begun_s
        if any(p is not None for p in predictions):
            self.factors.append(self._spent_s / self.stride.seconds)
            self._spent_s = 0.0
        return predictions

    def observe(self, tick: Tick) -> None:
        """Tell the peers too, and note what moved."""
        before = self._ticks[-1] if self._ticks else None
        if before is not None and before.segment != tick.segment:
            self._open_peers()
            before = None
        super().observe(tick)
        begun_s = time.perf_counter()
        for peer in self._peers.values():
            peer.observe(observation_of(_sized(tick, peer)))
        moved = 0.0
        if before is not None and before.picture is not None and tick.picture is not None:
            moved = _apart(before.picture, tick.picture)
        self.motion.append((tick.stamp_ns, moved))
        self._spent_s -= time.perf_counter() - begun_s

    def compare(self, tick: Tick, predictions: Sequence[Prediction | None]) -> Moment:
        """The tick beside its predictions; now and then also beside those of the peers."""
        if predictions[-1] is not None and tick.picture is not None and self._is_due(tick):
            self._sample(tick.picture)
            self._stamps_ns.append(tick.stamp_ns)
        return super().compare(tick, predictions)

    def _is_due(self, tick: Tick) -> bool:
        least_ns = EVERY_S * NS
        if self._sampled_ns is not None and tick.stamp_ns - self._sampled_ns < least_ns:
            return False
        self._sampled_ns = tick.stamp_ns
        return True

    def _sample(self, came: Picture) -> None:
        begin, chunk = self._chunk(self._far)
        step = [self._far - 1]
        standing = float('nan') if begin.picture is None else _apart(begin.picture, came)
        self._errors[PERSISTENCE].append(standing)
        self._errors[''].append(_shown_apart(self._engine, begin, chunk, step, came))
        if isinstance(self._engine, Cosmos) and len(self.kept) < MOST_ASKED:
            asked = self._engine.asked(observation_of(begin), chunk)
            self.kept += [] if asked is None else [asked]
        for name, peer in self._peers.items():
            error = _shown_apart(peer, _sized(begin, peer), chunk, step, came)
            self._errors[name].append(error)

    def _open_peers(self) -> None:
        for peer in self._peers.values():
            peer.open(self._robot.name, self._robot.task)


def try_level(
    paths: Sequence[Path],
    robot: Robot,
    judge: Judge,
    *,
    local: Judge | None = None,
    faults: bool = True,
    progress: Progress | None = None,
) -> Trial:
    """Watch every bag as it is, and with every fault.

    Args:
        paths: nominal bags of which the calibration was not made.
        robot: whose they are.
        judge: the level; what it needs is loaded already.
        local: a fitted engine local to hold it against.
        faults: whether to lay faults into the bags.
        progress: told how many seconds of bags are done.

    Raises:
        BagError, ConfigError, EngineError: as a harvest.

    """
    cv2.setNumThreads(1)
    lengths = {path: _length_s(path) for path in paths}
    times = 1 + (len(FAULTS) if faults else 0)
    if progress is not None:
        progress.expect({str(path): times * lengths[path] for path in paths})
    calm: list[Calm] = []
    hits: list[Hit] = []
    within_s = GRACE_S
    for path in paths:
        one, within_s = _calm(path, robot, judge, local)
        calm.append(one)
        for done, fault in enumerate(FAULTS if faults else (), 1):
            if progress is not None:
                progress(str(path), done * lengths[path])
            if one.onset_ns is not None:
                hits.append(_hit(path, robot, judge, fault, one.onset_ns, within_s))
        if progress is not None:
            progress(str(path), times * lengths[path])
    return Trial(tuple(calm), tuple(hits), within_s)


def held_out(paths: Sequence[Path], judge: Judge) -> list[Path]:
    """The bags of which the calibration was not made.

    Raises:
        ConfigError: there are none.

    """
    assert judge.calibration is not None
    known = set(judge.calibration.nominal['bags'])
    found = []
    for path in paths:
        with open_bag(path) as source:
            if source.bag_id not in known:
                found.append(path)
    if not found:
        raise ConfigError(
            f'all {len(paths)} bags are among those that the calibration was made of, so nothing '
            'can be proved with them; give nominal bags that `flywheel fit` never saw'
        )
    return found


def _calm(path: Path, robot: Robot, judge: Judge, local: Judge | None) -> tuple[Calm, float]:
    """One bag as it is, and how long a fault of it has to be found."""
    with open_bag(path) as source:
        analysis = _analysis(path, source, robot, judge)
        spec = analysis.engine.spec
        peers: dict[str, WorldModel] = {}
        far = max(spec.horizons)
        if spec.level != Flow.level:
            peers[Flow.level] = Flow(spec.size, far)
        if local is not None and local.local is not None and spec.level != Local.level:
            peers[Local.level] = Local(local.local)
        every = every_ticks(robot.clock.hz, source.duration_s, spec.stride)
        trying = Trying(robot, analysis.engine, every, peers)
        analysis.watcher.hindsight = trying
        scores = list(_scores(analysis))
        within_s = (far + spec.stride) / robot.clock.hz + GRACE_S
        calm = Calm(
            source.bag_id,
            trying.errors,
            trying.probed,
            tuple(trying.factors[1:]),
            tuple(trying.kept),
            tuple(_beginnings(scores)),
            source.duration_s,
            _liveliest(trying.motion, far / robot.clock.hz, within_s),
        )
    return calm, within_s


def _hit(
    path: Path, robot: Robot, judge: Judge, fault: str, onset_ns: int, within_s: float
) -> Hit:
    """Which channels begin to alarm because of a fault."""
    lags_s: dict[str, float] = {}
    before: set[str] = set()
    with open_bag(path) as source:
        analysis = _analysis(path, source, robot, judge)
        analysis.watcher.hindsight = Injecting(robot, analysis.engine, fault, onset_ns)
        for score in _scores(analysis):
            if score.stamp_ns < onset_ns:
                before = set(score.alarms)
                continue
            lag_s = (score.stamp_ns - onset_ns) / NS
            if lag_s > within_s:
                break
            for name in set(score.alarms) - before:
                lags_s.setdefault(name, round(lag_s, 3))
    return Hit(fault, lags_s)


def _analysis(path: Path, source: BagSource, robot: Robot, judge: Judge) -> Analysis:
    try:
        return Analysis(source, robot, judge, CaptureSettings())
    except ConfigError as error:
        raise ConfigError(f'{path}: {error}') from error


def _scores(analysis: Analysis) -> Iterator[AnomalyScore]:
    """Of every tick; the past is let go where the clock begins anew."""
    segment = 0
    for moment in analysis.moments():
        if moment.tick.segment != segment:
            segment = moment.tick.segment
            analysis.scorer.reset()
        yield analysis.scorer.score(moment)


def _beginnings(scores: Iterable[AnomalyScore]) -> Iterator[str]:
    """The channel of every alarm that was not there at the tick before."""
    before: set[str] = set()
    for score in scores:
        yield from sorted(set(score.alarms) - before)
        before = set(score.alarms)


def _liveliest(motion: Sequence[tuple[int, float]], chunk_s: float, within_s: float) -> int | None:
    """Stamp of the tick after which most moves within the time that a fault has."""
    if not motion:
        return None
    stamps_ns = np.array([stamp for stamp, _ in motion], np.int64)
    sums = np.concatenate([[0.0], np.cumsum([moved for _, moved in motion])])
    begin_ns = stamps_ns[0] + round((WARM_UP_S + chunk_s) * NS)
    ends = np.searchsorted(stamps_ns, stamps_ns + round(within_s * NS))
    fits = (stamps_ns >= begin_ns) & (ends < len(stamps_ns))
    if not fits.any():
        return None
    moved = np.where(fits, sums[ends] - sums[:-1], -1.0)
    return int(stamps_ns[moved.argmax()])


def _length_s(path: Path) -> float:
    with open_bag(path) as source:
        return source.duration_s


def _sized(tick: Tick, engine: WorldModel) -> Tick:
    """The tick with the primary picture as this engine takes it."""
    picture, (height, width) = tick.picture, engine.spec.size
    if picture is None or picture.shape[:2] == (height, width):
        return tick
    return replace(tick, picture=_resized(picture, (height, width)))


def _shown_apart(
    engine: WorldModel, begin: Tick, chunk: ActionChunk, step: Sequence[int], came: Picture
) -> float:
    """Mean squared difference of what an engine shows and what came; NaN where it cannot."""
    try:
        shown = engine.show(observation_of(begin), chunk, step)[0]
    except EngineError:
        return float('nan')
    return _apart(_resized(shown, came.shape[:2]), came)


def _resized(picture: Picture, size: tuple[int, ...]) -> Picture:
    if picture.shape[:2] == size:
        return picture
    shrinks = size[0] < picture.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (size[1], size[0]), interpolation=how), np.uint8)


def _apart(one: Picture, other: Picture) -> float:
    return float(np.square(one.astype(np.float32) - other).mean())
