# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from push_bags import recording, write

Harvest = Callable[..., object]


def test_a_sound_bag_without_a_failure_is_silent(tmp_path: Path, harvest: Harvest) -> None:
    found = harvest(write(tmp_path / 'sound', recording(4.0, 1.7)))
    assert found.code == 0
    assert found.bag['episodes'] == []
    assert found.bag['notes'] == []


def test_a_covered_lens_is_found_when_it_happens(covered_bag: Path, harvest: Harvest) -> None:
    found = harvest(covered_bag)
    assert found.code == 0
    assert found.causes == {'picture'}
    (episode,) = found.bag['episodes']
    assert 2.0 <= episode['onset_s'] < 2.3
