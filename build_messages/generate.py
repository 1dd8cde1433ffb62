# SPDX-License-Identifier: Apache-2.0
"""Turns .msg files into the sources of their type support, by calling rosidl's generators."""

from __future__ import annotations

import importlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build_messages.ros import AMENT_PREFIX_PATH, MessageBuildError, find_share, interface_shares

C_TYPESUPPORTS = ('rosidl_typesupport_fastrtps_c', 'rosidl_typesupport_introspection_c')
CPP_TYPESUPPORTS = ('rosidl_typesupport_fastrtps_cpp', 'rosidl_typesupport_introspection_cpp')
TYPE_DESCRIPTION = 'rosidl_generator_type_description'


@dataclass(frozen=True)
class Generator:
    """One generator of rosidl: the ROS package it is in, its function, what it takes besides."""

    package: str
    function: str
    arguments: tuple[list[str], ...] = ()


GENERATORS = (
    Generator(TYPE_DESCRIPTION, 'generate_type_hash'),
    Generator('rosidl_generator_c', 'generate_c'),
    Generator('rosidl_generator_cpp', 'generate_cpp'),
    Generator('rosidl_typesupport_fastrtps_c', 'generate_typesupport_fastrtps_c'),
    Generator('rosidl_typesupport_fastrtps_cpp', 'generate_cpp'),
    Generator('rosidl_typesupport_introspection_c', 'generate_c'),
    Generator('rosidl_typesupport_introspection_cpp', 'generate_cpp'),
    Generator('rosidl_typesupport_c', 'generate_c', (list(C_TYPESUPPORTS),)),
    Generator('rosidl_typesupport_cpp', 'generate_cpp', (list(CPP_TYPESUPPORTS),)),
    Generator('rosidl_generator_py', 'generate_py', (['rosidl_typesupport_c'],)),
)
"""In the order in which they run; the first computes the hashes that the others write down."""


@dataclass(frozen=True)
class Sources:
    """What generation leaves behind: ROOT/GENERATOR/PACKAGE/msg/... and the files to install."""

    root: Path
    package: str
    shared: tuple[Path, ...]
    """For share/PACKAGE/msg: definitions in IDL and type descriptions."""
    marker: Path
    """For the ament index: names the package's interfaces."""

    def find(self, generator: str, *patterns: str) -> list[str]:
        """Sources that one generator wrote, sorted."""
        folder = self.root / generator / self.package
        return sorted(str(path) for pattern in patterns for path in folder.rglob(pattern))


def generate(package: str, source_dir: Path, root: Path, prefixes: list[Path]) -> Sources:
    """Run every generator on source_dir/msg/*.msg and write below root.

    Raises:
        MessageBuildError: a generator is missing, or there is no message.
    """
    # The generators look up one another's templates in the ament index.
    os.environ[AMENT_PREFIX_PATH] = os.pathsep.join(map(str, prefixes))
    messages = [path.relative_to(source_dir) for path in sorted(source_dir.glob('msg/*.msg'))]
    if not messages:
        raise MessageBuildError(f'no .msg file in {source_dir / "msg"}')
    definitions = _write_idl(package, source_dir, messages, root / 'idl')
    described = root / TYPE_DESCRIPTION / package
    hashes = [described / path.with_suffix('.json') for path in definitions]
    arguments: dict[str, Any] = {
        'package_name': package,
        'idl_tuples': [f'{root / "idl"}:{path.as_posix()}' for path in definitions],
        'include_paths': [f'{name}:{share}' for name, share in interface_shares(prefixes).items()],
        'ros_interface_dependencies': [],
        'ros_interface_files': [str(source_dir / path) for path in messages],
        'target_dependencies': [],
    }
    for generator in GENERATORS:
        _run(generator, root, find_share(generator.package, prefixes), arguments)
        arguments['type_description_tuples'] = [
            f'{path.as_posix()}:{hashed}' for path, hashed in zip(definitions, hashes, strict=True)
        ]
    marker = root / package
    marker.write_text('\n'.join(sorted(p.as_posix() for p in (*messages, *definitions))) + '\n')
    shared = (*(root / 'idl' / path for path in definitions), *hashes)
    return Sources(root=root, package=package, shared=shared, marker=marker)


def _write_idl(package: str, source_dir: Path, messages: list[Path], out: Path) -> list[Path]:
    """Translate each .msg to IDL; the results are relative to out."""
    adapter = _import('rosidl_adapter', 'rosidl_adapter.msg')
    for message in messages:
        adapter.convert_msg_to_idl(source_dir, package, message, out / message.parent)
    return [message.with_suffix('.idl') for message in messages]


def _run(generator: Generator, root: Path, share: Path, arguments: dict[str, Any]) -> None:
    """Call one generator the way rosidl's CMake does: with a JSON file of arguments."""
    module = _import(generator.package, generator.package)
    out = root / generator.package / arguments['package_name']
    templates = share / 'resource'
    request = root / f'{generator.package}.json'
    request.write_text(
        json.dumps({**arguments, 'output_dir': str(out), 'template_dir': str(templates)})
    )
    getattr(module, generator.function)(str(request), *generator.arguments)
    _fill_visibility_header(templates, out, arguments['package_name'])


def _fill_visibility_header(templates: Path, out: Path, package: str) -> None:
    """Write the export macros that CMake would have configured."""
    for template in templates.glob('*visibility_control.h*.in'):
        text = template.read_text().replace('@PROJECT_NAME@', package)
        header = out / 'msg' / template.stem
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_text(text.replace('@PROJECT_NAME_UPPER@', package.upper()))


def _import(package: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MessageBuildError(
            f'{package} cannot be imported ({error}): apt install ros-$ROS_DISTRO-'
            f'rosidl-default-generators, or pip install ros-{package.replace("_", "-")}'
        ) from error
