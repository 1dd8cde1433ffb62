# SPDX-License-Identifier: Apache-2.0
"""`colcon build` with the ROS 2 wheels as underlay."""

from __future__ import annotations

import json
import os
import sys

import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

pytestmark = [pytest.mark.ros, pytest.mark.slow]

LOOK = """
from ament_index_python.packages import get_package_share_directory
import cosmos_flywheel
from cosmos_flywheel.msg import FailureEpisode
print(get_package_share_directory('cosmos_flywheel'), cosmos_flywheel.__file__)
print(FailureEpisode.get_fields_and_field_types()['channels'])
"""


def in_overlay(overlay, environment):
    """Command prefix and environment of a shell that has sourced the overlay over the wheels."""
    shell = ['bash', '-c', f'source "{overlay}/setup.bash" && exec "$0" "$@"', sys.executable]
    return shell, environment(AMENT_PREFIX_PATH=sys.prefix)


def test_sourcing_the_overlay_gives_messages_and_share(colcon_overlay, environment, run):
    shell, env = in_overlay(colcon_overlay, environment)

    out = run([*shell, '-c', LOOK], env=env)

    assert str(colcon_overlay / 'cosmos_flywheel/share/cosmos_flywheel') in out
    assert str(colcon_overlay / 'cosmos_flywheel/lib/python') in out
    assert 'sequence<cosmos_flywheel/ChannelScore>' in out


def test_colcon_puts_the_command_where_launch_looks_for_nodes(colcon_overlay):
    command = colcon_overlay / 'cosmos_flywheel/lib/cosmos_flywheel/flywheel'

    assert os.access(command, os.X_OK)


def test_colcon_installs_the_robot_files(colcon_overlay, root):
    share = colcon_overlay / 'cosmos_flywheel/share/cosmos_flywheel'

    shipped = {path.relative_to(root) for path in (root / 'config').rglob('*.yaml')}
    assert shipped == {path.relative_to(share) for path in (share / 'config').rglob('*.yaml')}


def test_the_built_types_have_the_hashes_that_bags_are_written_with(colcon_overlay, root):
    store = get_typestore(Stores.ROS2_KILTED)
    types = {}
    for path in (root / 'msg').glob('*.msg'):
        types |= get_types_from_msg(path.read_text(), f'cosmos_flywheel/msg/{path.stem}')
    store.register(types)

    built = {}
    for path in (colcon_overlay / 'cosmos_flywheel/share/cosmos_flywheel/msg').glob('*.json'):
        hashes = json.loads(path.read_text())['type_hashes']
        built |= {entry['type_name']: entry['hash_string'] for entry in hashes}

    ours = [name for name in types if name.startswith('cosmos_flywheel/')]
    assert len(ours) >= 5
    assert {name: built[name] for name in ours} == {n: store.hash_rihs01(n) for n in ours}
