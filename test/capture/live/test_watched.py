# SPDX-License-Identifier: Apache-2.0
"""What the page of `flywheel watch` is told."""

from __future__ import annotations

import json
import math

from cosmos_flywheel.capture.live.watched import SPAN_S, NodeWord, Shown, Watched
from cosmos_flywheel.core.types import AnomalyScore, ChannelScore


def score(value: float, alarm: bool = False) -> AnomalyScore:
    channel = ChannelScore('picture', value, 2.0, alarm, False, 'left')
    return AnomalyScore(0, (channel,), 'c', 'local')


def test_scores_are_shares_of_thresholds_told_once_and_forgotten_in_time():
    watched = Watched()
    watched.take_score(score(1.0), 10.0)
    watched.take_score(score(math.nan), 11.0)
    first = watched.told(11.0, 0, {})
    assert [p[1][0][1] for p in first['points']] == [0.5, None]
    json.dumps(first, allow_nan=False)
    watched.take_score(score(4.0, alarm=True), 12.0 + SPAN_S)
    later = watched.told(12.0 + SPAN_S, first['count'], {})
    assert later['points'] == [[12.0 + SPAN_S, [['picture', 2.0, True, 'left']]]]
    assert len(watched.told(12.0 + SPAN_S, 0, {})['points']) == 1


def test_it_says_what_is_missing():
    watched = Watched()
    watched.take_node('watch', NodeWord('ok', '', {}, 0.0))
    assert watched.told(0.0, 0, {})['standing']['level'] == 'waiting'
    for name in ('predictor', 'monitor'):
        watched.take_node(name, NodeWord('ok', '', {}, 1.0))
    watched.take_score(score(1.0), 1.0)
    told = watched.told(1.0, 0, {})
    assert not told['recorder']
    assert 'recorder' in told['standing']['words']
    watched.take_node('monitor', NodeWord('ok', '', {}, 9.0))
    gone = watched.told(9.0, 0, {})
    assert gone['standing']['words'] == (
        'The predictor has gone silent. The newest score is 8 s old.'
    )
    assert gone['nodes']['predictor']['level'] == 'silent'
    assert 'silent' in watched.told(99.0, 0, {})['standing']['words']


def test_the_newest_episode_comes_first_and_the_disk_knows_best():
    watched = Watched()
    watched.take_episode(Shown('a' * 16, ('x',), 5, 0, 9), b'jpeg')
    disk = {
        'a' * 16: Shown('a' * 16, ('x',), 5, 0, 9, has_strip=True),
        'b' * 16: Shown('b' * 16, ('y',), 7, 0, 9),
    }
    told = watched.told(0.0, 0, disk)['episodes']
    assert [e['id'][0] for e in told] == ['b', 'a']
    assert told[1]['strip']
    assert watched.thumbnail('a' * 16) == b'jpeg'
    assert watched.thumbnail('b' * 16) == b''
