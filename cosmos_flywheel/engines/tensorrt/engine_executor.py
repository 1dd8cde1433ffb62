# SPDX-License-Identifier: Apache-2.0
"""Engines of TensorRT on the present card: pycuda owns stream and pinned memory, torch the rest.

Engines read torch's tensors where they lie. Their outputs are made once, two sets a unit, so that
what one run left may be what the next one reads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.tensorrt.door import REBUILD, TYPES, Door
from cosmos_flywheel.engines.tensorrt.executor import check_inputs
from cosmos_flywheel.engines.tensorrt.form import Form, Forms
from cosmos_flywheel.engines.tensorrt.shelf import Entry
from cosmos_flywheel.engines.tensorrt.units import made

SETS = 2
SMALLER = 'close what else uses the GPU, or take fewer layers an engine (--group)'


class Place(Protocol):
    """What of a `Card` is needed here."""

    device: str
    architecture: str

    @property
    def handle(self) -> int:
        """The stream's address."""

    def pinned(self, form: Form) -> Tensor:
        """Host memory."""

    def working(self) -> contextlib.AbstractContextManager[None]:
        """Let torch queue on the stream."""

    def wait(self) -> None:
        """Until the stream is empty."""

    def close(self) -> None:
        """Give the card back."""


@dataclass(slots=True)
class Loaded:
    """One engine on the card."""

    engine: Any
    context: Any
    inputs: Forms
    sets: list[dict[str, Tensor]]
    turn: int = 0
    told: dict[str, int] = field(default_factory=dict)
    """Addresses that the context knows."""


class EngineExecutor:
    """The engines of a shelf, by unit."""

    def __init__(self, door: Door, card: Place, entries: Sequence[Entry]) -> None:
        """Look the engines over; nothing is loaded yet.

        Raises:
            EngineError: one is broken, or was built for another card or by another version.

        """
        self.device = card.device
        self._door, self._card = door, card
        self._entries = {entry.key.unit: entry for entry in entries}
        self._loaded: dict[str, Loaded] = {}
        for entry in entries:
            faults = entry.key.misfits(door.library, door.version, card.architecture)
            if faults:
                raise EngineError(f'{entry.path}: {"; ".join(faults)}')
            entry.verify()

    def load(self, unit: str) -> None:
        """Bring an engine and its outputs onto the card."""
        if unit not in self._entries:
            raise EngineError(f'there is no engine of {unit}; {REBUILD}')
        entry, ask = self._entries[unit], self._door.ask
        with self._card.working():
            engine = self._door.load(str(entry.path), entry.path.read_bytes())
            _check_engine(engine, entry)
            context = ask(f'make room for {unit}', engine.create_execution_context)
            try:
                sets = [
                    {n: made(f, self.device) for n, f in entry.key.outputs.items()}
                    for _ in range(SETS)
                ]
            except torch.OutOfMemoryError as error:
                raise EngineError(
                    f'the GPU has no memory left for what {unit} gives; {SMALLER}'
                ) from error
        self._loaded[unit] = Loaded(engine, context, entry.key.inputs, sets)

    def drop(self, unit: str) -> None:
        """Free an engine and its outputs, once they are no longer worked on."""
        self.wait()
        self._loaded.pop(unit, None)

    def run(self, unit: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Queue an engine; must be called within `working`."""
        if unit not in self._loaded:
            self.load(unit)
        held = self._loaded[unit]
        check_inputs(unit, held.inputs, inputs)
        outputs = held.sets[held.turn]
        held.turn = (held.turn + 1) % SETS
        for name, tensor in {**{n: inputs[n] for n in held.inputs}, **outputs}.items():
            self._tell(unit, held, name, tensor)
        self._door.ask(f'run {unit}', held.context.execute_async_v3, self._card.handle)
        return outputs

    def host(self, form: Form) -> Tensor:
        """Pinned memory of pycuda's."""
        return self._card.pinned(form)

    def working(self) -> contextlib.AbstractContextManager[None]:
        """Within it torch queues on pycuda's stream, as the engines do."""
        return self._card.working()

    def wait(self) -> None:
        """Until the stream is empty."""
        self._card.wait()

    def close(self) -> None:
        """Free all engines and give the card back."""
        self.wait()
        self._loaded.clear()
        self._card.close()

    def _tell(self, unit: str, held: Loaded, name: str, tensor: Tensor) -> None:
        """Say where a tensor lies, unless the context knows."""
        if not tensor.is_contiguous():
            raise EngineError(f'{unit}: {name} is not contiguous in memory; copy it first')
        address = tensor.data_ptr()
        if held.told.get(name) != address:
            self._door.ask(
                f'take {name} of {unit}', held.context.set_tensor_address, name, address
            )
            held.told[name] = address


def _check_engine(engine: Any, entry: Entry) -> None:
    """EngineError unless the engine itself says what its document says."""
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    found = {
        name: Form(
            tuple(engine.get_tensor_shape(name)),
            TYPES.get(engine.get_tensor_dtype(name).name, 'another type'),
        )
        for name in names
    }
    wanted = {**entry.key.inputs, **entry.key.outputs}
    if found != wanted:
        wrong = sorted(n for n in {*found, *wanted} if found.get(n) != wanted.get(n))
        raise EngineError(f'{entry.path}: differs from its document in {wrong[0]}; {REBUILD}')
