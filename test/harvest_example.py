# SPDX-License-Identifier: Apache-2.0
"""A small harvest made of drawn pictures, for tests of what shows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cosmos_flywheel.capture.report.evidence import pack_frame
from cosmos_flywheel.capture.report.result import (
    BagTrace,
    ChannelPeak,
    ChannelTrace,
    EpisodeView,
    HarvestResult,
    StripColumn,
)
from cosmos_flywheel.core.types import Picture

CHANNELS = ('picture', 'state', 'tracking_error', 'stream_health', 'clock_health')


def make_picture(step: int, height: int = 60, width: int = 80) -> Picture:
    """A ramp with a bright square that moves with the step."""
    ramp = np.linspace(40, 160, width, dtype=np.uint8)
    picture = np.repeat(np.tile(ramp, (height, 1))[:, :, None], 3, axis=2)
    left = 3 * step % max(1, width - 12)
    picture[height // 3 : height // 2, left : left + 12] = (230, 190, 40)
    return np.ascontiguousarray(picture)


def make_trace(bag: str = 'run_1', ticks: int = 150, alarmed: bool = True) -> BagTrace:
    """Ten seconds at 15 Hz; tracking error rises to six thresholds at 5 s."""
    times_s = np.arange(ticks) / 15
    calm = (0.3 + 0.1 * np.sin(times_s)).astype(np.float32)
    high = np.where(alarmed & (times_s >= 5) & (times_s < 7), np.float32(6), calm)
    ones = np.ones(ticks, np.float32)
    channels = [ChannelTrace(name, calm, ones) for name in CHANNELS]
    spans = ((5.0, 7.0),) if alarmed else ()
    channels[2] = ChannelTrace('tracking_error', high.astype(np.float32), ones, alarms=spans)
    return BagTrace(
        bag, ticks / 15, times_s, tuple(channels), level='flow', pictures=ticks, predictions=ticks
    )


def make_episode(bag: str = 'run_1', number: int = 1, peak: float = 6.1) -> EpisodeView:
    """An episode from 3 to 9 s with its onset at 5 s, with a strip and a clip."""
    steps = range(45, 135)
    return EpisodeView(
        id=f'{number:016x}',
        bag=bag,
        onset_s=5.0,
        start_s=3.0,
        end_s=9.0,
        causes=('tracking_error',),
        words=f'Joint gantry_x stayed away from its command: {peak}× what nominal runs showed',
        peaks={
            'picture': ChannelPeak(0.4, 1.0),
            'tracking_error': ChannelPeak(peak, 1.0, 'joint gantry_x'),
            'state': ChannelPeak(float('nan'), float('nan')),
        },
        strip=tuple(make_column(5.0 + offset) for offset in (-0.8, -0.4, 0.0, 0.4, 0.8)),
        clip=tuple(pack_frame(i / 15, make_picture(i), 75 <= i < 105) for i in steps),
        folder=f'episodes/{number:016x}',
    )


def make_column(time_s: float) -> StripColumn:
    """What came and what was expected, one step apart."""
    actual, predicted = make_picture(round(15 * time_s)), make_picture(round(15 * time_s) - 1)
    residual = np.abs(actual.astype(np.float32) - predicted).mean(axis=2) / 255
    return StripColumn(time_s, actual, predicted, residual)


def make_result(*episodes: EpisodeView, calibrated: bool = True) -> HarvestResult:
    """One bag with the given episodes (one if none is given) and one quiet bag."""
    return HarvestResult(
        robot='mujoco_push',
        engine='flow',
        config_hash='9f3b2c7d10e4a856',
        calibrated=calibrated,
        bags=(make_trace(), make_trace('run_2', alarmed=False)),
        episodes=episodes or (make_episode(),),
        versions={'cosmos_flywheel': '0.1.0'},
    )


def make_hostile_result(text: str) -> HarvestResult:
    """A harvest in which every word that a bag can choose is the given text."""
    trace = make_trace(text)
    channels = tuple(replace(c, name=f'{text}{i}') for i, c in enumerate(trace.channels))
    episode = replace(
        make_episode(text),
        id=text,
        words=text,
        folder=text,
        causes=(f'{text}2',),
        peaks={f'{text}2': ChannelPeak(6, 1, text)},
    )
    return HarvestResult(
        robot=text,
        engine=text,
        config_hash=text,
        calibrated=False,
        bags=(replace(trace, channels=channels, notes=(text,), level=text, calibration_id=text),),
        episodes=(episode,),
        unread={text: text},
        versions={text: text},
    )
