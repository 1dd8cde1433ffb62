# SPDX-License-Identifier: Apache-2.0
"""What a policy lets leave; what it does not say is refused."""

from __future__ import annotations

import pytest
from episode_maker import make_manifest
from travelling import OPEN, ids, keep_episodes

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.store.labels import Label, append_label
from cosmos_flywheel.travel.outbox import Outbox
from cosmos_flywheel.travel.policy import Policy, Redaction, load_policy


def policy(**document) -> Policy:
    return Policy.from_mapping({'schema': 'travel-v1', **document}, 'p.yaml')


def test_what_is_not_said_is_answered_by_the_careful_side():
    silent = policy()
    assert silent == Policy()
    assert silent.redaction.faces == 'blur'
    assert not silent.people
    assert not silent.cleartext
    assert silent.after_altered == 'keep'
    assert silent.may_reach('127.0.0.1')
    assert silent.may_reach('::1')
    assert silent.may_reach('::ffff:127.0.0.1')
    for address in ('10.0.0.1', '192.168.1.2', '::ffff:10.0.0.1', 'fe80::1%eth0', 'robot', ''):
        assert not silent.may_reach(address)
    for url in ('file:///mnt/share', 'memory://x', 's3://bucket/x'):
        assert not silent.may_write(url)


def test_networks_and_folders_are_allowed_by_name_and_no_further():
    named = policy(endpoints=['10.1.0.0/24', 'file:///mnt/share', 's3://bucket/robots'])
    assert named.may_reach('10.1.0.77')
    assert not named.may_reach('10.1.1.77')
    assert not named.may_reach('127.0.0.1')
    assert named.may_write('file:///mnt/share/r1')
    assert named.may_write('s3://bucket/robots')
    for url in (
        'file:///mnt/shared', 'file:///mnt/share/../other', 's3://bucket2/robots', 's3://bucket',
        'http://mnt/share', 'memory://mnt/share',
    ):  # fmt: skip
        assert not named.may_write(url)


@pytest.mark.parametrize(
    ('document', 'words'),
    [
        ({'endpoint': ['loopback']}, "did you mean 'endpoints'"),
        ({'endpoints': ['workstation']}, 'write loopback, an address'),
        ({'endpoints': ['10.0.0.1/8']}, 'a network such as'),
        ({'episodes': {'labels': ['failures']}}, "did you mean 'failure'"),
        ({'redaction': {'faces': 'no'}}, 'faces'),
        ({'after_fetch': {'whole': 'delete'}}, 'whole'),
        ({'bytes_s': 0}, 'greater than 0'),
    ],
)
def test_a_wrong_key_is_named(document, words):
    with pytest.raises(ConfigError, match=words):
        policy(**document)


def test_shipped_policies_hold_and_a_wrong_name_or_file_is_explained(tmp_path):
    assert load_policy('loopback') == OPEN
    assert load_policy('site').redaction == Redaction()
    with pytest.raises(ConfigError, match="did you mean 'site'"):
        load_policy('sites')
    with pytest.raises(ConfigError, match='no such policy file'):
        load_policy(tmp_path / 'none.yaml')
    twice = tmp_path / 'twice.yaml'
    twice.write_text('schema: travel-v1\npeople: false\npeople: true\n')
    with pytest.raises(ConfigError, match="'people' is written twice"):
        load_policy(twice)


@pytest.mark.parametrize(
    ('rules', 'label', 'words'),
    [
        ({'episodes': {'labels': ['failure']}}, 'untriaged', 'label untriaged may not leave'),
        ({'episodes': {'causes': ['state']}}, 'failure', r'none of its causes \(picture'),
        ({'topics': {'allow': ['/nothing']}}, 'failure', 'none of its topics'),
        ({'topics': {'withhold': ['/*']}}, 'failure', 'none of its topics'),
    ],
)
def test_each_refusal_is_named(rules, label, words):
    with pytest.raises(AssertionError, match=words):
        assert not policy(**rules).refusal(make_manifest(), label)


def test_any_trigger_is_a_cause():
    named = policy(episodes={'causes': ['trigger']})
    assert named.refusal(make_manifest(), 'failure') == ''


def test_the_last_label_decides_and_other_robots_stay(tmp_path):
    names = keep_episodes(tmp_path)
    rules = policy(episodes={'labels': ['failure']}, redaction={'faces': 'keep'})
    said = Label(names[0], 'failure', 'ada', '', '2026-01-01T00:00:00+00:00')
    append_label(tmp_path / names[0], said)
    look = Outbox(tmp_path, 'mujoco_push', rules, print).look()
    assert [parcel.id for parcel in look.parcels] == [names[0]]
    assert look.withheld == {names[1]: 'label untriaged may not leave'}
    look = Outbox(tmp_path, 'other', rules, print).look()
    assert look.parcels == ()
    assert look.withheld == dict.fromkeys(ids(tmp_path), 'is of robot mujoco_push')
