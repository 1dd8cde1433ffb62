# SPDX-License-Identifier: Apache-2.0
"""Holds who may import whom, as docs/design.md draws it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'cosmos_flywheel'
OURS = PACKAGE.name
FOUNDATION = {'core', 'schemas'}
MIDDLE = {'store', 'bags', 'video', 'engines', 'sim', 'executors'}
STAGES = {'capture', 'generate', 'validate', 'review', 'replay', 'export', 'measure', 'travel'}
MAY_KNOW = {
    'core': set(),
    'schemas': {'core'},
    **dict.fromkeys(MIDDLE, FOUNDATION),
    **dict.fromkeys(STAGES, FOUNDATION | MIDDLE),
    'nodes': FOUNDATION | MIDDLE | STAGES,
    'cli': FOUNDATION | MIDDLE | STAGES | {'nodes'},
}
ROS_PACKAGES = {
    'builtin_interfaces', 'diagnostic_msgs', 'geometry_msgs', 'lifecycle_msgs', 'nav_msgs',
    'rcl_interfaces', 'rclpy', 'rosgraph_msgs', 'sensor_msgs', 'std_msgs', 'std_srvs',
}  # fmt: skip
AT_HOME = {
    **{package: {'nodes'} for package in ROS_PACKAGES},
    'rosbags': {'bags'},
    'mcap': {'bags'},
    'mujoco': {'sim'},
    'onnxruntime': {'engines'},
    'safetensors': {'engines', 'capture'},
    'av': {'video'},
    'pyarrow': {'bags'},
    'torch': {'engines', 'sim', 'generate', 'validate'},
    'tensorrt': {'engines'},
    'tensorrt_rtx': {'engines'},
    'tensorrt_rtx_bindings': {'engines'},
    'onnxscript': {'engines'},
    'transformers': {'engines'},
    'huggingface_hub': {'engines'},
    'pycuda': {'engines'},
    'cosmos_guardrail': {'engines'},
    'sqlite3': {'store', 'bags'},
    'fsspec': {'travel'},
    'ray': {'executors'},
}
FILES = sorted(p for p in PACKAGE.rglob('*.py') if p.relative_to(PACKAGE).parts[0] != 'msg')


def room(path: Path) -> str:
    """The folder of the package that a file lies in; '' for the package's own __init__."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ''


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that a file imports, anywhere in it."""
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text('utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            if node.module == OURS:
                yield from (f'{OURS}.{alias.name}' for alias in node.names)
            else:
                yield node.module or ''


def rooms_known(path: Path) -> set[str]:
    """Rooms that a file imports from, its own left out."""
    inner = [name.split('.') for name in imports(path)]
    known = {parts[1] for parts in inner if parts[0] == OURS and len(parts) > 1}
    return known - {room(path), '__version__', 'msg'}


by_file = pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(PACKAGE)))


def test_every_room_has_its_place_in_the_design():
    rooms = {room(path) for path in FILES} - {''}
    assert rooms <= set(MAY_KNOW)
    assert {'core', 'bags', 'engines', 'capture', 'cli'} <= rooms


@by_file
def test_a_file_knows_only_the_rooms_below_it(path):
    assert rooms_known(path) <= MAY_KNOW.get(room(path), set())


@by_file
def test_a_dependency_is_imported_only_where_it_is_at_home(path):
    outer = {name.split('.')[0] for name in imports(path)}
    if f'{OURS}.msg' in {'.'.join(name.split('.')[:2]) for name in imports(path)}:
        assert room(path) == 'nodes'  # they need the libraries of ROS
    strays = {name for name in outer & set(AT_HOME) if room(path) not in AT_HOME[name]}
    assert strays == set()


@pytest.mark.parametrize(
    'path', [p for p in FILES if room(p) == 'core'], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_the_core_stands_on_numpy_and_the_standard_library(path):
    outer = {name.split('.')[0] for name in imports(path)}
    assert outer <= {*sys.stdlib_module_names, 'numpy', OURS}
