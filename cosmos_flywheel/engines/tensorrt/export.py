# SPDX-License-Identifier: Apache-2.0
"""A unit → its ONNX graph on disk, weights beside it, as torch.export traces it."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.tensorrt.units import Unit, Walk, made

OPSET = 18
"""The newest whose attention, spelled out, both TensorRT and onnxruntime take with a mask."""


class _Module(nn.Module):
    """A walk as torch.export wants it."""

    def __init__(self, walk: Walk) -> None:
        super().__init__()
        self.walk = walk

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Walk."""
        return self.walk(*inputs)


def export(unit: Unit, folder: Path) -> Path:
    """Write UNIT.onnx, and UNIT.onnx.data with its weights, into a folder.

    Raises:
        EngineError: a package is missing, or the folder cannot be written.

    """
    missing = [n for n in ('onnx', 'onnxscript') if importlib.util.find_spec(n) is None]
    if missing:
        raise EngineError(f'exporting needs {" and ".join(missing)}; `make learn` brings it')
    path = folder / f'{unit.name}.onnx'
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            _Module(unit.walk).eval(),
            tuple(made(form, 'cpu') for form in unit.inputs.values()),
            input_names=list(unit.inputs),
            output_names=list(unit.outputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        program.save(path, external_data=True)
    except OSError as error:
        raise EngineError(
            f'{path}: cannot be written ({error.strerror}); free space or choose another folder'
        ) from error
    return path


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of packages that nobody needs here."""
    log = logging.getLogger('torch.onnx')
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        log.setLevel(before)
