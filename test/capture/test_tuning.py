# SPDX-License-Identifier: Apache-2.0
"""The cheapest way that loses nothing is chosen; where nothing is foretold, none is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosmos_flywheel.capture.tuning import Way, compare, load_settings, pick, trained, ways
from cosmos_flywheel.core.errors import ConfigError, SchemaError
from cosmos_flywheel.core.skill import Errors, skill_of
from cosmos_flywheel.engines import CosmosSettings
from cosmos_flywheel.store.robots import load_robot

TRAINED = CosmosSettings()
COUNT = 60


def way(error: float, cost: float | None, seen: int = 4, moved: float = 1.0, **changed) -> Way:
    """Of 30 s of chunks; its errors are a share of what moved."""
    draw = np.random.default_rng(1)
    standing = moved * draw.uniform(1, 2, COUNT)
    noise = np.random.default_rng(changed.get('steps', 0)).uniform(0.9, 1.1, COUNT)
    stamps_ns = np.arange(COUNT, dtype=np.int64) * 500_000_000
    errors = (Errors(stamps_ns, error * noise * standing, standing),)
    return Way(replace(TRAINED, **changed), cost, skill_of(errors), seen, 10, errors)


FIRST = way(0.5, 0.9)


def test_the_cheapest_that_loses_nothing_is_chosen():
    dear, cheap = way(0.5, 0.6, steps=10), way(0.4, 0.3, steps=4)
    assert pick(compare([FIRST, dear, cheap])) is cheap
    assert pick(compare([FIRST])) is FIRST


def test_what_foretells_less_or_finds_less_is_not():
    blurred, blind = way(0.6, 0.1, steps=4), way(0.5, 0.1, seen=3, steps=10)
    assert pick(compare([FIRST, blurred, blind])) is FIRST


def test_pictures_of_another_size_are_counted_by_what_moves_in_them():
    small = way(0.5, 0.2, moved=0.3, tier=256)
    _, compared = compare([FIRST, small])
    assert compared.gain.value == pytest.approx(0, abs=0.05)
    assert pick(compare([FIRST, small])) is small


def test_a_way_that_cannot_run_here_is_not_chosen():
    broken = Way(replace(TRAINED, precision='fp8'), why_not='not enough memory')
    assert pick(compare([FIRST, broken])) is FIRST
    assert pick(compare([broken, FIRST])) is None


def test_where_even_the_trained_way_foretells_nothing_none_is_chosen():
    assert pick(compare([way(1.5, 0.9), way(0.5, 0.2, steps=4)])) is None


def test_the_trained_way_comes_first_and_once(root: Path):
    asked = ways(TRAINED, (256, 480), (30, 4), ('bf16',), (10.0,))
    assert asked[0] == TRAINED
    assert len(asked) == len(set(asked)) == 4
    assert trained(load_robot('droid'), TRAINED).tier == 480
    with pytest.raises(ConfigError, match=r'cosmos\.domain is none'):
        trained(load_robot('mujoco_push'), TRAINED)


def test_a_way_reads_back_as_it_was_kept(tmp_path):
    again = Way.from_mapping(json.loads(json.dumps(FIRST.to_mapping('a' * 64))))
    assert again == FIRST
    assert np.allclose(again.errors[0].own, FIRST.errors[0].own, atol=1e-4)
    path = tmp_path / 'chosen.json'
    path.write_text(json.dumps(FIRST.to_mapping('a' * 64)))
    assert CosmosSettings(**load_settings(path)) == TRAINED
    path.write_text('{"schema": "tune-v1"}')
    with pytest.raises(SchemaError, match=r'chosen\.json'):
        load_settings(path)
