# SPDX-License-Identifier: Apache-2.0
"""Turns generated sources into the shared libraries that ROS 2 loads by name."""

from __future__ import annotations

import os
import re
import shutil
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build_messages.generate import C_TYPESUPPORTS, CPP_TYPESUPPORTS, Sources
from build_messages.ros import MessageBuildError, include_folders


@dataclass(frozen=True)
class Library:
    """One library: named after the generator whose sources it compiles, and what it links."""

    generator: str
    patterns: tuple[str, ...]
    own: tuple[str, ...]
    """Libraries of this package."""
    ros: tuple[str, ...]
    """Libraries of rosidl and below."""


LIBRARIES = (
    Library('rosidl_generator_c', ('*.c',), (), ('rosidl_runtime_c', 'rcutils')),
    Library(
        'rosidl_typesupport_fastrtps_cpp',
        ('*.cpp',),
        ('rosidl_generator_c',),
        ('rosidl_typesupport_fastrtps_cpp', 'fastcdr', 'rmw', 'rosidl_runtime_c'),
    ),
    Library(
        'rosidl_typesupport_fastrtps_c',
        ('*.cpp',),
        ('rosidl_generator_c',),
        (
            'rosidl_typesupport_fastrtps_c',
            'rosidl_typesupport_fastrtps_cpp',
            'fastcdr',
            'rmw',
            'rosidl_runtime_c',
            'rcutils',
        ),
    ),
    Library(
        'rosidl_typesupport_introspection_c',
        ('*.c',),
        ('rosidl_generator_c',),
        ('rosidl_typesupport_introspection_c', 'rosidl_runtime_c'),
    ),
    Library(
        'rosidl_typesupport_introspection_cpp',
        ('*.cpp',),
        ('rosidl_generator_c',),
        ('rosidl_typesupport_introspection_cpp', 'rosidl_runtime_c'),
    ),
    Library(
        'rosidl_typesupport_c',
        ('*.cpp',),
        ('rosidl_generator_c', *C_TYPESUPPORTS),
        ('rosidl_typesupport_c', 'rosidl_runtime_c'),
    ),
    Library(
        'rosidl_typesupport_cpp',
        ('*.cpp',),
        ('rosidl_generator_c', *CPP_TYPESUPPORTS),
        ('rosidl_typesupport_cpp', 'rosidl_typesupport_c', 'rosidl_runtime_c'),
    ),
)
"""In the order in which they are linked. The two dispatchers load the others with dlopen, by bare
name; linking them makes that name resolve from any folder."""

PYTHON_EXTENSION = Library(
    'rosidl_generator_py',
    ('*_s.c', '*_s.ep.rosidl_typesupport_c.c'),
    ('rosidl_generator_c', 'rosidl_typesupport_c'),
    ('rosidl_typesupport_c', 'rosidl_runtime_c', 'rcutils'),
)


class Toolchain:
    """The system's compiler with the header and library folders of one ROS 2 installation."""

    def __init__(self, compiler: Any, prefixes: list[Path], sources: Sources, temp: Path) -> None:
        """compiler: a configured distutils compiler; temp: where objects go.

        Raises:
            MessageBuildError: no C or C++ compiler, Python header, or numpy.
        """
        _require_compilers(compiler)
        self._compiler = compiler
        self._sources = sources
        self._temp = temp
        self._library_dirs = [str(prefix / 'lib') for prefix in prefixes]
        generated = [str(folder) for folder in sorted(sources.root.iterdir()) if folder.is_dir()]
        self._include_dirs = [*generated, *include_folders(prefixes), *_python_headers()]

    def build(self, library: Library, dependencies: Sequence[str], target: Path) -> None:
        """Compile one library of this package into target.

        dependencies: packages whose messages ours contain.
        """
        package = self._sources.package
        needed = self._sources.find(library.generator, *library.patterns)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(self._compile, needed))
        self._compiler.link_shared_object(
            objects,
            str(target),
            libraries=[
                *(f'{package}__{name}' for name in library.own),
                *(f'{name}__{library.generator}' for name in dependencies),
                *library.ros,
            ],
            library_dirs=[str(target.parent), *self._library_dirs],
            target_lang='c++',
            extra_preargs=[
                '-Wl,--no-as-needed',
                '-Wl,-rpath,$ORIGIN',
                '-s',
                f'-Wl,-soname,{target.name}',
            ],
        )

    def _compile(self, source: str) -> str:
        standard = '-std=c++17' if source.endswith('.cpp') else '-std=gnu11'
        objects = self._compiler.compile(
            [source],
            output_dir=str(self._temp),
            include_dirs=self._include_dirs,
            extra_postargs=['-O1', '-fPIC', '-g0', '-w', standard],
        )
        return str(objects[0])


def library_name(package: str, generator: str) -> str:
    """File name by which ROS 2 asks for one type support of a package."""
    return f'lib{package}__{generator}.so'


def message_dependencies(package: str, source_dir: Path) -> list[str]:
    """Packages whose messages ours contain, read off the field types."""
    texts = (path.read_text() for path in source_dir.glob('msg/*.msg'))
    found = {name for text in texts for name in re.findall(r'^\s*(\w+)/\w+', text, re.MULTILINE)}
    return sorted(found - {package})


def _require_compilers(compiler: Any) -> None:
    for commands, language in ((compiler.compiler, 'C'), (compiler.compiler_cxx, 'C++')):
        if not commands or shutil.which(commands[0]) is None:
            raise MessageBuildError(
                f'no {language} compiler ({commands[0] if commands else "none configured"}) for '
                'the messages: apt install build-essential, or set COSMOS_FLYWHEEL_MSGS=off to '
                'install without messages (harvesting bags needs none)'
            )


def _python_headers() -> list[str]:
    headers = sysconfig.get_path('include')
    if not Path(headers, 'Python.h').is_file():
        raise MessageBuildError(f'no Python.h in {headers}: apt install python3-dev')
    try:
        import numpy
    except ModuleNotFoundError as error:
        raise MessageBuildError('numpy is not installed: apt install python3-numpy') from error
    return [numpy.get_include(), headers]
