# SPDX-License-Identifier: Apache-2.0
"""Exported units through onnxruntime on a CPU, so that the chain can be seen to be right."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.tensorrt.executor import check_inputs
from cosmos_flywheel.engines.tensorrt.form import Form, Forms
from cosmos_flywheel.engines.tensorrt.units import made

TYPES = {
    'tensor(float)': 'float32',
    'tensor(bool)': 'bool',
    'tensor(int64)': 'int64',
}
"""onnxruntime's words for types → torch's."""
ERRORS_ONLY = 3
"""The exporter's graphs hold initializers that onnxruntime folds away and tells of."""


class OnnxExecutor:
    """The graphs of one folder; float32 only: it knows few products of bfloat16."""

    device = 'cpu'

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self._folder = folder
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.log_severity_level = ERRORS_ONLY
        self._sessions: dict[str, Any] = {}
        self._forms: dict[str, Forms] = {}

    def load(self, unit: str) -> None:
        """Open a graph."""
        path = self._folder / f'{unit}.onnx'
        if not path.is_file():
            raise EngineError(f'{path}: is missing; export the units again')
        try:
            session = onnxruntime.InferenceSession(
                path, self._options, providers=['CPUExecutionProvider']
            )
        except Exception as error:  # onnxruntime's errors share no base with others
            raise EngineError(
                f'{path}: onnxruntime cannot take it ({error}); export the units again, in float32'
            ) from error
        self._forms[unit] = {
            i.name: Form(tuple(i.shape), TYPES.get(i.type, i.type)) for i in session.get_inputs()
        }
        self._sessions[unit] = session

    def drop(self, unit: str) -> None:
        """Close a graph."""
        self._sessions.pop(unit, None)

    def run(self, unit: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute at once; outputs are new."""
        if unit not in self._sessions:
            self.load(unit)
        check_inputs(unit, self._forms[unit], inputs)
        session = self._sessions[unit]
        names = [output.name for output in session.get_outputs()]
        arrays = {name: inputs[name].contiguous().numpy() for name in self._forms[unit]}
        found = session.run(names, arrays)
        return {name: torch.from_numpy(array) for name, array in zip(names, found, strict=True)}

    def host(self, form: Form) -> Tensor:
        """Ordinary memory."""
        return made(form, 'cpu')

    def working(self) -> contextlib.AbstractContextManager[None]:
        """Nothing is queued here."""
        return contextlib.nullcontext()

    def wait(self) -> None:
        """Nothing is queued here."""

    def close(self) -> None:
        """Close all graphs."""
        self._sessions.clear()
