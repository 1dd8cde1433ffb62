# SPDX-License-Identifier: Apache-2.0
"""Episode folders and stored traces → what the report shows, fresh or of an earlier run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

from cosmos_flywheel.bags.picture import decode_picture
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.bags.stamp import header_stamp_ns
from cosmos_flywheel.capture.report.evidence import pack_frame
from cosmos_flywheel.capture.report.media import MAX_STRIPS, MAX_VIDEOS
from cosmos_flywheel.capture.report.result import (
    ChannelPeak,
    ClipFrame,
    EpisodeView,
)
from cosmos_flywheel.capture.report.words import say_episode
from cosmos_flywheel.capture.strip import load_strip
from cosmos_flywheel.core.errors import BagError, PictureError
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.store.episodes import CLIP, STRIP_NUMBERS, read_episode

VIDEO_HZ = 10.0
MAX_FRAMES = 300
"""Of an episode's video; more would only make the report larger."""


def view_episode(out: Path, episode_id: str) -> EpisodeView:
    """One episode in words and numbers, read back from its folder; pictures are added later."""
    folder = out / episode_id
    manifest = read_episode(folder)
    window = manifest['window']
    return EpisodeView(
        id=episode_id,
        bag=manifest['source']['name'],
        onset_s=window['onset_s'],
        start_s=window['start_s'],
        end_s=window['end_s'],
        causes=tuple(manifest['causes']),
        words=say_episode(manifest),
        peaks={
            name: ChannelPeak(_number(c['peak']), _number(c['threshold']), c['detail'])
            for name, c in manifest['channels'].items()
        },
        folder=episode_id,
        screened_by=(manifest.get('screened_by') or {}).get('level', ''),
    )


def illustrated(
    out: Path, views: Sequence[EpisodeView], camera_of: Callable[[EpisodeView], str | None]
) -> list[EpisodeView]:
    """The episodes, the strongest with their pictures: as many as the report will show, no more.

    Args:
        out: the folder that they lie in.
        views: in words and numbers.
        camera_of: the topic that an episode's film is made from, if any.

    """
    shown = list(views)
    strongest = sorted(range(len(views)), key=lambda i: (-views[i].severity, i))
    for index in strongest[:MAX_STRIPS]:
        shown[index] = add_strip(out, shown[index])
    filmed = [(i, topic) for i in strongest[:MAX_VIDEOS] if (topic := camera_of(views[i]))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        clips = pool.map(lambda one: add_clip(out, shown[one[0]], one[1]), filmed)
        for (index, _), view in zip(filmed, clips, strict=True):
            shown[index] = view
    return shown


def add_strip(out: Path, view: EpisodeView) -> EpisodeView:
    """The same episode with its strip, if it has one."""
    path = out / view.id / STRIP_NUMBERS
    return replace(view, strip=load_strip(path, view.onset_s)) if path.is_file() else view


def add_clip(out: Path, view: EpisodeView, topic: str) -> EpisodeView:
    """The same episode with the camera's pictures from its clip."""
    folder = out / view.id
    return replace(view, clip=tuple(_frames(folder / CLIP, read_episode(folder), topic)))


def _frames(clip: Path, manifest: Mapping[str, Any], topic: str) -> Iterator[ClipFrame]:
    """The camera's pictures of a clip, thinned to the video's rate."""
    window = manifest['window']
    length_s = window['end_s'] - window['start_s']
    step_ns = 0.9 * NS * max(1 / VIDEO_HZ, length_s / MAX_FRAMES)
    alarms = [span for channel in manifest['channels'].values() for span in channel['alarms']]
    last_ns = None
    with open_bag(clip) as source:
        for raw in source.messages({topic}):
            message = source.deserialize(raw)
            stamp_ns = header_stamp_ns(message) or raw.log_ns
            if last_ns is not None and 0 <= stamp_ns - last_ns < step_ns:
                continue
            last_ns = stamp_ns
            try:
                picture = decode_picture(message)
            except (PictureError, BagError):
                continue
            time_s = window['onset_s'] + (stamp_ns - window['onset_ns']) / NS
            yield pack_frame(time_s, picture, any(a <= stamp_ns <= b for a, b in alarms))


def _number(value: float | None) -> float:
    return nan if value is None else value
