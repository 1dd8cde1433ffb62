# SPDX-License-Identifier: Apache-2.0
"""Causes in words that a person understands at once."""

from __future__ import annotations

import math

import pytest

from cosmos_flywheel.capture.report.words import REACH, reaches, say_cause, say_episode
from cosmos_flywheel.core.channels import ActionChannel, OutcomeChannel
from cosmos_flywheel.core.channels.action import COURSE
from cosmos_flywheel.core.channels.stream import CAMERA_CHECKS, TOPIC_CHECKS
from cosmos_flywheel.core.scoring import UNCALIBRATED


@pytest.mark.parametrize(
    ('name', 'detail', 'sentence'),
    [
        (
            'picture',
            'top left',
            'The top left of the picture was not what the engine expected',
        ),
        ('state', 'knee', '“knee” did not go on as expected'),
        ('tracking_error', 'knee', '“knee” was not where it was commanded to be'),
        ('state', 'knee 0.53 s ahead', '“knee” did not go on as expected 0.53 s earlier'),
        (
            'picture',
            'top left 0.13 s ahead',
            'The top left of the picture was not what the engine expected 0.13 s earlier',
        ),
        ('action_surprise', 'knee', '“knee” was commanded otherwise than in nominal bags'),
        (
            'action_surprise',
            COURSE,
            f'What the robot did in {COURSE} is unlike all nominal bags',
        ),
        (
            'clock_health',
            'offset of /joints',
            'The clocks disagree: offset of /joints',
        ),
        ('stream_health', 'gap of /joints', '/joints stopped delivering'),
        ('stream_health', 'rate of /joints', '/joints delivered fewer messages than before'),
        (
            'stream_health',
            'freeze of camera top',
            'Camera top showed the same picture while the robot moved',
        ),
        ('stream_health', 'blank of camera top', 'Camera top showed next to nothing'),
        (
            'stream_health',
            'saturated of camera top',
            'Camera top was black or burnt out over much of the picture',
        ),
    ],
)
def test_every_cause_has_its_sentence(name, detail, sentence):
    assert say_cause(name, detail, 6.14, 2.6) == (
        f'{sentence}: 6.1 times normal, alarm above 2.6.'
    )


def test_every_check_of_the_stream_channel_has_a_sentence():
    for check in (*TOPIC_CHECKS, *CAMERA_CHECKS):
        assert check not in say_cause('stream_health', f'{check} of it', 2.0, 1.0)


def test_a_broken_rule_is_named_without_a_measure():
    assert say_cause('outcome', 'the task failed', 4.0, 1.0) == 'Rule “the task failed” is broken.'


def test_a_channel_of_the_future_is_still_said_plainly():
    assert say_cause('smell', 'smoke', 2.0, 1.0).startswith('Smell: smoke')


def test_every_channel_says_what_it_can_find_and_what_it_cannot():
    assert set(REACH) == {*UNCALIBRATED, ActionChannel.name, OutcomeChannel.name}
    for one in REACH.values():
        assert one.finds.endswith('.')
        assert one.misses.endswith('.')
    assert list(reaches(['state', 'smell', 'picture'])) == ['state', 'picture']


@pytest.mark.parametrize('missing', [None, math.nan, math.inf])
def test_a_score_that_is_not_known_is_left_out(missing):
    assert say_cause('state', 'knee', missing, 2.0) == '“knee” did not go on as expected.'
    assert say_cause('state', 'knee', 2.0, missing) == '“knee” did not go on as expected.'


def test_a_trigger_is_said_with_its_name_and_reason():
    assert say_cause('trigger:estop', '/estop is true', None, None) == (
        'Trigger “estop” fired: /estop is true.'
    )
    assert say_cause('trigger:estop', '', None, None) == 'Trigger “estop” fired.'


def test_an_episode_says_all_its_causes_in_their_order():
    manifest = {
        'causes': ['trigger:estop', 'state'],
        'channels': {
            'state': {'detail': 'knee', 'peak': 3.0, 'threshold': 2.0},
            'picture': {'detail': '', 'peak': 0.4, 'threshold': 2.0},
        },
        'firings': [{'name': 'estop', 'detail': '/estop is true'}],
    }
    assert say_episode(manifest) == (
        'Trigger “estop” fired: /estop is true. '
        '“knee” did not go on as expected: 3.0 times normal, alarm above 2.0.'
    )
