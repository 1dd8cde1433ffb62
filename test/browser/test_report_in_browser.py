# SPDX-License-Identifier: Apache-2.0
"""The report in a real browser: it opens from disk, plays, reads out, and runs nobody's code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harvest_example import make_hostile_result, make_result
from visit import REACHES, Visit

from cosmos_flywheel.capture.report.page import write_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope='module')
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the example, under a name with a blank and an umlaut."""
    return write_report(make_result(), tmp_path_factory.mktemp('out') / 'a réport.html')


def test_video_plays_and_the_bar_follows(report: Path, visit: Callable[..., Visit]) -> None:
    seen = visit(report)
    seen.page.locator('video').evaluate(REACHES, 0.3)
    state, duration, width = seen.page.locator('video').evaluate(
        'video => [video.readyState, video.duration, video.videoWidth]'
    )
    assert (state >= 3, width) == (True, 80)
    assert duration == pytest.approx(6.0, abs=0.05)
    at = "getComputedStyle(document.querySelector('.filmbar')).getPropertyValue('--at')"
    assert 0 < float(seen.page.evaluate(at)) < 1
    assert seen.complaints == []


def test_a_click_on_the_bar_seeks_to_the_onset(report: Path, visit: Callable[..., Visit]) -> None:
    seen = visit(report)
    seen.page.locator('video').evaluate(REACHES, 0.1)
    width = seen.page.locator('.filmbar').bounding_box()['width']
    seen.page.locator('.filmbar').click(position={'x': width / 3, 'y': 3})
    assert 1.9 < seen.page.locator('video').evaluate('video => video.currentTime') < 2.6
    assert seen.complaints == []


def test_pointing_reads_values_off_the_timeline(report: Path, visit: Callable[..., Visit]) -> None:
    seen = visit(report)
    plot = seen.page.locator('.plot').first
    value = plot.locator('.lane', has_text='tracking error').locator('.value')
    plot.scroll_into_view_if_needed()
    box = plot.locator('.lane .field').first.bounding_box()
    assert value.inner_text() == '6.0×'
    seen.page.mouse.move(box['x'] + 0.2 * box['width'], box['y'] + 5)
    assert value.inner_text() in ('0.39×', '0.40×')
    assert plot.locator('.cursor b').inner_text() == '2.00 s'
    seen.page.mouse.move(box['x'] + 0.6 * box['width'], box['y'] + 5)
    assert value.inner_text() == '6.0×'
    seen.page.mouse.move(0, 0)
    assert value.inner_text() == '6.0×'
    assert seen.complaints == []


def test_links_lead_to_the_episode_and_open_the_quiet_bag(
    report: Path, visit: Callable[..., Visit]
) -> None:
    seen = visit(report)
    seen.page.locator('.flag').first.click()
    assert seen.page.evaluate("document.querySelector('#e1').matches(':target')")
    seen.page.locator('a[href="#b2"]').click()
    seen.page.locator('#b2 .plot').wait_for(state='visible')
    assert seen.complaints == []


def test_nothing_is_asked_of_the_network(report: Path, visit: Callable[..., Visit]) -> None:
    seen = visit(report)
    seen.page.wait_for_load_state('networkidle')
    assert [url[:5] for url in seen.requests if not url.startswith('data:')] == ['file:']


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_the_page_fits_a_phone(report: Path, visit: Callable[..., Visit], scheme: str) -> None:
    seen = visit(report, viewport={'width': 360, 'height': 740}, color_scheme=scheme)
    assert seen.page.evaluate('document.documentElement.scrollWidth') == 360
    paper = seen.page.evaluate('getComputedStyle(document.body).backgroundColor')
    assert paper == {'light': 'rgb(251, 251, 249)', 'dark': 'rgb(18, 22, 27)'}[scheme]


def test_the_page_reads_without_scripts(report: Path, visit: Callable[..., Visit]) -> None:
    seen = visit(report, java_script_enabled=False)
    assert seen.page.locator('h1').inner_text() == '1 episode to look at in 1 of 2 bags'
    assert seen.page.locator('.lane .score').first.is_visible()
    assert seen.page.locator('.strip img').count() == 15


@pytest.mark.parametrize(
    'text',
    [
        '<script>alert(1)</script>',
        '"><img src=x onerror=alert(1)>',
        '</style></title><svg onload=alert(1)>',
        "javascript:alert(1)//' onfocus='alert(1)",
        'a' * 400,
    ],
)
def test_a_bag_can_run_nothing_here(
    tmp_path: Path, visit: Callable[..., Visit], text: str
) -> None:
    path = write_report(make_hostile_result(text), tmp_path / 'report.html')
    seen = visit(path, viewport={'width': 360, 'height': 740})
    for link in seen.page.locator('a').all()[:6]:
        link.dispatch_event('focus')
    assert seen.complaints == []
    assert seen.page.evaluate('document.scripts.length') == 1
    assert text in seen.page.locator('.notes').inner_text()
    assert seen.page.evaluate('document.documentElement.scrollWidth') == 360


def test_even_markup_that_slipped_through_is_not_run(
    report: Path, tmp_path: Path, visit: Callable[..., Visit]
) -> None:
    page = report.read_text('utf-8')
    evil = '<script>document.title = "run"</script><img src="https://example.org/x.png">'
    path = tmp_path / 'tampered.html'
    path.write_text(page.replace('<main>', '<main>' + evil), 'utf-8')
    seen = visit(path)
    assert seen.page.title() == 'Harvest report: mujoco_push'
    assert any('Content Security Policy' in text for text in seen.complaints)
