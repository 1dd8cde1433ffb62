# SPDX-License-Identifier: Apache-2.0
"""A tiny checkpoint, exported once for all tests, and the bench that measures it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope='session')
def bench(root, need) -> Iterator[ModuleType]:
    """bench/tensorrt_build.py."""
    for name in ('torch', 'onnx', 'onnxscript'):
        if importlib.util.find_spec(name) is None:
            need('cosmos', f'{name} is not installed: `make learn`')
    sys.path.insert(0, str(root / 'bench'))
    yield importlib.import_module('tensorrt_build')
    sys.path.remove(str(root / 'bench'))


@pytest.fixture(scope='session')
def exported(bench, tmp_path_factory) -> tuple[Any, Path]:
    """Units in float32, and the folder of their graphs."""
    folder = tmp_path_factory.mktemp('units')
    units = bench.make_units(folder / 'model')
    bench.export_all(units, folder / 'onnx')
    return units, folder / 'onnx'
