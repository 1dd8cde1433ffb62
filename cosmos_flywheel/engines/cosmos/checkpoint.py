# SPDX-License-Identifier: Apache-2.0
"""A folder in the hub's layout → tensors by name, read when they are asked for and not before.

Layout: `transformer/` and `vae/`, each with `config.json` and safetensors files, one alone or
shards that an index lists. Files are mapped into memory, so that a tower larger than memory can be
streamed layer by layer. Nothing is downloaded here, and nothing but safetensors is ever opened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.engines.cosmos.causal.manifest import Manifest
from cosmos_flywheel.engines.cosmos.dims import Dims, Shapes, VaeDims
from cosmos_flywheel.engines.cosmos.errors import CheckpointError
from cosmos_flywheel.engines.cosmos.weights import RandomWeights

STEM = 'diffusion_pytorch_model'
INDEX = f'{STEM}.safetensors.index.json'
UNSAFE = ('*.bin', '*.pt', '*.pth', '*.ckpt', '*.pkl')
TYPES = frozenset({'BF16', 'F16', 'F32'})
"""Of stored tensors; FP8 branches need scales that this reader does not know."""
POINTER = b'version https://git-lfs'
REVISION = re.compile(r'[0-9a-f]{40}')


class ShardedWeights:
    """The tensors of one folder of a checkpoint, checked when read.

    Opening compares names, shapes and types with what the config asks for, from the files' headers
    alone; each tensor is looked through for NaN when it is read.
    """

    def __init__(
        self, folder: Path, shapes: Shapes, device: str = 'cpu', dtype: Any = torch.bfloat16
    ) -> None:
        """Open all shards.

        Raises:
            EngineError: a shard or tensor is missing or broken, or of another shape or type.

        """
        self.folder, self.device, self.dtype = folder, device, dtype
        self._where = _shards(folder)
        self._files = {name: _open(folder / name, device) for name in set(self._where.values())}
        for name, shape in shapes.items():
            self._check(name, shape)

    def get(self, name: str) -> Tensor:
        """Read one tensor; EngineError if it holds NaN or infinity."""
        tensor = self._files[self._where[name]].get_tensor(name)
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f'{self.folder / self._where[name]}: {name} holds NaN or infinity; '
                'download the checkpoint again'
            )
        return tensor.to(self.dtype)

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        if name not in self._where:
            raise CheckpointError(f'{self.folder}: has no tensor {name}; is it another model?')
        path = self.folder / self._where[name]
        try:
            part = self._files[path.name].get_slice(name)
        except SafetensorError as error:
            raise CheckpointError(f'{path}: lacks {name}, which its index promises') from error
        if tuple(part.get_shape()) != shape:
            raise CheckpointError(
                f'{path}: {name} is {tuple(part.get_shape())}, the config says {shape}'
            )
        if part.get_dtype() not in TYPES:
            raise CheckpointError(
                f'{path}: {name} is {part.get_dtype()}; take the bf16 revision, '
                'this engine makes float8 itself'
            )


class Checkpoint:
    """One revision of one model on disk."""

    def __init__(self, folder: Path, revision: str) -> None:
        """Read the configs.

        Args:
            folder: as downloaded, with `transformer/` and `vae/`.
            revision: the commit it was downloaded at, 40 hex digits; a branch may move.

        Raises:
            EngineError: the revision is no commit, or a config is missing or of another family.

        """
        if not REVISION.fullmatch(revision):
            raise EngineError(
                f'revision {revision!r} is not a commit of 40 hex digits; a branch may move'
            )
        self.folder, self.revision = folder, revision
        text, picture = folder / 'transformer', folder / 'vae'
        config = _json(text / 'config.json')
        self.dims = Dims.read(config, str(text / 'config.json'))
        self.manifest = Manifest.read(config, str(text / 'config.json'))
        """Of a causal checkpoint; None for a base model."""
        self.vae_dims = VaeDims.read(_json(picture / 'config.json'), str(picture / 'config.json'))

    def transformer(self, device: str = 'cpu', dtype: Any = torch.bfloat16) -> ShardedWeights:
        """Open both towers' tensors."""
        return ShardedWeights(self.folder / 'transformer', self.dims.shapes(), device, dtype)

    def vae(self, device: str = 'cpu', dtype: Any = torch.bfloat16) -> ShardedWeights:
        """Open the autoencoder's tensors."""
        return ShardedWeights(self.folder / 'vae', self.vae_dims.shapes(), device, dtype)

    def verify(self, sums: Mapping[str, str]) -> None:
        """Compare files, by path within the folder, with SHA-256; EngineError if one differs."""
        for name, wanted in sums.items():
            path = self.folder / name
            if not path.is_file():
                raise CheckpointError(f'{path}: is missing; download the checkpoint again')
            found = sha256_file(path)
            if found != wanted:
                raise CheckpointError(
                    f'{path}: has SHA-256 {found[:12]}…, not {wanted[:12]}…; download it again'
                )


def write_random(
    folder: Path,
    dims: Dims,
    vae_dims: VaeDims,
    seed: int = 0,
    shards: int = 2,
    manifest: Manifest | None = None,
    device: str = 'cpu',
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a random checkpoint in the same layout, for tests and dry runs.

    Tensors are drawn on the device, and so differ from those of another one; a shard at a time is
    held in memory.
    """
    for name, sizes in (('transformer', dims), ('vae', vae_dims)):
        inner = folder / name
        inner.mkdir(parents=True)
        causal = manifest.config() if manifest and name == 'transformer' else {}
        (inner / 'config.json').write_text(json.dumps({**sizes.config(), **causal}))
        shapes = sizes.shapes()
        weights = RandomWeights(shapes, seed, device, dtype)
        names = sorted(shapes)
        files = [f'{STEM}-{i + 1:05}-of-{shards:05}.safetensors' for i in range(shards)]
        for i, file in enumerate(files):
            save_file({n: weights.get(n).cpu() for n in names[i::shards]}, inner / file)
        table = {n: files[i % shards] for i, n in enumerate(names)}
        (inner / INDEX).write_text(json.dumps({'metadata': {}, 'weight_map': table}))


def _shards(folder: Path) -> dict[str, str]:
    """Which file each tensor is in."""
    if (folder / INDEX).is_file():
        table = _json(folder / INDEX).get('weight_map')
        if not isinstance(table, dict) or any(Path(f).name != f for f in table.values()):
            raise CheckpointError(
                f'{folder / INDEX}: lists no shards; download the checkpoint again'
            )
        return table
    single = folder / f'{STEM}.safetensors'
    if single.is_file():
        return dict.fromkeys(_open(single, 'cpu').keys(), single.name)
    unsafe = sorted(p.name for kind in UNSAFE for p in folder.glob(kind))
    if unsafe:
        raise CheckpointError(
            f'{folder}: has {unsafe[0]} but no safetensors; such files can run code when they are '
            'opened, so take a checkpoint in safetensors'
        )
    raise CheckpointError(f'{folder}: has no {single.name}; download the checkpoint')


def _open(path: Path, device: str) -> Any:
    if not path.is_file():
        raise CheckpointError(
            f'{path}: this shard is missing; the download was cut off, resume it'
        )
    try:
        with path.open('rb') as file:
            is_pointer = file.read(len(POINTER)) == POINTER
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read ({error.strerror})') from error
    if is_pointer:
        raise CheckpointError(
            f'{path}: only points to the file (Git LFS); run `git lfs pull` in its clone, or '
            '`flywheel engine pull`'
        )
    try:
        return safe_open(path, framework='pt', device=device)
    except SafetensorError as error:
        raise CheckpointError(
            f'{path}: is cut off or broken ({error}); download it again'
        ) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text('utf-8'))
    except OSError as error:
        raise CheckpointError(
            f'{path}: cannot be read ({error.strerror}); give the folder of a whole checkpoint'
        ) from error
    except ValueError as error:
        raise CheckpointError(f'{path}: is no JSON; download the checkpoint again') from error
    if not isinstance(found, dict):
        raise CheckpointError(f'{path}: is no JSON object; download the checkpoint again')
    return found
