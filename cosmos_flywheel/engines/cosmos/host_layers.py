# SPDX-License-Identifier: Apache-2.0
"""Layers of a tower that the card has no room for: kept by the host, lent one ahead of its use.

Two places on the card take turns: while one layer computes, the next one is copied into the other.
The numbers are those of layers that stay on the card.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import torch
from torch import Tensor

from cosmos_flywheel.engines.cosmos.generation import Layer


class HostLayers(Sequence[Layer]):
    """A sequence that gives each layer on the device when it is walked through.

    Args:
        layers: on the device; each is let go of as soon as the host has it.

    """

    def __init__(self, layers: Iterable[Layer]) -> None:
        self._host: list[Layer] = []
        self._places: tuple[Layer, Layer] = ({}, {})
        for layer in layers:
            if not self._host:
                self._places = _empty(layer), _empty(layer)
            self._host.append({name: _held(tensor) for name, tensor in layer.items()})
        self._is_cuda = bool(self._host) and self._places[0]['qkv'].is_cuda
        self._side: Any = torch.cuda.Stream() if self._is_cuda else None

    def __len__(self) -> int:
        return len(self._host)

    @overload
    def __getitem__(self, index: int) -> Layer: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Layer]: ...

    def __getitem__(self, index: int | slice) -> Layer | Sequence[Layer]:
        """As the host has it."""
        return self._host[index]

    def __iter__(self) -> Iterator[Layer]:
        """Each on the device, until the next but one is asked for."""
        if not self._is_cuda:
            for index in range(len(self)):
                self._copy(index)
                yield self._places[index % 2]
            return
        main = torch.cuda.current_stream()
        free = [main.record_event(), main.record_event()]
        arrived = self._lend(0, free)
        for index in range(len(self)):
            ready = arrived
            if index + 1 < len(self):
                arrived = self._lend(index + 1, free)
            main.wait_event(ready)
            yield self._places[index % 2]
            free[index % 2] = main.record_event()

    def _lend(self, index: int, free: list[Any]) -> Any:
        """Copy a layer once its place is free; the event of its arrival."""
        with torch.cuda.stream(self._side):
            self._side.wait_event(free[index % 2])
            self._copy(index)
            return self._side.record_event()

    def _copy(self, index: int) -> None:
        place = self._places[index % 2]
        for name, tensor in self._host[index].items():
            place[name].copy_(tensor, non_blocking=True)


def _empty(layer: Layer) -> Layer:
    return {name: torch.empty_like(tensor) for name, tensor in layer.items()}


def _held(tensor: Tensor) -> Tensor:
    held = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
    return held.copy_(tensor)
