# SPDX-License-Identifier: Apache-2.0
"""The one door to TensorRT, the data-centre library or the one for RTX cards, whichever is there.

Both answer with None or False and a line of their log where others raise. Here every such answer
becomes an EngineError that holds the line and says what to do.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.settings import nearest

LIBRARIES: Mapping[str, tuple[str, ...]] = {
    'tensorrt': ('tensorrt',),
    'tensorrt_rtx': ('tensorrt_rtx', 'tensorrt_rtx_bindings'),
}
"""By library, the modules that may hold it; what is called tensorrt-rtx on the package index is a
shell without one, its bindings are a package of their own."""
PACKAGES = {
    'tensorrt': 'pip install tensorrt',
    'tensorrt_rtx': 'pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings',
}
REBUILD = 'build it again with `flywheel engine build`'
REMEDIES = (
    ('driver version is insufficient', 'it needs an NVIDIA GPU and a newer driver: update it'),
    ('cannot run on this gpu', 'take the other library (--library), or the cuda back end'),
    ('cannot compile for target', 'take --precision fp32, or a newer --architecture'),
    ('out of memory', 'close what else uses the GPU, or take fewer layers an engine (--group)'),
    ('outofmemory', 'close what else uses the GPU, or take fewer layers an engine (--group)'),
    ('serialization', f'the file is cut off, or of another version or machine: {REBUILD}'),
    ('compute capability', f'it is of another card: {REBUILD}'),
)
"""What the library's words mean for the user; the first that fits."""
LINE_LENGTH = 300
TYPES = {
    'FLOAT': 'float32',
    'BF16': 'bfloat16',
    'HALF': 'float16',
    'BOOL': 'bool',
    'INT32': 'int32',
    'INT64': 'int64',
}
"""The library's words for types → torch's."""


class Door:
    """One library, opened."""

    def __init__(self, library: str, api: Any) -> None:
        """Give a module that speaks TensorRT's Python API; `open` finds one."""
        self.library, self.api = library, api
        self.version = str(api.__version__)
        self._errors: list[str] = []
        self.log = _log_to(api, self._errors)
        """What every object of the library wants first."""

    @classmethod
    def open(cls, library: str | None = None) -> Door:
        """Open the named library, or the first that is there.

        Raises:
            EngineError: there is none of that name, or it is not installed.

        """
        if library is not None and library not in LIBRARIES:
            raise EngineError(f'there is no library {library}; {nearest(library, LIBRARIES)}')
        reasons = []
        for name in LIBRARIES if library is None else (library,):
            for module in LIBRARIES[name]:
                try:
                    return cls(name, importlib.import_module(module))
                except (ImportError, OSError, AttributeError) as error:
                    reasons.append(f'{module}: {error}')
        wanted = PACKAGES[library or 'tensorrt_rtx']
        raise EngineError(f'TensorRT cannot be opened ({"; ".join(reasons)}); try `{wanted}`')

    @property
    def architectures(self) -> tuple[str, ...]:
        """What it can build for without having it; none where only the present card will do."""
        known = getattr(self.api, 'ComputeCapability', None)
        names = known.__members__ if known is not None else ()
        return tuple(f'sm_{n[2:]}' for n in names if n.startswith('SM'))

    def ask(self, what: str, call: Callable[..., Any], *arguments: Any) -> Any:
        """What a call of the library returns.

        Args:
            what: the call is for, as `build step_0`.
            call: of the library.
            arguments: its own.

        Raises:
            EngineError: the answer was None or False, or an exception.

        """
        self._errors.clear()
        try:
            answer = call(*arguments)
        except (RuntimeError, TypeError, ValueError, MemoryError) as error:
            self._errors.append(str(error) or type(error).__name__)
            answer = None
        if answer is None or answer is False:
            raise self.refusal(what)
        return answer

    def refusal(self, what: str) -> EngineError:
        """The error for a call that was answered with nothing: what the log said meanwhile."""
        said = next((line for line in self._errors if _remedy(line)), '; '.join(self._errors[:1]))
        remedy = _remedy(said) or 'look at the line above, and at docs/engines.md'
        line = ' '.join(said.split())[:LINE_LENGTH] or 'no reason given'
        return EngineError(f'{self.library} {self.version} could not {what} ({line}); {remedy}')

    def load(self, name: str, engine: bytes) -> Any:
        """An engine on the present card; EngineError if it is of another, or cut off."""
        runtime = self.ask('start its runtime', self.api.Runtime, self.log)
        return self.ask(f'load {name}', runtime.deserialize_cuda_engine, engine)


def _remedy(line: str) -> str:
    low = line.lower()
    return next((remedy for words, remedy in REMEDIES if words in low), '')


def _log_to(api: Any, errors: list[str]) -> Any:
    """A logger of that library which keeps errors; its class can only be made here."""

    class Log(api.ILogger):
        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= api.ILogger.ERROR:
                errors.append(str(message))

    return Log()
