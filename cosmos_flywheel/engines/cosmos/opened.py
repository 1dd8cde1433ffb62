# SPDX-License-Identifier: Apache-2.0
"""The runtimes of this process, made on the first call.

They are shared by all sessions that ask alike, since a robot's feed begins anew more often than a
tower of 14 GB can be loaded.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.lineage import config_hash
from cosmos_flywheel.engines.cosmos.causal.runtime import StreamRuntime
from cosmos_flywheel.engines.cosmos.causal.settings import StreamSettings
from cosmos_flywheel.engines.cosmos.checkpoint import Checkpoint
from cosmos_flywheel.engines.cosmos.cuda import limit_memory, require_cuda
from cosmos_flywheel.engines.cosmos.generation import Generation
from cosmos_flywheel.engines.cosmos.memory import enough_memory
from cosmos_flywheel.engines.cosmos.model import CosmosModel
from cosmos_flywheel.engines.cosmos.runtime import Runtime, Weights
from cosmos_flywheel.engines.cosmos.texts import device_of, texts_of
from cosmos_flywheel.engines.cosmos.vae import Vae

MOST_OPEN = 2
"""Runtimes kept: the two tiers of a ladder."""
_open: OrderedDict[str, Runtime] = OrderedDict()


def runtime_of(model: CosmosModel) -> Runtime:
    """The process' runtime of a model, made on the first call.

    Raises:
        EngineError: torch sees no GPU where one is asked for, the checkpoint is not the one that
            the model names, or something does not fit.

    """
    kept = {'back_end': model.settings.back_end, 'duty': model.settings.duty}
    key = config_hash({**kept, 'model': _plainly(model).sha256})
    if key not in _open:
        while len(_open) >= MOST_OPEN:
            _open.popitem(last=False)
        _open[key] = _make(model)
    _open.move_to_end(key)
    return _open[key]


def _plainly(model: CosmosModel) -> CosmosModel:
    """The same but for what is the session's affair."""
    settings = model.settings
    return model.with_settings(seed=0, seeds=1, stride=settings.chunk, residual='frames')


def close_all() -> None:
    """Give back what all runtimes hold."""
    _open.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _make(model: CosmosModel) -> Runtime:
    settings = model.settings
    uses_graphs = settings.back_end in ('cuda', 'tensorrt') or (
        settings.back_end == 'auto' and torch.cuda.is_available()
    )
    if uses_graphs:
        require_cuda()
    if settings.memory_gb and torch.cuda.is_available():
        limit_memory(settings.memory_gb)
    if not model.checkpoint.is_dir():
        raise EngineError(
            f'{model.checkpoint}: the checkpoint {model.commit} is not there; link it with '
            f'`ln -sfn CHECKPOINT {model.checkpoint}`, or get it with `flywheel engine pull`'
        )
    model.verify()
    with enough_memory('loading the tower', model), torch.no_grad():
        return _kind(model)(model, _load(model), uses_graphs=uses_graphs)


def _kind(model: CosmosModel) -> type[Runtime]:
    return StreamRuntime if isinstance(model.settings, StreamSettings) else Runtime


def _load(model: CosmosModel) -> Weights:
    device, dtype = device_of(model)
    checkpoint = Checkpoint(model.checkpoint, model.commit)
    texts = texts_of(model)
    generation = _generation(model, checkpoint, device, dtype)
    vae = Vae.load(checkpoint.vae(device, dtype), checkpoint.vae_dims)
    return Weights(generation, vae, texts)


def _generation(model: CosmosModel, checkpoint: Checkpoint, device: str, dtype: Any) -> Generation:
    if model.settings.back_end == 'tensorrt':
        from cosmos_flywheel.engines.tensorrt.back_end import engine_tower

        return engine_tower(model)
    return _shared(model) or Generation.load(
        checkpoint.transformer(device, dtype), checkpoint.dims
    )


def _shared(model: CosmosModel) -> Generation | None:
    """The tower of a runtime that is open with the same checkpoint and precision."""
    for other in _open.values():
        of_torch = other.model.settings.back_end != 'tensorrt'
        same = of_torch and other.model.files == model.files
        if same and other.model.settings.precision == model.settings.precision:
            return other.generation
    return None
