# SPDX-License-Identifier: Apache-2.0
"""A cause in numbers → a sentence that a person understands at once.

Also what each channel can find and what it cannot, so that silence is not read as proof.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from cosmos_flywheel.core.channels.action import COURSE


@dataclass(frozen=True, slots=True)
class Reach:
    """What one channel can tell; `docs/channels.md` says why."""

    finds: str
    misses: str


REACH: Mapping[str, Reach] = {
    'picture': Reach(
        'Things in view that move, stop, vanish or appear otherwise than expected: slip, kick, '
        'a lost or blocked object, a covered lens.',
        'What is out of view or a few pixels small, and any error that the commands themselves '
        'bring about: a grasp beside the object looks just as foretold.',
    ),
    'state': Reach(
        'A robot that moves otherwise than its commands let expect: stalled, held, pushed.',
        'What happens to things and not to the robot, and a robot that obeys a wrong command.',
    ),
    'tracking_error': Reach(
        'A joint or wheel that does not get where it is commanded to be.',
        'A robot that obeys and errs, and robots whose commands and states are of two kinds.',
    ),
    'stream_health': Reach(
        'Topics that fall silent or slow down; cameras that freeze, go dark or burn out.',
        'Pictures that come late under fresh stamps, and whatever happens in the world.',
    ),
    'clock_health': Reach(
        'Clocks that disagree, and stamps that step back.',
        'A delay that all topics share, or one that the stamps do not show.',
    ),
    'action_surprise': Reach(
        'Commands unlike those of nominal bags: picked twice, the wrong object, a hand that '
        'closes on nothing or opens too soon, in motions that it has seen otherwise.',
        'An error that looks like a usual motion, and things that nobody touches. A new task, '
        'done well, alarms too.',
    ),
    'outcome': Reach(
        'Whatever a rule of the robot file names: a task that failed, an empty gripper.',
        'All that nobody wrote a rule for, and all that the robot itself does not notice.',
    ),
}
"""By channel, for people who read a report."""

_SENTENCES = {
    'picture': 'The {where} of the picture was not what the engine expected',
    'state': '“{where}” did not go on as expected',
    'tracking_error': '“{where}” was not where it was commanded to be',
    'clock_health': 'The clocks disagree: {where}',
    'action_surprise': '“{where}” was commanded otherwise than in nominal bags',
}
_COURSE = f'What the robot did in {COURSE} is unlike all nominal bags'
_AHEAD = re.compile(r' ([0-9.e+-]+) s ahead$')
"""How long before something was expected, where an engine looks ahead by several times."""
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
    if name == 'outcome':  # a rule is broken or not: there is no measure
        return f'Rule “{detail}” is broken.'
    return f'{_first_upper(_sentence(name, detail))}{_how_far(peak, threshold)}.'


def reaches(channels: Iterable[str]) -> dict[str, Reach]:
    """What these channels can tell, of those that are known, in the order given."""
    return {name: REACH[name] for name in channels if name in REACH}


def say_episode(manifest: Mapping[str, Any]) -> str:
    """All causes of an episode, in the order in which they came."""
    sentences = []
    for cause in manifest['causes']:
        channel = manifest['channels'].get(cause, {})
        detail = channel.get('detail') or _firing_detail(manifest, cause)
        sentences.append(say_cause(cause, detail, channel.get('peak'), channel.get('threshold')))
    screen = manifest.get('screened_by')
    if screen:
        sentences.append(
            f'Found by {manifest["engine"]["level"]}, which looked again: {screen["level"]} '
            f'reached {screen["share"]:.2f} of its threshold here.'
        )
    return ' '.join(sentences)


def _sentence(name: str, detail: str) -> str:
    if name == 'stream_health':
        check, _, of = detail.partition(' of ')
        return _STREAM.get(check, '{of}: ' + check).format(of=_first_upper(of))
    if name == 'action_surprise' and detail == COURSE:
        return _COURSE
    ahead = _AHEAD.search(detail)
    where = detail[: ahead.start()] if ahead else detail
    said = _SENTENCES.get(name, name + ': {where}').format(where=where)
    return f'{said} {ahead[1]} s earlier' if ahead else said


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
