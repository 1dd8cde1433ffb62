# SPDX-License-Identifier: Apache-2.0
"""The `build_ext` command: puts messages into the package, and type support where ROS 2 looks."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from setuptools.command.build_ext import build_ext

from build_messages.compile import (
    LIBRARIES,
    PYTHON_EXTENSION,
    Toolchain,
    library_name,
    message_dependencies,
)
from build_messages.generate import Sources, generate
from build_messages.ros import MessageBuildError, has_generators, ros_prefixes

PACKAGE = 'cosmos_flywheel'
SOURCE_DIR = Path(__file__).resolve().parents[1]
CHOICE = 'COSMOS_FLYWHEEL_MSGS'
"""Environment variable: `auto` builds if generators are there, `required` insists, `off` never."""

NO_MESSAGES = '''# SPDX-License-Identifier: Apache-2.0
"""Stands in for the messages of an installation that was built without them."""

raise ImportError(
    'cosmos_flywheel was installed without its ROS 2 messages, because it found no generators: '
    'source ROS 2 and run colcon build, or install again with COSMOS_FLYWHEEL_MSGS=required '
    'to see what is missing'
)
'''


class BuildMessages(build_ext):  # type: ignore[misc]  # setuptools has no types
    """Generate and compile the package's messages in place of an ordinary extension module."""

    def build_extension(self, ext: Any) -> None:
        """Build everything into the package's folder below build_lib."""
        extension = Path(self.get_ext_fullpath(ext.name)).resolve()
        out = extension.parent
        shutil.rmtree(out / 'msg', ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
        if not _wanted():
            _write_stand_in(out)
            return
        sources = self._build(out, extension)
        self._install_shared(sources)
        self._install_libraries(out)

    def copy_extensions_to_source(self) -> None:
        """For editable installs: bring messages and libraries into the source tree."""
        built = Path(self.build_lib).resolve() / PACKAGE
        package = SOURCE_DIR / PACKAGE
        shutil.rmtree(package / 'msg', ignore_errors=True)
        shutil.copytree(built / 'msg', package / 'msg')
        for library in built.glob('*.so'):
            shutil.copy2(library, package)

    def _build(self, out: Path, extension: Path) -> Sources:
        prefixes = ros_prefixes()
        temp = Path(self.build_temp).resolve()
        shutil.rmtree(temp / 'rosidl', ignore_errors=True)
        sources = generate(PACKAGE, SOURCE_DIR, temp / 'rosidl', prefixes)
        toolchain = Toolchain(self.compiler, prefixes, sources, temp)
        dependencies = message_dependencies(PACKAGE, SOURCE_DIR)
        for library in LIBRARIES:
            target = out / library_name(PACKAGE, library.generator)
            toolchain.build(library, dependencies, target)
        toolchain.build(PYTHON_EXTENSION, dependencies, extension)
        shutil.copytree(
            sources.root / PYTHON_EXTENSION.generator / PACKAGE / 'msg',
            out / 'msg',
            ignore=shutil.ignore_patterns('*.c'),
        )
        return sources

    def _install_shared(self, sources: Sources) -> None:
        self._add_data(f'share/{PACKAGE}/msg', sources.shared)
        self._add_data('share/ament_index/resource_index/rosidl_interfaces', [sources.marker])

    def _install_libraries(self, out: Path) -> None:
        """Put the libraries into PREFIX/lib too.

        C++ programs (ros2 bag record, foxglove_bridge) look there, for the prefix that the ament
        index gives; the copies beside the Python modules serve rclpy from wherever those are.
        """
        self._add_data('lib', sorted(out.glob('lib*.so')))

    def _add_data(self, folder: str, files: Any) -> None:
        self.distribution.data_files.append((folder, [os.path.relpath(path) for path in files]))


def _wanted() -> bool:
    """Whether this build makes messages.

    Raises:
        MessageBuildError: they are required and cannot be made, or the choice is no known word.
    """
    choice = os.environ.get(CHOICE, 'auto')
    if choice not in ('auto', 'required', 'off'):
        raise MessageBuildError(f'{CHOICE}={choice}: use auto, required or off')
    if choice == 'off':
        return False
    if has_generators():
        return True
    if choice == 'required':
        ros_prefixes()
    return False


def _write_stand_in(out: Path) -> None:
    (out / 'msg').mkdir()
    (out / 'msg' / '__init__.py').write_text(NO_MESSAGES)
    rule = '*' * 79
    print(
        f'{rule}\n{PACKAGE}: building WITHOUT ROS 2 messages ({CHOICE}='
        f'{os.environ.get(CHOICE, "auto")}). Harvesting bags works; live nodes do not.\n'
        f'With a ROS 2 installation: source it and run colcon build.\n{rule}',
        file=sys.stderr,
    )
