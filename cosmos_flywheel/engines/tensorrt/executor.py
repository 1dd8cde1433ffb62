# SPDX-License-Identifier: Apache-2.0
"""What a runtime asks of whoever computes units: TensorRT on a GPU, or onnxruntime on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from torch import Tensor

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.tensorrt.form import Form, Forms
from cosmos_flywheel.engines.tensorrt.units import form_of


class Executor(Protocol):
    """Units by name, loaded one by one."""

    device: str
    """Where inputs must lie, as torch calls it."""

    def load(self, unit: str) -> None:
        """Make a unit ready.

        Raises:
            EngineError: it is missing or broken, of another machine, or too large.

        """

    def drop(self, unit: str) -> None:
        """Give back what a unit holds."""

    def run(self, unit: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name, queued; each unit's stay as they are until it is run twice more.

        Raises:
            EngineError: an input is missing or of another form, or the unit fails.

        """

    def host(self, form: Form) -> Tensor:
        """Host memory that copies to and from the device are fastest with."""

    def working(self) -> AbstractContextManager[None]:
        """Within it, torch queues in the same order as `run`."""

    def wait(self) -> None:
        """Until all that was queued is done."""

    def close(self) -> None:
        """Give everything back."""


def check_inputs(unit: str, forms: Forms, inputs: Mapping[str, Tensor]) -> None:
    """EngineError unless the inputs are exactly those that a unit was exported with."""
    for name, form in forms.items():
        found = form_of(inputs[name]) if name in inputs else None
        if found != form:
            raise EngineError(
                f'{unit}: input {name} is {found or "missing"}, the unit wants {form}; build '
                'engines for these sizes with `flywheel engine build`'
            )
