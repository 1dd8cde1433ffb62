# SPDX-License-Identifier: Apache-2.0
"""A bag, played into the live nodes on its own clock."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

PASSED_ON = ('robot', 'engine', 'namespace', 'record', 'out')


def generate_launch_description() -> LaunchDescription:
    """live.launch.py with a bag."""
    live = PathJoinSubstitution([FindPackageShare('cosmos_flywheel'), 'launch', 'live.launch.py'])
    passed = {name: LaunchConfiguration(name) for name in PASSED_ON}
    return LaunchDescription(
        [
            DeclareLaunchArgument('bag', description='the bag to play'),
            DeclareLaunchArgument('robot', description='robot file, or the name of one'),
            DeclareLaunchArgument('engine', default_value='flow', description='folder or engine'),
            DeclareLaunchArgument('namespace', default_value='', description='of the robot'),
            DeclareLaunchArgument('record', default_value='true', description='capture episodes'),
            DeclareLaunchArgument('out', default_value='flywheel-out', description='where to'),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(live),
                launch_arguments={
                    **passed,
                    'bag': LaunchConfiguration('bag'),
                    'use_sim_time': 'true',
                }.items(),
            ),
        ]
    )
