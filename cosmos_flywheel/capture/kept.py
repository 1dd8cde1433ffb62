# SPDX-License-Identifier: Apache-2.0
"""An output folder, of harvests and live sessions → the report of all that it keeps.

Of a harvested bag every score was kept. Of a live session the recorder kept what was around its
captures: their clips hold the scores as they were published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cosmos_flywheel
from cosmos_flywheel import schemas
from cosmos_flywheel.bags.playback import PICTURES
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.bags.stamp import header_stamp_ns
from cosmos_flywheel.capture.report.page import write_report
from cosmos_flywheel.capture.report.result import BagTrace, HarvestResult
from cosmos_flywheel.capture.report.view import illustrated, view_episode
from cosmos_flywheel.capture.trace import REPORT, TRACES, ScoreLog, load_trace
from cosmos_flywheel.core.errors import BagError, StoreError
from cosmos_flywheel.core.grounding import say_value
from cosmos_flywheel.core.lineage import config_hash
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import AnomalyScore, ChannelScore
from cosmos_flywheel.store.catalogue import BAGS, Catalogue
from cosmos_flywheel.store.episodes import CLIP, Manifest, iter_episodes, read_episode

SCORE_TYPE = 'cosmos_flywheel/msg/AnomalyScore'
OWN = '/flywheel/'
"""Part of the names of our own topics, whose pictures are not the robot's."""
PARTIAL = 'a live session: scores are known around its captures only'


@dataclass(slots=True)
class _Session:
    """One recording, harvested or live, and what was kept of it."""

    bag_id: str
    name: str
    duration_s: float = 0.0
    traced: Path | None = None
    manifests: list[Manifest] = field(default_factory=list)


def report_kept(out: Path) -> Path:
    """Write `report.html` of every episode in a folder; returns its path.

    Raises:
        StoreError: there is no episode, or the report cannot be written.

    """
    return write_report(gather(out), out / REPORT)


def gather(out: Path) -> HarvestResult:
    """Everything that a folder keeps, as values to draw.

    Raises:
        StoreError: there is no episode.

    """
    manifests = [read_episode(folder) for folder in iter_episodes(out)]
    if not manifests:
        raise StoreError(f'{out}: holds no episode; name the --out of a harvest or a live session')
    sessions = list(_sessions(out, manifests))
    names = _unique([s.name for s in sessions])
    with Catalogue.open(out) as catalogue:
        clusters = catalogue.assign_clusters(m['id'] for m in manifests)
    views = [
        replace(view_episode(out, m['id']), bag=name, cluster=clusters.get(m['id']))
        for session, name in zip(sessions, names, strict=True)
        for m in session.manifests
    ]
    traces = [replace(_trace(out, s), bag=n) for s, n in zip(sessions, names, strict=True)]
    hashes = sorted({m['config_hash'] for m in manifests})
    return HarvestResult(
        robot=', '.join(sorted({m['robot'] for m in manifests})),
        engine=', '.join(sorted({m['engine']['level'] for m in manifests})),
        config_hash=hashes[0] if len(hashes) == 1 else config_hash(hashes),
        calibrated=all(m['calibration_id'] for m in manifests),
        bags=tuple(traces),
        episodes=tuple(illustrated(out, views, lambda view: _camera(out / view.id / CLIP))),
        versions={'cosmos_flywheel': cosmos_flywheel.__version__},
    )


def _sessions(out: Path, manifests: Sequence[Manifest]) -> Iterator[_Session]:
    """Bags and sessions in the order of time; one that was cut off has no record of its own."""
    found: dict[str, _Session] = {}
    for path in sorted((out / BAGS).glob('[!.]*.json')):
        record = schemas.load(path, 'bag-v1')
        session = found.setdefault(record['bag_id'], _Session(record['bag_id'], record['name']))
        session.duration_s = max(session.duration_s, record['duration_s'])
        traced = out / TRACES / f'{path.stem}.npz'
        session.traced = traced if traced.is_file() else session.traced
    for manifest in sorted(manifests, key=lambda m: m['window']['onset_ns']):
        source = manifest['source']
        session = found.setdefault(source['bag_id'], _Session(source['bag_id'], source['name']))
        session.manifests.append(manifest)
        session.duration_s = max(session.duration_s, manifest['window']['end_s'])
    yield from sorted(found.values(), key=_begin)


def _begin(session: _Session) -> tuple[int, str]:
    return min((-_since(m, 0) for m in session.manifests), default=2**63), session.bag_id


def _unique(names: Sequence[str]) -> list[str]:
    """The same, numbered where several are alike."""
    counts, seen = Counter(names), Counter[str]()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if counts[name] == 1 else f'{name} {seen[name]}')
    return unique


def _trace(out: Path, session: _Session) -> BagTrace:
    """All scores of a bag, or those of a session's clips."""
    if session.traced is not None:
        return load_trace(session.traced)
    scores = dict(s for manifest in session.manifests for s in _scores(out, manifest))
    names = [c.name for c in scores[max(scores)].channels] if scores else []
    log = ScoreLog()
    for time_ns in sorted(scores):
        score = scores[time_ns]
        if [c.name for c in score.channels] == names:
            log.add(score, time_ns)
    for manifest in session.manifests:
        for name, channel in manifest['channels'].items():
            log.mark(
                name, [(_since(manifest, a), _since(manifest, b)) for a, b in channel['alarms']]
            )
    last = session.manifests[-1] if session.manifests else None
    return BagTrace(
        bag=session.name,
        duration_s=session.duration_s,
        times_s=log.times_s(0),
        channels=log.channels(0),
        notes=(PARTIAL,),
        level=last['engine']['level'] if last else '',
        calibration_id=(last['calibration_id'] or '') if last else '',
        grounding=say_value(last.get('action_grounding')) if last else '',
        pictures=len(log.scores),
        predictions=sum(c.name == 'picture' and c.score >= 0 for s in log.scores
                        for c in s.channels),
    )  # fmt: skip


def _scores(out: Path, manifest: Manifest) -> Iterator[tuple[int, AnomalyScore]]:
    """The scores in a clip, by ns from the beginning of its session; none if it is damaged."""
    with suppress(BagError), open_bag(out / manifest['id'] / CLIP) as clip:
        topics = {t.name for t in clip.topics.values() if t.msgtype == SCORE_TYPE}
        for raw in clip.messages(topics):
            try:
                message = clip.deserialize(raw)
            except BagError:
                continue
            stamp_ns = header_stamp_ns(message)
            if stamp_ns is not None:
                yield _since(manifest, stamp_ns), _score(stamp_ns, message)


def _since(manifest: Manifest, stamp_ns: int) -> int:
    """A stamp as ns from the beginning of the session."""
    window = manifest['window']
    return int(stamp_ns - window['onset_ns'] + round(window['onset_s'] * NS))


def _score(stamp_ns: int, message: Any) -> AnomalyScore:
    channels = tuple(
        ChannelScore(
            str(c.name), float(c.score), float(c.threshold), bool(c.alarm), bool(c.guaranteed),
            str(c.detail),
        )
        for c in message.channels
    )  # fmt: skip
    return AnomalyScore(stamp_ns, channels, str(message.calibration_id), str(message.level))


def _camera(path: Path) -> str | None:
    """The topic of a clip with the most pictures of the robot's."""
    try:
        with open_bag(path) as clip:
            topics = list(clip.topics.values())
    except BagError:
        return None
    cameras = [t for t in topics if t.msgtype in PICTURES and OWN not in t.name]
    return max(cameras, key=lambda t: (t.count, t.name)).name if cameras else None
