# SPDX-License-Identifier: Apache-2.0
"""What a back end foretells ↔ what plain steps in float32 foretell of the same noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.types import Picture, Vector
from cosmos_flywheel.engines.cosmos.model import CosmosModel

if TYPE_CHECKING:
    from torch import Tensor

LIMITS: Mapping[str, float] = {'fp32': 1e-3, 'bf16': 0.05, 'fp8': 0.15}
"""Most relative error of the latents by precision: a few times that of one step, which is 0.008 in
bf16 and 0.066 in float8 (bench/results/nano_256.txt)."""
REFERENCES = ('fp32', 'bf16')
"""Precisions of the reference; the second where the first does not fit the card."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far apart two back ends are."""

    error: float
    """Norm of the difference over norm of the reference, all chunks together."""
    reference: str
    """Precision of the plain steps."""
    limit: float
    chunks: int

    @property
    def holds(self) -> bool:
        """Whether the error is within the limit; NaN is not."""
        return self.error <= self.limit


def parity_of(model: CosmosModel, asked: Sequence[tuple[Picture, Vector]]) -> Parity:
    """The model as its settings ask it, beside plain steps; all runtimes are closed by it.

    Args:
        model: what is asked, and how.
        asked: chunks, each a canvas (H, W, 3) and rows (chunk, width) in model space.

    Raises:
        EngineError: neither reference can be run here.

    """
    import torch

    own = _latents(model, asked)
    why = ''
    for precision in REFERENCES:
        try:
            plain = _latents(model.with_settings(precision=precision, back_end='eager'), asked)
        except EngineError as error:
            why = str(error)
            continue
        apart = float(torch.linalg.vector_norm(own - plain) / torch.linalg.vector_norm(plain))
        return Parity(apart, precision, LIMITS[model.settings.precision], len(asked))
    raise EngineError(why)


def _latents(model: CosmosModel, asked: Sequence[tuple[Picture, Vector]]) -> Tensor:
    """(chunks, 48, T, h, w) in float32 on the host, all but the given first latent frame."""
    import torch

    from cosmos_flywheel.engines.cosmos.opened import close_all, runtime_of

    try:
        runtime = runtime_of(model)
        found = [
            runtime.foretell(picture, rows, model.settings.seed)[:, :, 1:].float().cpu().clone()
            for picture, rows in asked
        ]
    finally:
        close_all()
    return torch.cat(found)
