# SPDX-License-Identifier: Apache-2.0
"""Prompts' keys and values on disk, by revision and prompt, so that a tower is streamed once."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from cosmos_flywheel.core.lineage import config_hash
from cosmos_flywheel.engines.cosmos.checkpoint import Checkpoint
from cosmos_flywheel.engines.cosmos.prefill import Text, prefill


def prompt_text(
    folder: Path,
    checkpoint: Checkpoint,
    ids: torch.Tensor,
    device: str = 'cpu',
    dtype: torch.dtype = torch.bfloat16,
) -> Text:
    """A prompt's text from the shelf, or computed and put there, whole or not at all.

    A file that cannot be read is made anew.
    """
    about = {'revision': checkpoint.revision, 'ids': ids.tolist(), 'dtype': str(dtype)}
    path = folder / f'{config_hash(about)}.safetensors'
    layers = checkpoint.dims.layers
    if path.is_file():
        try:
            with safe_open(path, framework='pt', device=device) as file:
                keys = tuple(file.get_tensor(f'key.{i}') for i in range(layers))
                values = tuple(file.get_tensor(f'value.{i}') for i in range(layers))
            return Text(keys, values, len(ids))
        except SafetensorError:
            path.unlink()
    text = prefill(checkpoint.transformer(device, dtype), checkpoint.dims, ids.to(device))
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f'key.{i}': k.contiguous() for i, k in enumerate(text.keys)}
    tensors |= {f'value.{i}': v.contiguous() for i, v in enumerate(text.values)}
    partial = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        save_file(tensors, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return text
