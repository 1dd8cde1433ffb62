# SPDX-License-Identifier: Apache-2.0
"""The largest cluster times cost goes first."""

from __future__ import annotations

import pytest

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.generate.worth import Worth, deserves, in_order, require_worth


def test_the_largest_cluster_times_cost_goes_first():
    found = [
        Worth('a', 'common', 1.0), Worth('b', 'common', 1.0), Worth('c', 'common', 1.0),
        Worth('d', 'costly', 4.0), Worth('e', None, 2.0), Worth('f', None, 2.0, severity=9.0),
    ]  # fmt: skip
    told = [(worth.episode, weight) for worth, weight in in_order(found)]
    assert told == [('d', 4.0), ('a', 3.0), ('b', 3.0), ('c', 3.0), ('f', 2.0), ('e', 2.0)]


@pytest.mark.parametrize(
    ('label', 'untriaged', 'is_due'),
    [
        ('failure', False, True),
        ('untriaged', False, False),
        ('untriaged', True, True),
        ('anomaly_no_failure', True, False),
        ('sensor_fault', True, False),
        ('false_alarm', True, False),
    ],
)
def test_only_failures_deserve_it_unless_nobody_has_spoken(label, untriaged, is_due):
    assert deserves(label, untriaged=untriaged) is is_due
    if not is_due:
        with pytest.raises(ConfigError, match='flywheel episodes label x failure'):
            require_worth('x', label, untriaged=untriaged)
