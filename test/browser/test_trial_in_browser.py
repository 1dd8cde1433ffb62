# SPDX-License-Identifier: Apache-2.0
"""The page of a trial in a real browser: it plays, fits, asks nobody, and runs nobody's code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from order_maker import ROBOT, make_brief, make_episode
from visit import REACHES, Visit

from cosmos_flywheel.generate.augment import Augment
from cosmos_flywheel.generate.purse import Purse
from cosmos_flywheel.generate.rules import TODAY
from cosmos_flywheel.generate.trial import run_trial, trial_document
from cosmos_flywheel.generate.trial_page import trial_page
from cosmos_flywheel.generate.trial_scenarios import Subject

pytestmark = pytest.mark.browser

EVIL = '"><script>document.title = "run"</script>'


@pytest.fixture(scope='module')
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of `augment` on a covered camera, by an episode that would like to run something."""
    out = tmp_path_factory.mktemp('out')
    episode = make_episode(out)
    brief = make_brief(episode)
    brief = replace(brief, failure=replace(brief.failure, object=EVIL))
    trial = run_trial(
        out, [Subject(brief, episode, ROBOT)], Augment(), TODAY, Purse(60, 60), count=1, seed=0,
        progress=lambda *_: None,
    )  # fmt: skip
    path = out / 'trial.html'
    path.write_text(trial_page(trial_document(trial), trial), 'utf-8')
    return path


def test_failure_and_candidate_play_side_by_side(page: Path, visit: Callable[..., Visit]) -> None:
    seen = visit(page)
    row = seen.page.locator('.row').first
    for film in ('.recorded video', '.candidate video'):
        row.locator(film).evaluate(REACHES, 0.3)
        assert row.locator(film).evaluate('video => [video.loop, video.videoWidth]') == [True, 64]
    assert seen.page.locator('h1').inner_text() == 'No-go'
    assert seen.page.locator('.ways video').count() == 9
    assert EVIL in seen.page.locator('h3').first.inner_text()
    assert seen.page.title() == 'No-go: trial of augment'
    assert [url[:5] for url in seen.requests if not url.startswith('data:')] == ['file:']
    assert seen.complaints == []


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_the_page_fits_a_phone_and_a_click_stops_a_film(
    page: Path, visit: Callable[..., Visit], scheme: str
) -> None:
    seen = visit(page, viewport={'width': 360, 'height': 740}, color_scheme=scheme)
    assert seen.page.evaluate('document.documentElement.scrollWidth') == 360
    paper = seen.page.evaluate('getComputedStyle(document.body).backgroundColor')
    assert paper == {'light': 'rgb(251, 251, 249)', 'dark': 'rgb(18, 22, 27)'}[scheme]
    film = seen.page.locator('.candidate video')
    film.evaluate(REACHES, 0.1)
    film.click()
    assert film.evaluate('video => video.paused')
