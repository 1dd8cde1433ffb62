# SPDX-License-Identifier: Apache-2.0
"""The page of candidates in a browser: films play, nothing is asked for, nobody's code runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from order_maker import ROBOT, make_brief, make_episode
from visit import REACHES, Visit

from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.augment import Augment
from cosmos_flywheel.generate.base import Order
from cosmos_flywheel.generate.make import make_candidate
from cosmos_flywheel.generate.sheet_page import sheet_page

pytestmark = pytest.mark.browser

EVIL = '"><script>document.title = "run"</script>'


def test_films_of_a_failure_play_in_a_row(tmp_path: Path, visit: Callable[..., Visit]) -> None:
    episode = make_episode(tmp_path)
    brief = make_brief(episode)
    brief = replace(brief, failure=replace(brief.failure, object=EVIL))
    made = [
        make_candidate(
            tmp_path,
            Order(brief, episode, ROBOT, Variation('same_failure_new_scene', 'recorded'), seed),
            Augment(),
        ).folder
        for seed in (0, 1)
    ]
    path = tmp_path / 'page.html'
    path.write_text(sheet_page(made), 'utf-8')
    seen = visit(path, viewport={'width': 360, 'height': 740})
    films = seen.page.locator('section video')
    for place in range(2):
        films.nth(place).evaluate(REACHES, 0.3)
        assert films.nth(place).evaluate('film => [film.loop, film.videoWidth]') == [True, 64]
    assert seen.page.evaluate('document.documentElement.scrollWidth') == 360
    assert seen.page.title() == 'Candidates'
    assert EVIL in seen.page.locator('h2').inner_text()
    assert all(url.startswith(('data:', 'file:')) for url in seen.requests)
    assert seen.complaints == []
