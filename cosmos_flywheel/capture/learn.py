# SPDX-License-Identifier: Apache-2.0
"""Nominal bags → a local model fitted on most of them, and which were held out.

Thresholds must come from recordings that the engine was not fitted on: every third bag is held
out, or, where there are fewer than three, the last third of each.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cosmos_flywheel.bags.source import BagSource, open_bag
from cosmos_flywheel.capture.analysis import first_size
from cosmos_flywheel.capture.watch import Watcher
from cosmos_flywheel.capture.workers import Progress
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.identifiability import identifiability
from cosmos_flywheel.core.timeline import Tick
from cosmos_flywheel.engines import LocalModel
from cosmos_flywheel.engines.local.clips import Clip, make_clips, tabulate
from cosmos_flywheel.engines.local.fields import LARGE
from cosmos_flywheel.engines.local.motion import HORIZONS
from cosmos_flywheel.engines.persistence import Persistence

FEWEST_BAGS = 3
"""From here on whole bags are held out."""
HELD_OUT = 3
"""One bag in so many, and so large a part of each where there are fewer."""
MOST_TICKS = 3000
"""Memory: about 0.5 MB a tick. Longer sets are thinned to stretches of this many in all, while
they are read: never are twice as many held."""
LEAST_TICKS = 6 * HORIZONS[-1]
STRETCH_TICKS = 75


@dataclass(frozen=True, slots=True)
class Learnt:
    """A model and what it has seen."""

    model: LocalModel
    seen: frozenset[int]
    """Indices of the bags that were learnt from as a whole."""
    seen_share: float
    """Of every other bag: how large a part from its beginning was learnt from."""


def require_learning() -> None:
    """Raise ConfigError where what fitting needs is not installed."""
    missing = [n for n in ('torch', 'onnx') if importlib.util.find_spec(n) is None]
    if missing:
        raise ConfigError(
            f'fitting engine local needs {" and ".join(missing)}: `pip install torch onnx` '
            f'(extra [learn]), or fit thresholds only with --engine flow; running a fitted model '
            f'needs neither'
        )


def learn(paths: Sequence[Path], robot: Robot, progress: Progress | None = None) -> Learnt:
    """Fit engine local.

    Raises:
        ConfigError: torch is missing, cameras differ, or there is too little to learn from.

    """
    require_learning()
    camera_size, clips = read_clips(paths, robot)
    parts = _split(len(paths))
    learnt, held_out = _cut(clips, parts)
    ticks = sum(len(c.large) for c in learnt)
    if ticks < LEAST_TICKS:
        raise ConfigError(
            f'{ticks} ticks with pictures to learn from, engine local needs {LEAST_TICKS}; give '
            f'more nominal bags, or --engine flow'
        )
    model = _fit(learnt, held_out, robot, camera_size, len(paths), progress)
    whole = len(paths) >= FEWEST_BAGS
    seen = frozenset(i for i, share in enumerate(parts) if whole and share and clips[i])
    return Learnt(model, seen, 0.0 if whole else parts[0])


def _fit(
    learnt: list[Clip],
    held_out: list[Clip],
    robot: Robot,
    camera_size: tuple[int, int],
    bags: int,
    progress: Progress | None,
) -> LocalModel:
    # torch is imported here, and only to fit.
    from cosmos_flywheel.engines.local import training

    found = identifiability([c.command for c in learnt], robot.action_names, robot.clock.hz)
    fitted = {'bags': bags, 'identifiability': found and found.to_mapping()}
    table = tabulate([*learnt, *held_out], robot.clock.hz)
    count = len(learnt)
    split = training.Split(tuple(range(count)), tuple(range(count, count + len(held_out))))
    about = training.About(robot.name, LARGE, camera_size, robot.clock.hz, fitted)
    if progress is not None:
        progress.expect({'networks': 100.0})
    return training.fit_local(
        table,
        split,
        robot.tracking_pairs,
        about,
        threads=int(os.environ.get('OMP_NUM_THREADS') or os.cpu_count() or 1),
        tell=None if progress is None else (lambda share: progress('networks', 100 * share)),
    )


def read_clips(paths: Sequence[Path], robot: Robot) -> tuple[tuple[int, int], list[list[Clip]]]:
    """The cameras' size and every bag's clips; of long sets evenly spread stretches."""
    sizes: dict[Path, tuple[int, int]] = {}
    clips = []
    every, count = _stride(paths, robot), itertools.count()
    for path in paths:
        with open_bag(path) as source:
            size = first_size(source, robot)
            if size is None:
                raise ConfigError(
                    f'{path}: no picture of robot {robot.name!r} is readable here; engine local '
                    f'needs a camera; leave the bag out, or fit with --engine flow'
                )
            sizes[path] = size
            topics = {name for name, t in source.topics.items() if t.count and t.readable}
            watcher = Watcher(robot, Persistence(LARGE), topics)
            clips.append(make_clips(_stretches(_ticks(source, watcher), count, every), LARGE))
    first = paths[0]
    other = next((p for p in paths if sizes[p] != sizes[first]), None)
    if other is not None:
        (h, w), (oh, ow) = sizes[first], sizes[other]
        raise ConfigError(
            f'{other}: pictures of {ow}x{oh} px, but {w}x{h} px in {first}; fit on bags of one '
            f'camera'
        )
    return sizes[first], clips


def _stride(paths: Sequence[Path], robot: Robot) -> int:
    """One stretch in so many is learnt from."""
    seconds = 0.0
    for path in paths:
        with open_bag(path) as source:
            seconds += source.duration_s
    return max(1, int(seconds * robot.clock.hz / MOST_TICKS))


def _stretches(ticks: Iterable[Tick], count: Iterator[int], every: int) -> Iterator[Tick]:
    """Take the pictures from ticks outside the stretches; they are counted over all bags."""
    for tick in ticks:
        is_kept = next(count) // STRETCH_TICKS % every == 0
        yield tick if is_kept else replace(tick, picture=None)


def _ticks(source: BagSource, watcher: Watcher) -> Iterator[Tick]:
    for raw in source.messages(set(watcher.topics)):
        message = source.deserialize(raw)
        stamp_ns = watcher.stamp_ns(raw.topic, raw.log_ns, message)
        for moment in watcher.take(raw.topic, stamp_ns, message):
            yield moment.tick
    for moment in watcher.finish():
        yield moment.tick


def _split(bags: int) -> list[float]:
    """How large a part of each bag is learnt from."""
    if bags < FEWEST_BAGS:
        return [1 - 1 / HELD_OUT] * bags
    return [0.0 if i % HELD_OUT == HELD_OUT - 1 else 1.0 for i in range(bags)]


def _cut(clips: list[list[Clip]], parts: list[float]) -> tuple[list[Clip], list[Clip]]:
    """Clips to learn from and clips held out, thinned to what memory allows."""
    learnt: list[Clip] = []
    held_out: list[Clip] = []
    for bag, share in zip(clips, parts, strict=True):
        for clip in bag:
            border = round(share * len(clip.large))
            learnt += [clip.part(0, border)] if border > 2 else []
            held_out += (
                [clip.part(border, len(clip.large))] if border < len(clip.large) - 2 else []
            )
    return _thin(learnt, MOST_TICKS * (HELD_OUT - 1) // HELD_OUT), _thin(
        held_out, MOST_TICKS // HELD_OUT
    )


def _thin(clips: list[Clip], most: int) -> list[Clip]:
    """Evenly spread stretches, if there is more than so many ticks."""
    if sum(len(c.large) for c in clips) <= most:
        return clips
    stretches = [
        clip.part(at, min(at + STRETCH_TICKS, len(clip.large)))
        for clip in clips
        for at in range(0, len(clip.large) - HORIZONS[-1], STRETCH_TICKS)
    ]
    kept = np.unique(np.linspace(0, len(stretches) - 1, max(1, most // STRETCH_TICKS)).round())
    return [stretches[int(i)] for i in kept]
