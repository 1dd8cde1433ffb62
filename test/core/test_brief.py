# SPDX-License-Identifier: Apache-2.0
"""A brief is an order that keeps its word: round trips, ids, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_flywheel.core.brief import Brief, Family, Normality
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.variation import candidate_id, variations

EXAMPLE = Path(__file__).parents[1] / 'schemas' / 'examples' / 'brief-v1.json'


@pytest.fixture
def brief() -> Brief:
    return Brief.from_document(json.loads(EXAMPLE.read_text('utf-8')))


def test_a_brief_comes_back_from_its_document_as_it_was(brief):
    assert Brief.from_document(json.loads(json.dumps(brief.document()))) == brief
    assert brief.document()['id'] == json.loads(EXAMPLE.read_text('utf-8'))['id']


def test_an_edited_brief_is_another_one(brief):
    edited = replace(brief, prompt=replace(brief.prompt, scene='A red table.'))
    assert edited.id != brief.id


def test_recovery_by_perturbation_alone_is_refused(brief):
    with pytest.raises(ConfigError, match='recovery: perturbed actions'):
        replace(brief, families=(Family('recovery', 'perturbed', {}),))


def test_without_an_envelope_only_recorded_actions_are_ordered(brief):
    with pytest.raises(ConfigError, match='no action envelope'):
        replace(brief, envelope=None)
    kept = tuple(f for f in brief.families if f.actions == 'recorded')
    assert replace(brief, envelope=None, families=kept).envelope is None


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'effect': 'mutes'}, "effect is 'mutes'"),
        ({'end_s': 0.5}, 'ends before it starts'),
        ({'region': (0.6, 0.1, 0.2, 0.5)}, 'region .* is none'),
    ],
)
def test_what_is_made_normal_must_make_sense(brief, change, words):
    one: Normality = replace(brief.makes_normal[0])
    with pytest.raises(ConfigError, match=words):
        replace(brief, makes_normal=(replace(one, **change),))


def test_an_unknown_family_names_the_nearest(brief):
    with pytest.raises(ConfigError, match="did you mean 'recovery'"):
        replace(brief, families=(Family('recoverry', 'nominal', {}),))


def test_every_combination_of_axes_is_a_cell(brief):
    axes = {'light': ('dim', 'bright'), 'speed': ('slow', 'usual', 'fast')}
    found = variations(replace(brief, families=(Family('harder', 'recorded', axes),)))
    assert len({str(one) for one in found}) == 6
    assert str(found[0]) == 'harder (light dim, speed slow)'


def test_a_candidate_is_known_by_its_whole_order(brief):
    first, second, *_ = variations(brief)
    order = (brief.id, first, 7, 'augment', {'version': 1})
    assert candidate_id(*order) == candidate_id(*order)
    others = [
        candidate_id('0' * 16, first, 7, 'augment', {'version': 1}),
        candidate_id(brief.id, second, 7, 'augment', {'version': 1}),
        candidate_id(brief.id, first, 8, 'augment', {'version': 1}),
        candidate_id(brief.id, first, 7, 'sim', {'version': 1}),
        candidate_id(brief.id, first, 7, 'augment', {'version': 2}),
    ]
    assert len({candidate_id(*order), *others}) == 6
