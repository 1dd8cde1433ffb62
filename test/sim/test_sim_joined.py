# SPDX-License-Identifier: Apache-2.0
"""A robot that is joined in the middle of a motion is not taken for one that fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cosmos_flywheel.bags.record import write_bag
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.sim import find_robot
from cosmos_flywheel.sim.record import record
from cosmos_flywheel.sim.world import setup_of

JOINED_S = (0.9, 1.7, 2.6)


@pytest.mark.usefixtures('rendering')
def test_a_recording_that_begins_in_mid_motion_raises_no_alarm(root: Path, tmp_path: Path) -> None:
    robot = find_robot('arm')
    whole = record(robot, setup_of(robot, 'push', 30003, 'none', 0.0), seconds=4.0, film=False)
    for at_s in JOINED_S:
        begin_ns = whole.messages[0].log_ns + round(at_s * NS)
        heard = [m for m in whole.messages if m.log_ns >= begin_ns]
        write_bag(tmp_path / 'bags' / f'joined_{at_s}', heard)
    found = tmp_path / 'found.json'
    words = ['harvest', tmp_path / 'bags', '--model', root / 'demo' / 'sim_arm']
    words += ['--out', tmp_path / 'out', '--json', found, '--workers', 1]
    assert main([str(word) for word in words]) == 0
    bags = json.loads(found.read_text('utf-8'))['bags']
    assert len(bags) == len(JOINED_S)
    assert [bag['episodes'] for bag in bags] == [[]] * len(JOINED_S)
