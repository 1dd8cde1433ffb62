# SPDX-License-Identifier: Apache-2.0
"""A cause in numbers → a sentence that a person understands at once."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

_SENTENCES = {
    'picture': 'The {where} of the picture was not what the engine expected',
    'state': '“{where}” did not go on as expected',
    'tracking_error': '“{where}” was not where it was commanded to be',
    'clock_health': 'The clocks disagree: {where}',
}
_STREAM = {
    'gap': '{of} stopped delivering',
    'rate': '{of} delivered fewer messages than before',
    'freeze': '{of} showed the same picture while the robot moved',
    'blank': '{of} showed next to nothing',
    'saturated': '{of} was black or burnt out over much of the picture',
}


def say_cause(name: str, detail: str, peak: float | None, threshold: float | None) -> str:
    """One sentence: what happened, and how far beyond its threshold it went."""
    if name.startswith('trigger:'):
        said = f'Trigger “{name.removeprefix("trigger:")}” fired'
        return f'{said}: {detail}.' if detail else f'{said}.'
    if name == 'stream_health':
        check, _, of = detail.partition(' of ')
        sentence = _STREAM.get(check, '{of}: ' + check).format(of=_first_upper(of))
    else:
        sentence = _SENTENCES.get(name, name + ': {where}').format(where=detail)
    return f'{_first_upper(sentence)}{_how_far(peak, threshold)}.'


def say_episode(manifest: Mapping[str, Any]) -> str:
    """All causes of an episode, in the order in which they came."""
    sentences = []
    for cause in manifest['causes']:
        channel = manifest['channels'].get(cause, {})
        detail = channel.get('detail') or _firing_detail(manifest, cause)
        sentences.append(say_cause(cause, detail, channel.get('peak'), channel.get('threshold')))
    return ' '.join(sentences)


def _firing_detail(manifest: Mapping[str, Any], cause: str) -> str:
    name = cause.removeprefix('trigger:')
    return next(
        (f.get('detail', '') for f in manifest.get('firings', []) if f['name'] == name), ''
    )


def _how_far(peak: float | None, threshold: float | None) -> str:
    if not peak or not threshold or not isfinite(peak) or not isfinite(threshold):
        return ''
    return f': {peak:.1f} times normal, alarm above {threshold:.1f}'


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]
