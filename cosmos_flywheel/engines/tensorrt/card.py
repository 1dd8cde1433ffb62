# SPDX-License-Identifier: Apache-2.0
"""The present GPU as pycuda holds it: its primary context, one stream, and pinned host memory.

The context is torch's too, so that both share pointers, and torch queues on pycuda's stream.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.cuda import require_cuda
from cosmos_flywheel.engines.tensorrt.claim import Claim
from cosmos_flywheel.engines.tensorrt.form import Form

Version = tuple[int, int]


class Card:
    """The GPU that torch calls its current one.

    Raises:
        EngineError: there is none, pycuda is missing or of another CUDA, the driver is too old, or
            another process has the card.

    """

    device = 'cuda'

    def __init__(self, *, shared: bool = False) -> None:
        """Take the card.

        Args:
            shared: do not mind other processes of this package on it.

        """
        require_cuda()
        torch.cuda.init()
        self._pycuda = open_pycuda()
        built = self._pycuda.get_version()
        driver = self._pycuda.get_driver_version()
        knows = (driver // 1000, driver % 1000 // 10)
        check_versions((built[0], built[1]), knows, torch_version())
        card = self._pycuda.Device(torch.cuda.current_device())
        self.name, self.driver = card.name(), _dotted(knows)
        self.architecture = architecture() or ''
        self._claim = None if shared else Claim(card.pci_bus_id(), self.name)
        self._context = card.retain_primary_context()
        with self._pushed():
            self._stream = self._pycuda.Stream()
        self._queue = torch.cuda.ExternalStream(self.handle)

    @property
    def handle(self) -> int:
        """The stream's address, as CUDA's own functions want it."""
        return int(self._stream.handle)

    def pinned(self, form: Form) -> Tensor:
        """Host memory that copies to and from the card need not wait for."""
        dtype: torch.dtype = getattr(torch, form.dtype)
        with self._pushed():
            held = self._pycuda.pagelocked_empty(
                math.prod(form.shape) * dtype.itemsize, np.dtype(np.uint8)
            )
        return torch.from_numpy(held).view(dtype).view(form.shape)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Let torch, too, queue on this stream."""
        with self._pushed(), torch.cuda.stream(self._queue):
            yield

    def wait(self) -> None:
        """Until all that was queued is done."""
        with self._pushed():
            self._stream.synchronize()

    def close(self) -> None:
        """Give the card back."""
        self.wait()
        self._context.detach()
        if self._claim is not None:
            self._claim.close()

    @contextlib.contextmanager
    def _pushed(self) -> Iterator[None]:
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()


@functools.cache
def present_card() -> Card:
    """The card of this process, taken once and kept until it ends."""
    return Card()


def open_pycuda() -> Any:
    """Its driver module, started.

    Raises:
        EngineError: it is not installed, or finds no driver.

    """
    with contextlib.suppress(OSError):
        # A pycuda that was linked where there was no driver looks for its symbols in the process.
        ctypes.CDLL('libcuda.so.1', mode=ctypes.RTLD_GLOBAL)
    try:
        driver = importlib.import_module('pycuda.driver')
    except ImportError as error:
        raise EngineError(
            f'pycuda cannot be opened ({error}); `pip install pycuda`, which needs a C++ compiler '
            'and the headers of the CUDA that torch was built for'
        ) from error
    try:
        driver.init()
    except Exception as error:  # pycuda's own errors share no base with others
        raise EngineError(
            f'pycuda finds no driver ({error}); install the NVIDIA driver or update it'
        ) from error
    return driver


def check_versions(built: Version, driver: Version, torch_built: Version) -> None:
    """EngineError unless pycuda, driver and torch speak of one CUDA.

    Args:
        built: CUDA that pycuda was built against.
        driver: newest CUDA that the driver knows.
        torch_built: CUDA that torch was built for.

    """
    if driver < max(built, torch_built):
        raise EngineError(
            f'the NVIDIA driver knows CUDA up to {_dotted(driver)}, torch wants '
            f'{_dotted(torch_built)} and pycuda {_dotted(built)}; update the driver'
        )
    if built[0] != torch_built[0]:
        raise EngineError(
            f'pycuda was built against CUDA {_dotted(built)}, torch for {_dotted(torch_built)}; '
            f'build pycuda again with the nvcc of CUDA {torch_built[0]} first on the PATH: '
            '`pip install --force-reinstall --no-cache-dir pycuda`'
        )


def torch_version() -> Version:
    """CUDA that torch was built for."""
    major, minor = (torch.version.cuda or '0.0').split('.')[:2]
    return int(major), int(minor)


def architecture() -> str | None:
    """Of the present card, such as sm_89; None where torch sees none."""
    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability()
    return f'sm_{major}{minor}'


def _dotted(version: Version) -> str:
    return f'{version[0]}.{version[1]}'
