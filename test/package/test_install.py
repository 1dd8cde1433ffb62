# SPDX-License-Identifier: Apache-2.0
"""`pip install .` in an empty environment, and an installation without messages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# The first test to ask for the installation waits for it.
pytestmark = pytest.mark.timeout(600)

SERIALIZE = """
from rclpy.serialization import deserialize_message, serialize_message
from cosmos_flywheel.msg import FailureEpisode
episode = FailureEpisode(id='7', causes=['picture'], onset_ns=3)
print(deserialize_message(serialize_message(episode), FailureEpisode) == episode)
"""


def package_files(folder: Path) -> set[str]:
    """Files of the package below a folder, without what a build makes."""
    files = {path.relative_to(folder) for path in folder.rglob('*') if path.is_file()}
    made = {'msg', '__pycache__'}
    return {str(f) for f in files if not made & set(f.parts) and f.suffix != '.so'}


@pytest.mark.ros
@pytest.mark.slow
def test_pip_installs_every_file_of_the_package(pip_prefix, root):
    (installed,) = pip_prefix.glob('lib/python*/site-packages/cosmos_flywheel')

    assert package_files(installed) == package_files(root / 'cosmos_flywheel')


@pytest.mark.ros
@pytest.mark.slow
def test_pip_installs_what_ros_expects_in_share(pip_prefix, root):
    share = pip_prefix / 'share/cosmos_flywheel'

    for folder in ('config', 'msg', 'launch'):
        for path in (root / folder).rglob('*.*'):
            assert (share / path.relative_to(root)).is_file()
    assert (share / 'package.xml').is_file()
    index = pip_prefix / 'share/ament_index/resource_index'
    assert (index / 'packages/cosmos_flywheel').is_file()
    interfaces = (index / 'rosidl_interfaces/cosmos_flywheel').read_text().split()
    assert 'msg/FailureEpisode.msg' in interfaces
    assert all((share / interface).is_file() for interface in interfaces)


@pytest.mark.ros
@pytest.mark.slow
def test_pip_installs_messages_that_serialise(pip_prefix, run):
    assert run([pip_prefix / 'bin/python', '-c', SERIALIZE]).strip() == 'True'


@pytest.mark.ros
@pytest.mark.slow
def test_pip_installs_the_command(pip_prefix, run):
    assert 'harvest' in run([pip_prefix / 'bin/flywheel', '--help'])


@pytest.mark.slow
def test_an_installation_without_messages_says_so_when_they_are_imported(
    copy_sources, environment, run, tmp_path
):
    source = copy_sources(tmp_path / 'source')
    pip = [sys.executable, '-m', 'pip', 'install', '--verbose', '--target', tmp_path / 'target']
    out = run(
        [*pip, '--no-build-isolation', '--no-deps', '--no-index', source],
        env=environment(COSMOS_FLYWHEEL_MSGS='off'),
    )
    assert 'WITHOUT ROS 2 messages' in out

    probe = (
        'import cosmos_flywheel\n'
        'try:\n    import cosmos_flywheel.msg\n'
        'except ImportError as error:\n    print(cosmos_flywheel.__file__, error)\n'
    )
    env = environment(PYTHONPATH=str(tmp_path / 'target'))
    said = run([sys.executable, '-c', probe], env=env)
    assert said.startswith(str(tmp_path / 'target'))
    assert 'installed without its ROS 2 messages' in said
    assert not list((tmp_path / 'target').rglob('*.so'))
