# SPDX-License-Identifier: Apache-2.0
"""A report holds for one model, calibration, card and driver, and only if every line is ok."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from cosmos_flywheel.core.acceptance import Acceptance, Card, line, refusal

HERE = Card('NVIDIA RTX PRO 6000', '580.95')
MODEL, CALIBRATION = 'a' * 64, 'b' * 16
GOOD = line('real-time factor', 0.4, True, 'p99 below 1', 'p99 0.4')
REPORT = Acceptance('droid', 'cosmos-256', MODEL, CALIBRATION, HERE, (GOOD,), ('bag',))


def why(report: Acceptance | None, cards: tuple[Card, ...] = (HERE,), level='cosmos-256') -> str:
    return refusal(level, MODEL, CALIBRATION, report, cards)


def test_an_accepted_level_may_alarm_where_it_was_accepted():
    assert REPORT.accepted
    assert why(REPORT) == ''
    assert why(REPORT, (Card('another', '580.95'), HERE)) == ''


@pytest.mark.parametrize('level', ['cosmos-480', 'remote-256'])
def test_without_a_report_it_may_not(level):
    assert 'is not accepted; run `flywheel engine accept' in why(None, level=level)


@pytest.mark.parametrize('level', ['local', 'flow', 'persistence'])
def test_engines_of_the_processor_ask_for_none(level):
    assert why(None, level=level) == ''


@pytest.mark.parametrize(
    ('changed', 'words'),
    [
        ({'engine_sha256': 'c' * 64}, 'another model was accepted'),
        ({'calibration_id': 'd' * 16}, 'was accepted with calibration dddd'),
        ({'settings': {'back_end': 'tensorrt'}}, 'with back end tensorrt'),
        ({'card': Card('NVIDIA L4', '580.95')}, 'accepted on another card .NVIDIA L4, driver 580'),
        ({'card': Card(HERE.name, '570.1')}, 'driver 570.1, here is NVIDIA RTX PRO 6000'),
    ],
)
def test_a_report_of_something_else_does_not_count(changed, words):
    assert re.search(words, why(replace(REPORT, **changed)))


@pytest.mark.parametrize('holds', [False, None])
def test_one_line_that_is_not_ok_refuses_all(holds):
    bad = line('skill against persistence', -1.0, holds, 'interval above 0', 'worse')
    report = replace(REPORT, lines=(GOOD, bad))
    assert not report.accepted
    assert 'was refused (skill against persistence)' in why(report)


def test_a_level_that_is_computed_elsewhere_is_not_held_against_this_card():
    report = replace(REPORT, level='remote-256', card=Card('a processor'))
    assert why(report, level='remote-256') == ''


def test_nothing_at_all_is_not_accepted():
    assert not replace(REPORT, lines=()).accepted


def test_a_report_reads_back_as_it_was_written():
    full = replace(REPORT, faults={'lens covered': {'injected': 3}}, settings={'steps': 4})
    assert Acceptance.from_mapping(full.to_mapping()) == full
