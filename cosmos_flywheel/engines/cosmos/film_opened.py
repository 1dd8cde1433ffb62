# SPDX-License-Identifier: Apache-2.0
"""A checkpoint → the process' one maker of films, loaded on the first call: that takes minutes."""

from __future__ import annotations

from pathlib import Path

import torch

from cosmos_flywheel.engines.cosmos.caption import token_ids
from cosmos_flywheel.engines.cosmos.checkpoint import Checkpoint
from cosmos_flywheel.engines.cosmos.film_maker import FilmMaker, FilmParts, no_room
from cosmos_flywheel.engines.cosmos.memory import is_out_of_memory
from cosmos_flywheel.engines.cosmos.prefill import Text
from cosmos_flywheel.engines.cosmos.sums import cache_folder
from cosmos_flywheel.engines.cosmos.text_shelf import prompt_text
from cosmos_flywheel.engines.cosmos.vae import Vae

_open: dict[tuple[Path, str, str, str], FilmMaker] = {}


def maker_of(folder: Path, commit: str, precision: str, device: str) -> FilmMaker:
    """The process' maker; one of another checkpoint is closed before, for there is room for one.

    Args:
        folder: the checkpoint's.
        commit: that it was downloaded at.
        precision: `bf16`, `fp32`, or `fp8`, which is made here.
        device: `cuda` or `cpu`.

    Raises:
        NoRoomError: the card has no room for what every film needs.
        EngineError: a file is missing, broken or of another model.

    """
    key = folder.resolve(), commit, precision, device
    if key not in _open:
        close()
        try:
            _open[key] = _opened(*key)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise no_room('take a smaller model') from error
    return _open[key]


def close() -> None:
    """Give back what the maker holds."""
    _open.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _opened(folder: Path, commit: str, precision: str, device: str) -> FilmMaker:
    dtype = torch.float32 if precision == 'fp32' else torch.bfloat16
    checkpoint = Checkpoint(folder, commit)
    tower = checkpoint.transformer(device, dtype)

    def read(words: str, is_film: bool) -> Text:
        ids = torch.tensor(token_ids(folder, words, is_film=is_film), dtype=torch.long)
        with torch.no_grad():
            return prompt_text(cache_folder() / 'text', checkpoint, ids, device, dtype)

    vae = Vae.load(checkpoint.vae(device, dtype), checkpoint.vae_dims)
    parts = FilmParts(checkpoint.dims, tower, vae, read)
    return FilmMaker(parts, float8=precision == 'fp8')
