# SPDX-License-Identifier: Apache-2.0
"""A graph on disk → a network of TensorRT, looked over, and the engine that is built from it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.settings import nearest
from cosmos_flywheel.engines.tensorrt.door import TYPES, Door
from cosmos_flywheel.engines.tensorrt.form import Form, Forms

Tell = Callable[[str, float], None]
"""Told what is done, and the share of it that is done, 0 … 1."""


class Network:
    """What the parser made of a graph.

    Types are those of the graph: nothing is computed in less than it was exported in.

    Raises:
        EngineError: the graph cannot be read, or holds what TensorRT does not know.

    """

    def __init__(self, door: Door, path: Path) -> None:
        self._door, self._path, self.name = door, path, path.stem
        known = getattr(door.api, 'NetworkDefinitionCreationFlag', None)
        typed = getattr(known, 'STRONGLY_TYPED', None)
        flags = 0 if typed is None else 1 << int(typed)
        self._builder = door.ask('start its builder', door.api.Builder, door.log)
        self._network = door.ask('begin a network', self._builder.create_network, flags)
        # The parser holds the weights that the network reads.
        self._parser = door.ask('start its parser', door.api.OnnxParser, self._network, door.log)
        door.ask(f'parse {path}', self._parser.parse_from_file, str(path))

    @property
    def layers(self) -> dict[str, int]:
        """How many there are of each kind."""
        return dict(Counter(layer.type.name for layer in self._layers()))

    @property
    def types(self) -> dict[str, int]:
        """How many layers give each type."""
        return dict(Counter(layer.get_output(0).dtype.name for layer in self._layers()))

    @property
    def inputs(self) -> dict[str, Form]:
        """By name."""
        return self._forms(self._network.get_input, self._network.num_inputs)

    @property
    def outputs(self) -> dict[str, Form]:
        """By name."""
        return self._forms(self._network.get_output, self._network.num_outputs)

    def check(self, inputs: Forms, outputs: Forms) -> None:
        """EngineError unless these, and no others, go in and out."""
        for side, wanted, found in (
            ('input', inputs, self.inputs),
            ('output', outputs, self.outputs),
        ):
            for name in {**wanted, **found}:
                if wanted.get(name) != found.get(name):
                    raise EngineError(
                        f'{self._path}: {side} {name} is {found.get(name) or "missing"}, '
                        f'not {wanted.get(name) or "wanted"}; export the units again'
                    )

    def build(self, architecture: str, tell: Tell | None = None) -> Any:
        """The engine's bytes, for a card that need not be here.

        Args:
            architecture: such as sm_89.
            tell: told how far it is.

        Raises:
            EngineError: TensorRT cannot build it, or not for that card.
            KeyboardInterrupt: Ctrl-C came meanwhile; building has stopped.

        """
        door = self._door
        config = door.ask('begin a configuration', self._builder.create_builder_config)
        known = getattr(door.api, 'ComputeCapability', None)
        if known is not None:
            config.num_compute_capabilities = 1
            target = known.__members__[architecture.replace('sm_', 'SM')]
            door.ask(f'build for {architecture}', config.set_compute_capability, target, 0)
        with _stoppable() as stop:
            if hasattr(door.api, 'IProgressMonitor'):
                config.progress_monitor = _monitor(door.api, self.name, stop, tell)
            try:
                return door.ask(
                    f'build {self.name} for {architecture}',
                    self._builder.build_serialized_network,
                    self._network,
                    config,
                )
            except EngineError:
                if stop.is_set():
                    raise KeyboardInterrupt from None
                raise

    def _layers(self) -> Iterator[Any]:
        return (self._network.get_layer(i) for i in range(self._network.num_layers))

    def _forms(self, get: Callable[[int], Any], count: int) -> dict[str, Form]:
        tensors = [get(i) for i in range(count)]
        return {
            t.name: Form(tuple(t.shape), TYPES.get(t.dtype.name, t.dtype.name)) for t in tensors
        }


def check_architecture(door: Door, architecture: str | None, present: str | None) -> str:
    """The architecture to build for: the one that is named, or the present card's.

    Raises:
        EngineError: the library does not know it, or it is not the present card's where only that
            will do.

    """
    wanted = architecture or present
    if wanted is None:
        known = ', '.join(door.architectures) or 'none without the card'
        raise EngineError(
            f'no NVIDIA GPU is here; say with --architecture what to build for ({known})'
        )
    if door.architectures:
        if wanted not in door.architectures:
            raise EngineError(
                f'{door.library} {door.version} builds nothing for {wanted}; '
                f'{nearest(wanted, door.architectures)}; for others take --library tensorrt'
            )
    elif wanted != present:
        raise EngineError(
            f'{door.library} builds only for the card that is here ({present or "none"}), not for '
            f'{wanted}; build there, or take --library tensorrt_rtx'
        )
    return wanted


@contextlib.contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Ctrl-C sets an event: an exception must not fly through a library that knows none."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
    if stop.is_set():
        raise KeyboardInterrupt


def _monitor(api: Any, name: str, stop: threading.Event, tell: Tell | None) -> Any:
    """Tells how far a build is, and ends it once the event is set."""

    class Monitor(api.IProgressMonitor):
        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)
            self.top: tuple[str, int] | None = None

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            if parent is None:
                self.top = (phase, steps)

        def phase_finish(self, phase: str) -> None:
            return

        def step_complete(self, phase: str, step: int) -> bool:
            if tell is not None and self.top is not None and phase == self.top[0]:
                tell(name, (step + 1) / max(1, self.top[1]))
            return not stop.is_set()

    return Monitor()
