# SPDX-License-Identifier: Apache-2.0
"""What a model is told of its task, read once on the device that it runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cosmos_flywheel.engines.cosmos.caption import action_caption, token_ids
from cosmos_flywheel.engines.cosmos.checkpoint import Checkpoint
from cosmos_flywheel.engines.cosmos.memory import enough_memory
from cosmos_flywheel.engines.cosmos.model import CosmosModel
from cosmos_flywheel.engines.cosmos.prefill import Text
from cosmos_flywheel.engines.cosmos.sums import cache_folder
from cosmos_flywheel.engines.cosmos.text_shelf import prompt_text


def _captions(model: CosmosModel) -> list[str]:
    settings = model.settings
    caption = action_caption(
        model.task,
        model.view.point,
        1 + settings.chunk,
        model.clock_hz,
        model.view.canvas.size,
    )
    return [caption] if settings.guidance == 1 else [caption, '']


def texts_of(model: CosmosModel) -> tuple[Text, ...]:
    """Of a model's task, and with guidance above 1 of the empty prompt."""
    checkpoint = Checkpoint(model.checkpoint, model.commit)
    device, dtype = device_of(model)
    with enough_memory('reading the caption', model), torch.no_grad():
        return tuple(_text(model, checkpoint, words, device, dtype) for words in _captions(model))


def device_of(model: CosmosModel) -> tuple[str, torch.dtype]:
    """Device and type of all tensors but the quantised."""
    wide = model.settings.precision == 'fp32'
    return (
        'cuda' if torch.cuda.is_available() else 'cpu',
        torch.float32 if wide else torch.bfloat16,
    )


def _text(model: CosmosModel, checkpoint: Checkpoint, words: str, device: str, dtype: Any) -> Text:
    ids = torch.tensor(token_ids(model.checkpoint, words), dtype=torch.long)
    shelf: Path = cache_folder() / 'text'
    text = prompt_text(shelf, checkpoint, ids, device, dtype)
    bucket = model.settings.bucket
    return text.padded(bucket) if bucket else text
