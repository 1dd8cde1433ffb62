# SPDX-License-Identifier: Apache-2.0
"""Plans that may find something else have another hash, so that nothing stale is taken over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_flywheel.capture.harvest import Plan
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.model import Judge
from cosmos_flywheel.engines.flow import Flow
from cosmos_flywheel.store.robots import load_robot


@pytest.fixture
def plan() -> Plan:
    return Plan(load_robot('mujoco_push'), Judge('flow'))


def test_equal_plans_have_equal_hashes(plan):
    assert plan.hash() == Plan(load_robot('mujoco_push'), Judge('flow')).hash()


def test_another_revision_of_the_engine_is_another_plan(plan, monkeypatch):
    before = plan.hash()
    monkeypatch.setattr(Flow, 'revision', Flow.revision + 1)
    assert plan.hash() != before


def test_every_part_of_a_plan_counts(plan, tmp_path: Path):
    triggers = tmp_path / 'triggers.yaml'
    triggers.write_text('schema: triggers-v1')
    others = [
        replace(plan, robot=load_robot('g1')),
        replace(plan, judge=Judge('persistence')),
        replace(plan, judge=Judge('flow', size=(64, 64))),
        replace(plan, settings=CaptureSettings(pre_roll_s=1.0)),
        replace(plan, triggers_path=triggers),
    ]
    assert len({plan.hash(), *(other.hash() for other in others)}) == 1 + len(others)
