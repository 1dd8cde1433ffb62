# SPDX-License-Identifier: Apache-2.0
"""A real browser, one for all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from visit import Visit

ARGUMENTS = (
    '--no-sandbox',
    '--disable-gpu',
    '--disable-background-networking',
    '--disable-component-update',
    '--no-first-run',
)


@pytest.fixture(scope='session')
def browser(need: Callable[[str, str], NoReturn]) -> Iterator[Any]:
    """A headless Chromium: $CHROMIUM, or the one on the path."""
    path = os.environ.get('CHROMIUM') or shutil.which('chromium')
    if path is None:
        need('browser', 'chromium is not installed: apt-get install chromium')
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        need('browser', 'playwright is not installed: pip install playwright')
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Visit]]:
    """Open a file in a fresh browser context."""
    contexts = []

    def open_file(path: Path, **options: Any) -> Visit:
        contexts.append(browser.new_context(**options))
        seen = Visit(contexts[-1].new_page())
        seen.page.on('console', lambda message: seen.complaints.append(message.text))
        seen.page.on('pageerror', lambda error: seen.complaints.append(str(error)))
        seen.page.on('dialog', lambda dialog: seen.complaints.append(f'dialog {dialog.message}'))
        seen.page.on('request', lambda request: seen.requests.append(request.url))
        seen.page.goto(path.as_uri())
        return seen

    yield open_file
    for context in contexts:
        context.close()
