# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of Cosmos 3 on disk: what is read, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip('torch', reason='engine cosmos needs torch')

from safetensors.torch import load_file, save_file  # noqa: E402

from cosmos_flywheel.core.errors import EngineError  # noqa: E402
from cosmos_flywheel.core.lineage import sha256_file  # noqa: E402
from cosmos_flywheel.engines.cosmos.checkpoint import INDEX, Checkpoint, write_random  # noqa: E402
from cosmos_flywheel.engines.cosmos.dims import Dims, VaeDims  # noqa: E402
from cosmos_flywheel.engines.cosmos.generation import Generation  # noqa: E402
from cosmos_flywheel.engines.cosmos.text_shelf import prompt_text  # noqa: E402

REVISION = 'a' * 40
NANO = Dims(
    layers=2, hidden=32, heads=2, kv_heads=1, head_dim=16, mlp=64, vocabulary=64,
    rope_axes=(4, 2, 2),
)  # fmt: skip
EDGE = replace(NANO, gated=False, text_qk_norm=False, text_k_norm_for_gen=True)
VAE = VaeDims(base=8, decoder_base=8, blocks=1)


@pytest.fixture
def folder(tmp_path) -> Path:
    write_random(tmp_path / 'model', NANO, VAE)
    return tmp_path / 'model'


def shards(folder: Path) -> list[Path]:
    return sorted((folder / 'transformer').glob('*.safetensors'))


def change(folder: Path, name: str, tensor: torch.Tensor) -> None:
    for path in shards(folder):
        tensors = load_file(path)
        if name in tensors:
            path.unlink()
            save_file({**tensors, name: tensor}, path)


@pytest.mark.parametrize('dims', [NANO, EDGE], ids=['nano', 'edge'])
def test_what_is_written_is_read(tmp_path, dims):
    write_random(tmp_path / 'model', dims, VAE)
    checkpoint = Checkpoint(tmp_path / 'model', REVISION)
    assert (checkpoint.dims, checkpoint.vae_dims) == (dims, VAE)
    tower = Generation.load(checkpoint.transformer(dtype=torch.float32), dims)
    assert len(tower.layers) == 2
    assert checkpoint.vae().get('quant_conv.weight').dtype == torch.bfloat16


def test_a_prompt_is_computed_once_and_a_broken_file_made_anew(folder, tmp_path):
    checkpoint, ids = Checkpoint(folder, REVISION), torch.arange(9)
    first = prompt_text(tmp_path / 'shelf', checkpoint, ids)
    (kept,) = (tmp_path / 'shelf').iterdir()
    for path in shards(folder):
        path.rename(path.with_suffix('.away'))
    again = prompt_text(tmp_path / 'shelf', checkpoint, ids)
    assert torch.equal(first.keys[1], again.keys[1])
    for path in folder.rglob('*.away'):
        path.rename(path.with_suffix('.safetensors'))
    kept.write_bytes(b'cut off')
    assert torch.equal(prompt_text(tmp_path / 'shelf', checkpoint, ids).values[1], first.values[1])
    assert [p.name for p in (tmp_path / 'shelf').iterdir()] == [kept.name]


def test_a_branch_is_no_revision(folder):
    with pytest.raises(EngineError, match='40 hex'):
        Checkpoint(folder, 'main')


def test_another_family_is_refused(folder):
    path = folder / 'transformer' / 'config.json'
    path.write_text(json.dumps({**NANO.config(), '_class_name': 'WanTransformer3DModel'}))
    with pytest.raises(EngineError, match='WanTransformer3DModel'):
        Checkpoint(folder, REVISION)


def test_a_missing_or_cut_off_shard_is_named(folder):
    checkpoint, path = Checkpoint(folder, REVISION), shards(folder)[1]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EngineError, match=r'00002-of-00002.*broken'):
        checkpoint.transformer()
    path.unlink()
    with pytest.raises(EngineError, match=r'00002-of-00002.*missing'):
        checkpoint.transformer()


def test_a_wrong_type_or_shape_is_named(folder):
    checkpoint = Checkpoint(folder, REVISION)
    change(folder, 'proj_in.bias', torch.zeros(32, dtype=torch.float8_e4m3fn))
    with pytest.raises(EngineError, match=r'proj_in.bias is F8_E4M3'):
        checkpoint.transformer()
    change(folder, 'proj_in.bias', torch.zeros(33))
    with pytest.raises(EngineError, match=r'proj_in.bias is \(33,\)'):
        checkpoint.transformer()


def test_weights_with_nan_are_refused_when_read(folder):
    change(folder, 'proj_in.bias', torch.full((32,), float('nan')))
    weights = Checkpoint(folder, REVISION).transformer()
    with pytest.raises(EngineError, match=r'proj_in.bias holds NaN'):
        weights.get('proj_in.bias')


def test_pickled_weights_are_not_opened(folder):
    for path in [*shards(folder), folder / 'transformer' / INDEX]:
        path.unlink()
    (folder / 'transformer' / 'diffusion_pytorch_model.bin').write_bytes(b'')
    with pytest.raises(EngineError, match='run code'):
        Checkpoint(folder, REVISION).transformer()


def test_a_file_of_another_sum_is_named(folder):
    checkpoint, path = Checkpoint(folder, REVISION), shards(folder)[0]
    sums = {f'transformer/{path.name}': sha256_file(path)}
    checkpoint.verify(sums)
    path.write_bytes(path.read_bytes() + b' ')
    with pytest.raises(EngineError, match=path.name):
        checkpoint.verify(sums)
