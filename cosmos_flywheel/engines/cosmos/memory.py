# SPDX-License-Identifier: Apache-2.0
"""What torch says when a card's memory is used up, in words with a remedy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.model import CosmosModel


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a card's memory is used up, as torch's allocator or a library of CUDA says it."""
    words = str(error)
    said = 'out of memory' in words or 'STATUS_ALLOC_FAILED' in words
    return isinstance(error, torch.OutOfMemoryError) or (isinstance(error, RuntimeError) and said)


@contextmanager
def enough_memory(what: str, model: CosmosModel) -> Iterator[None]:
    """Turn what torch says when memory is used up into words with a remedy."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        free = ''
        if torch.cuda.is_available():
            left, whole = torch.cuda.mem_get_info()
            free = f' ({left / 1e9:.1f} of {whole / 1e9:.1f} GB were free)'
        limit = model.settings.memory_gb
        more = f', a memory_gb above {limit:g}' if limit and math.isfinite(limit) else ''
        raise EngineError(
            f'{model.settings.level}: the GPU has not enough memory while {what}{free}; take '
            f'precision fp8, tier 256{more}, or end what else uses the card'
        ) from error
