# SPDX-License-Identifier: Apache-2.0
"""Predictor, monitor and recorder beside a robot, a simulated one, or a bag."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition, LaunchConfigurationNotEquals
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = (
    ('robot', 'g1', 'robot file, or the name of one that is shipped'),
    ('engine', 'flow', 'a folder that `flywheel fit` made, or an engine that needs no weights'),
    ('namespace', '', 'of the robot, where several share a graph'),
    ('record', 'true', 'whether episodes are captured'),
    ('out', 'flywheel-out', 'where episodes go'),
    ('sim', '', 'arm or base: start a simulated robot too'),
    ('bag', '', 'a bag to play'),
    ('use_sim_time', 'false', 'take the time from /clock'),
)


def generate_launch_description() -> LaunchDescription:
    """One process a node; each reads its file of config/nodes first."""
    given = {name: LaunchConfiguration(name) for name, _, _ in ARGUMENTS}
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=what)
        for name, default, what in ARGUMENTS
    ]
    models = {'models': [given['engine']]}
    judged = {'robot': given['robot'], **models}
    kept = {'robot': given['robot'], 'out': given['out']}
    return LaunchDescription(
        [
            *declared,
            _node('predictor', given, judged),
            _node('monitor', given, judged),
            _node('recorder', given, kept, condition=IfCondition(given['record'])),
            _node(
                'sim',
                given,
                {'robot': given['sim']},
                condition=LaunchConfigurationNotEquals('sim', ''),
            ),
            _node(
                'player',
                given,
                {'bag': given['bag'], 'clock': True},
                condition=LaunchConfigurationNotEquals('bag', ''),
            ),
        ]
    )


def _node(name, given, parameters, condition=None):
    """One node of this package."""
    share = FindPackageShare('cosmos_flywheel')
    clock = ParameterValue(given['use_sim_time'], value_type=bool)
    return Node(
        package='cosmos_flywheel',
        executable='flywheel',
        arguments=['node', name],
        name=name,
        namespace=given['namespace'],
        parameters=[
            PathJoinSubstitution([share, 'config', 'nodes', f'{name}.yaml']),
            {**parameters, 'use_sim_time': clock},
        ],
        condition=condition,
        respawn=name not in ('sim', 'player'),
        respawn_delay=1.0,
        output='screen',
    )
