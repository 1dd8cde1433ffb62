# SPDX-License-Identifier: Apache-2.0
"""An episode's manifest and labels → the words that a terminal shows of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cosmos_flywheel.capture.report.words import say_episode
from cosmos_flywheel.cli.table import amount, table
from cosmos_flywheel.core.grounding import say_value
from cosmos_flywheel.store.episodes import Manifest
from cosmos_flywheel.store.labels import Label
from cosmos_flywheel.store.records import ClusterRow, EpisodeRow


def tell_all(
    folder: Path, manifest: Manifest, labels: Sequence[Label], cluster: ClusterRow | None
) -> Iterator[str]:
    """The whole manifest in words."""
    engine = manifest['engine']
    state = labels[-1].label if labels else manifest['state']
    yield f'episode {manifest["id"]}: {state}'
    yield f'  {say_episode(manifest)}'
    yield ''
    yield from _whence(manifest)
    yield f'robot        {manifest["robot"] or "not named"}; task: {manifest["task"] or "unknown"}'
    grounding = say_value(manifest.get('action_grounding'))
    yield (
        f'engine       {engine["level"]}, calibration {manifest["calibration_id"] or "none"}, '
        f'action grounding {grounding}'
    )
    if manifest['provenance']['licence']:
        yield f'licence      {manifest["provenance"]["licence"]}'
    if cluster is not None:
        yield f'cluster      {cluster.id} {cluster.name}, {_episodes(len(cluster.members))}'
    yield ''
    yield from _scores(manifest)
    remarks = [*_firings(manifest), *_losses(manifest), *_notes(manifest), *_labels(labels)]
    yield from ('', *remarks) if remarks else ()
    yield ''
    yield from _files(folder, manifest)


def tell_briefly(
    folder: Path, manifest: Manifest, row: EpisodeRow, cluster: ClusterRow | None, more: int
) -> Iterator[str]:
    """What a person needs to judge an episode; `more` of its cluster are still to be judged."""
    yield say_episode(manifest)
    yield ''
    yield from _whence(manifest)
    yield f'causes       {", ".join(row.causes)}'
    if cluster is not None:
        yield f'cluster      {cluster.id} {cluster.name}, {more} more to judge'
    for name, (peak, limit) in row.scores.items():
        if peak and limit and peak >= limit:
            times = f'{amount(peak / limit)} × its threshold of {amount(limit)}'
            yield f'peak         {name} {amount(peak)}, {times}'
    yield from _losses(manifest)
    yield ''
    for entry in manifest['evidence']:
        if entry['kind'] == 'strip':
            yield f'strip        {folder / entry["file"]}'
    if manifest['thumbnail']:
        yield f'thumbnail    {folder / manifest["thumbnail"]["file"]}'
    yield f'clip         {folder / manifest["clip"]["file"]}'


def _whence(manifest: Manifest) -> Iterator[str]:
    source, window = manifest['source'], manifest['window']
    yield f'bag          {source["name"]} ({_bag_words(source)})'
    yield (
        f'when         {window["start_s"]:.2f} s to {window["end_s"]:.2f} s '
        f'from its first message, alarm at {window["onset_s"]:.2f} s'
    )


def _episodes(number: int) -> str:
    return f'{number} episode{"s" * (number != 1)}'


def _notes(manifest: Manifest) -> Iterator[str]:
    for note in manifest['notes']:
        yield f'note         {note}'


def _labels(labels: Sequence[Label]) -> Iterator[str]:
    for label in labels:
        reason = f': {label.reason}' if label.reason else ''
        yield f'label        {label.label}, says {label.reviewer} ({label.time}){reason}'


def _bag_words(source: Mapping[str, Any]) -> str:
    words = [
        source['format'],
        source['storage'],
        source['damage'] and f'damaged: {source["damage"]}',
    ]
    return ', '.join(str(word) for word in words if word)


def _scores(manifest: Manifest) -> Iterator[str]:
    rows = [('channel', 'peak', 'threshold', 'alarm', 'largest at the peak')]
    for name, channel in sorted(
        manifest['channels'].items(), key=lambda item: not item[1]['alarms']
    ):
        peak, limit = channel['peak'], channel['threshold']
        rows.append(
            (
                name,
                '-' if peak is None else amount(peak),
                '-' if limit is None else amount(limit) + ' proved' * channel['guaranteed'],
                _spans(manifest, channel['alarms']),
                channel['detail'] or '-',
            )
        )
    yield from table(rows, right=(1,))


def _firings(manifest: Manifest) -> Iterator[str]:
    for firing in manifest.get('firings', ()):
        ends_ns = firing.get('ends_ns')
        span = (firing['stamp_ns'], firing['stamp_ns'] if ends_ns is None else ends_ns)
        when = _spans(manifest, [span])
        yield f'trigger      {firing["name"]} at {when}: {firing.get("detail") or "fired"}'


def _losses(manifest: Manifest) -> Iterator[str]:
    for topic, counts in manifest['losses'].items():
        words = (f'{count} × {reason.replace("_", " ")}' for reason, count in counts.items())
        yield f'lost         {topic}: {", ".join(words)}'


def _files(folder: Path, manifest: Manifest) -> Iterator[str]:
    clip = manifest['clip']
    messages, topics = sum(clip['messages'].values()), len(clip['messages'])
    size = f'{clip["bytes"] / 1e6:.2f} MB, {messages} messages on {topics} topics'
    yield f'clip         {folder / clip["file"]} ({size})'
    if manifest['thumbnail']:
        yield f'thumbnail    {folder / manifest["thumbnail"]["file"]}'
    for entry in manifest['evidence']:
        yield f'evidence     {folder / entry["file"]} ({entry["kind"]})'


def _spans(manifest: Manifest, spans_ns: Sequence[Sequence[int]]) -> str:
    """Stretches in seconds from the bag's first message."""
    window = manifest['window']

    def seconds(stamp_ns: int) -> str:
        return f'{window["start_s"] + (stamp_ns - window["start_ns"]) / 1e9:.2f}'

    words = (seconds(a) if a == b else f'{seconds(a)}-{seconds(b)}' for a, b in spans_ns)
    return ', '.join(f'{word} s' for word in words) or '-'
