# SPDX-License-Identifier: Apache-2.0
"""TensorRT's Python API with a card made of onnxruntime, and with any of its calls refused.

An engine's bytes are the name of its unit. Tensors are read and written at their addresses, as
the real library does.
"""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from cosmos_flywheel.engines.tensorrt.form import Form
from cosmos_flywheel.engines.tensorrt.units import made

VERSION = '1.7.1.116'
KINDS = {
    'tensor(float)': ('FLOAT', np.float32),
    'tensor(bool)': ('BOOL', np.bool_),
    'tensor(int64)': ('INT64', np.int64),
}


class FakeCard:
    """A card whose stream is done at once."""

    device, architecture, handle = 'cpu', 'sm_89', 7

    def __init__(self) -> None:
        self.closed = False

    def pinned(self, form: Form) -> Any:
        return made(form, 'cpu')

    def working(self) -> Any:
        return contextlib.nullcontext()

    def wait(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class FakeApi:
    """The module.

    Args:
        folder: of the units' graphs.
        refused: by name of a call that is answered with None or False, what the log says then.

    """

    __version__ = VERSION

    def __init__(self, folder: Path, refused: dict[str, str] | None = None) -> None:
        self.folder, self.refused = folder, refused or {}
        self.ILogger = type('ILogger', (), {'ERROR': 1, '__init__': lambda _: None})

    def refuses(self, call: str) -> bool:
        if call in self.refused:
            self.log.log(1, self.refused[call])
        return call in self.refused

    def Runtime(self, log: Any) -> Any:  # noqa: N802
        self.log = log
        return SimpleNamespace(deserialize_cuda_engine=self._load)

    def _load(self, engine: bytes) -> FakeEngine | None:
        return None if self.refuses('deserialize_cuda_engine') else FakeEngine(self, engine)


class FakeEngine:
    """One unit."""

    def __init__(self, api: FakeApi, engine: bytes) -> None:
        self.api = api
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        path = api.folder / f'{engine.decode()}.onnx'
        self.session = onnxruntime.InferenceSession(path, options)
        self.given, self.found = self.session.get_inputs(), self.session.get_outputs()
        self.tensors = {t.name: t for t in (*self.given, *self.found)}
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name].shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=KINDS[self.tensors[name].type][0])

    def create_execution_context(self) -> FakeContext | None:
        return None if self.api.refuses('create_execution_context') else FakeContext(self)


class FakeContext:
    """Remembers addresses, and computes there."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine, self.addresses = engine, dict[str, int]()

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return not self.engine.api.refuses('set_tensor_address')

    def execute_async_v3(self, handle: int) -> bool:
        assert handle == FakeCard.handle
        if self.engine.api.refuses('execute_async_v3'):
            return False
        given = {t.name: self._at(t) for t in self.engine.given}
        for tensor, array in zip(
            self.engine.found, self.engine.session.run(None, given), strict=True
        ):
            self._at(tensor)[...] = array
        return True

    def _at(self, tensor: Any) -> Any:
        dtype = np.dtype(KINDS[tensor.type][1])
        size = int(np.prod(tensor.shape)) * dtype.itemsize
        block = (ctypes.c_byte * size).from_address(self.addresses[tensor.name])
        return np.frombuffer(block, dtype).reshape(tensor.shape)
