# SPDX-License-Identifier: Apache-2.0
"""`flywheel watch` in a real browser over a real graph: bag, predictor, monitor, recorder."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(240)]
ROBOT = 'mujoco_push'
INJECTED = '<img src=x onerror="document.title=\'owned\'">'


@pytest.fixture
def page(need: Callable[[str, str], NoReturn]) -> Iterator[Any]:
    """A page of a headless Chromium: $CHROMIUM, or the one on the path."""
    path = os.environ.get('CHROMIUM') or shutil.which('chromium')
    if path is None:
        need('browser', 'chromium is not installed: apt-get install chromium')
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        need('browser', 'playwright is not installed: pip install playwright')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=['--no-sandbox', '--disable-gpu']
        )
        yield browser.new_page(viewport={'width': 1100, 'height': 1500})
        browser.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return int(probe.getsockname()[1])


def holds(page: Any, expression: str, patience_s: float = 60.0) -> None:
    """Wait until it is true; the page's policy forbids Playwright's own way, which is eval."""
    end = time.monotonic() + patience_s
    while not page.evaluate(expression):
        assert time.monotonic() < end, f'waited in vain: {expression}'
        page.wait_for_timeout(200)


def test_it_shows_the_graph_and_captures(graph, page, root: Path, tmp_path):
    from cosmos_flywheel.msg import FailureEpisode
    from cosmos_flywheel.nodes.board import EPISODE_QOS

    out = tmp_path / 'out'
    model = root / 'demo' / 'model'
    port = free_port()
    words = [sys.executable, '-m', 'cosmos_flywheel.cli.main', 'watch']
    watch = graph.run(*words, '--port', str(port), '--out', str(out))
    graph.until(lambda: 'open http' in watch.output, 'the server')
    page.goto(f'http://127.0.0.1:{port}/')
    holds(page, "document.querySelector('#standing').textContent.includes('graph')")
    for name in ('predictor', 'monitor'):
        graph.start(name, robot=ROBOT, models=[str(model)])
    graph.start('recorder', robot=ROBOT, out=str(out))
    bag = root / 'demo' / 'bags' / 'mujoco_push_faults' / 'bags' / 'push_1104'
    graph.start('player', bag=str(bag), loop=True, wait_for=1)
    page.wait_for_selector('#overlay:not([hidden])', timeout=60_000)
    holds(page, "document.querySelector('#overlay').naturalWidth > 300")
    holds(
        page,
        "[...document.querySelectorAll('path.score')].some(p => p.getAttribute('d').length > 200)",
    )
    page.wait_for_selector('#capture:enabled', timeout=60_000)
    page.click('#capture')
    page.wait_for_selector('#episodes li:has(.chip)', timeout=90_000)

    node = graph.node()
    speaker = node.create_publisher(FailureEpisode, '/flywheel/episode', EPISODE_QOS)
    speaker.publish(FailureEpisode(id='f' * 16, causes=[INJECTED], onset_ns=2**62))
    end = time.monotonic() + 30
    while not (found := page.query_selector('#episodes li:has-text("onerror")')):
        assert time.monotonic() < end, 'the injected episode is not shown'
        page.wait_for_timeout(200)
    assert found.query_selector('.chip img') is None
    assert re.match('flywheel', page.title())
    if picture := os.environ.get('WATCH_PICTURE'):
        page.evaluate("document.querySelector('#episodes li').remove()")
        page.screenshot(path=picture)
    assert watch.stop() == 0
    holds(page, "document.querySelector('#standing').textContent.includes('does not answer')")
