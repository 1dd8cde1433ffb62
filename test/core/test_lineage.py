# SPDX-License-Identifier: Apache-2.0
"""Equal content gives equal bytes; what JSON cannot hold is refused by name."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from cosmos_flywheel.core.errors import SchemaError
from cosmos_flywheel.core.lineage import (
    canonical_json,
    config_hash,
    episode_id,
    sha256_file,
    sha256_hex,
)


@dataclass(frozen=True)
class Settings:
    margin: float
    names: tuple[str, ...]


def test_order_of_keys_does_not_matter() -> None:
    assert canonical_json({'b': 1, 'a': {'d': 2, 'c': 3}}) == b'{"a":{"c":3,"d":2},"b":1}'


def test_numpy_tuples_mappings_and_dataclasses_are_plain_values() -> None:
    value = {
        'array': np.arange(3, dtype=np.int16),
        'number': np.float32(0.5),
        'pair': (1, 2),
        'proxy': MappingProxyType({'x': 1}),
        'settings': Settings(0.1, ('a',)),
    }
    assert canonical_json(value) == (
        b'{"array":[0,1,2],"number":0.5,"pair":[1,2],"proxy":{"x":1},'
        b'"settings":{"margin":0.1,"names":["a"]}}'
    )


def test_names_that_are_not_unicode_still_have_one_text() -> None:
    assert canonical_json('caf\udce9') == b'"caf\\udce9"'


@pytest.mark.parametrize(
    ('value', 'field'),
    [
        ({'channels': {'picture': {'peak': float('nan')}}}, 'channels.picture.peak'),
        ({'scale': [1.0, float('inf')]}, r'scale\[1\]'),
        ({'scale': np.array([1.0, np.nan])}, r'scale\[1\]'),
        (float('-inf'), 'the value'),
    ],
)
def test_numbers_that_are_not_finite_are_refused_by_name(value: object, field: str) -> None:
    with pytest.raises(SchemaError, match=f'^{field} is not a finite number'):
        canonical_json(value)


def test_a_value_without_json_form_is_refused() -> None:
    with pytest.raises(SchemaError, match=r'set .*give plain values'):
        canonical_json({'topics': {'/camera'}})


def test_file_and_bytes_have_the_same_hash(tmp_path: Path) -> None:
    data = bytes(range(256)) * 8200  # more than one block
    path = tmp_path / 'clip.mcap'
    path.write_bytes(data)
    assert sha256_file(path) == sha256_hex(data)


def test_episode_id_depends_on_each_of_its_parts() -> None:
    whole = ('bag', 10, 20, 'f' * 64)
    others = [
        ('Bag', 10, 20, 'f' * 64),
        ('bag', 11, 20, 'f' * 64),
        ('bag', 10, 21, 'f' * 64),
        ('bag', 10, 20, 'e' * 64),
    ]
    assert len({episode_id(*parts) for parts in [whole, *others]}) == 5
    assert episode_id('bag', np.int64(10), np.int64(20), 'f' * 64) == episode_id(*whole)


def test_config_hash_is_the_same_in_another_process() -> None:
    code = (
        'from cosmos_flywheel.core.lineage import config_hash;'
        "print(config_hash({'b': 0.1, 'a': {'z': [1, 2.5e-9], 'y': None}}))"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == config_hash({'a': {'y': None, 'z': [1, 2.5e-9]}, 'b': 0.1})
