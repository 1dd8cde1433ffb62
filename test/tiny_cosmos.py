# SPDX-License-Identifier: Apache-2.0
"""Writes tiny random checkpoints of Cosmos in the hub's layout, with a tokenizer of bytes."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from cosmos_flywheel.engines.cosmos.causal.manifest import Manifest
from cosmos_flywheel.engines.cosmos.checkpoint import write_random
from cosmos_flywheel.engines.cosmos.dims import Dims, VaeDims

COMMIT = 'c' * 40
DIMS = Dims(
    layers=2, hidden=32, heads=2, kv_heads=1, head_dim=16, mlp=64, vocabulary=300,
    rope_axes=(4, 2, 2),
)  # fmt: skip
VAE = VaeDims(base=8, decoder_base=8, blocks=1)
END, START = '<|im_end|>', '<|vision_start|>'
TEMPLATE = "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '<|im_end|>' }}{% endfor %}"


def write_checkpoint(
    folder: Path, dims: Dims = DIMS, vae: VaeDims = VAE, manifest: Manifest | None = None
) -> Path:
    """A folder named by its commit, as the hub's cache has it; with a manifest a causal one."""
    made = folder / COMMIT
    write_random(made, dims, vae, manifest=manifest)
    write_tokenizer(made / 'text_tokenizer')
    return made


def write_tokenizer(folder: Path) -> None:
    folder.mkdir(parents=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    table = {letter: index for index, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=table, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END, START])
    tokenizer.save(str(folder / 'tokenizer.json'))
    config = {
        'tokenizer_class': 'PreTrainedTokenizerFast',
        'eos_token': END,
        'chat_template': TEMPLATE,
    }
    (folder / 'tokenizer_config.json').write_text(json.dumps(config))
