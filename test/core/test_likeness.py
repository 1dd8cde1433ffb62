# SPDX-License-Identifier: Apache-2.0
"""Episodes are alike by what their manifests say, and called by what was loudest."""

from __future__ import annotations

from typing import Any

import pytest

from cosmos_flywheel.core.likeness import Likeness, kind_words, marks_of


def channel(
    ratio: float | None, detail: str = '', *alarms_s: tuple[float, float]
) -> dict[str, Any]:
    return {
        'peak': ratio and 2.0 * ratio,
        'threshold': 2.0,
        'detail': detail,
        'alarms': [[round(a * 1e9), round(b * 1e9)] for a, b in alarms_s],
    }


def episode(causes: list[str], **channels: dict[str, Any]) -> dict[str, Any]:
    return {'causes': causes, 'channels': channels}


KICK = episode(['picture'], picture=channel(1.3, 'bottom centre', (0, 0.5)))
STALL = episode(['tracking_error'], tracking_error=channel(9.0, 'elbow', (0, 2)))


def alike(one: dict[str, Any], other: dict[str, Any]) -> float:
    likeness = Likeness()
    likeness.add(marks_of(one))
    return float(likeness.compare(marks_of(other))[0])


def test_equal_episodes_are_wholly_alike_and_strangers_hardly() -> None:
    assert alike(KICK, KICK) == 1
    assert alike(KICK, STALL) < 0.2


def test_the_same_fault_at_another_strength_is_nearly_the_same() -> None:
    fainter = episode(
        ['tracking_error'],
        tracking_error=channel(4.0, 'elbow', (0, 1.5)),
        picture=channel(0.98, 'top left'),
    )
    stronger = episode(
        ['tracking_error', 'picture'],
        tracking_error=channel(20.0, 'elbow', (0, 2)),
        picture=channel(1.02, 'top left', (1, 1.5)),
    )
    assert alike(fainter, stronger) > 0.6


def test_another_joint_is_another_fault() -> None:
    wrist = episode(['tracking_error'], tracking_error=channel(9.0, 'wrist', (0, 2)))
    assert alike(STALL, wrist) < alike(STALL, STALL)


def test_what_comes_and_goes_differs_from_what_stays() -> None:
    twice = episode(['picture'], picture=channel(1.3, 'bottom centre', (0, 0.5), (1.5, 2)))
    assert alike(KICK, twice) < 0.9


def test_how_far_ahead_it_was_noticed_does_not_matter() -> None:
    ahead = episode(['picture'], picture=channel(1.3, 'bottom centre 0.53 s ahead', (0, 0.5)))
    assert marks_of(ahead) == marks_of(KICK)


def test_neither_state_of_a_label_nor_time_nor_name_enters() -> None:
    told = KICK | {'state': 'failure', 'id': 'f' * 16, 'window': {}, 'source': {'name': 'x'}}
    assert marks_of(told) == marks_of(KICK)


@pytest.mark.parametrize('unknown', [channel(None), channel(0.0), channel(-1.0)])
def test_an_alarm_without_numbers_still_marks(unknown: dict[str, Any]) -> None:
    marks = marks_of(episode(['picture'], picture=unknown))
    assert all(weight > 0 for weight in marks.values())
    assert marks


def test_each_is_compared_with_all_in_their_order() -> None:
    likeness = Likeness()
    assert likeness.compare(marks_of(KICK)).shape == (0,)
    for one in (STALL, KICK, STALL):
        likeness.add(marks_of(one))
    found = likeness.compare(marks_of(STALL))
    assert found[0] == found[2] == 1 > found[1]


@pytest.mark.parametrize(
    ('found', 'words'),
    [
        (KICK, 'picture (bottom centre)'),
        (episode(['trigger:emergency_stop']), 'emergency stop'),
        (
            episode(
                ['picture', 'state', 'trigger:estop', 'tracking_error'],
                picture=channel(1.1, 'top left 1.1 s ahead'),
                state=channel(3.0, 'wrist'),
                tracking_error=channel(30.0, ''),
            ),
            'tracking error, state (wrist), 2 more',
        ),
        (episode(['trigger:']), 'trigger:'),
    ],
)
def test_a_kind_is_called_by_its_loudest_causes(found: dict[str, Any], words: str) -> None:
    assert kind_words(found) == words
