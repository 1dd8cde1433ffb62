# SPDX-License-Identifier: Apache-2.0
"""The demo's own data: what is labelled as a failure is found, what is not stays silent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CAUSES: dict[str, set[str]] = {
    'none': set(),
    'actuator_stall': {'tracking_error'},
    'camera_freeze': {'stream_health'},
    'camera_occlusion': {'picture'},
}
"""What must be among the causes; some faults show in more channels than one."""
EARLIEST_S, LATEST_S = -0.001, 1.0
"""After the labelled onset, which is rounded to milliseconds."""


@pytest.fixture(scope='module')
def demo(root: Path) -> Path:
    return root / 'demo' / 'bags' / 'mujoco_push_faults'


def test_the_demo_finds_a_failure_of_each_kind_and_is_silent_without_one(
    root: Path, demo: Path, harvest: Callable[..., Any]
) -> None:
    labels = json.loads((demo / 'labels.json').read_text('utf-8'))['episodes']
    chosen = {label['fault']: label for label in labels if label['fault'] in CAUSES}
    assert chosen.keys() == CAUSES.keys()
    bags = [demo / 'bags' / label['bag'] for label in chosen.values()]
    found = harvest(*bags, '--model', root / 'demo' / 'model', judged=False)
    assert found.code == 0
    episodes = {Path(bag['bag']).name: bag['episodes'] for bag in found.document['bags']}
    for fault, label in chosen.items():
        causes = {c for e in episodes[label['bag']] for c in e['causes']}
        assert causes >= CAUSES[fault]
        assert bool(causes) == bool(CAUSES[fault])
        for episode in episodes[label['bag']]:
            assert EARLIEST_S <= episode['onset_s'] - label['onset_s'] <= LATEST_S
