# SPDX-License-Identifier: Apache-2.0
"""Draws docs/trial.jpg: the upper part of a page of `flywheel trial`.

python docs/make_trial.py flywheel-out/trial/trial.html
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import cv2
from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).with_name('trial.jpg')
SIZE_PX = (1080, 1500)
"""Width and height of the part of the page that is shown …"""
WIDTH_PX = 860
"""… and how wide the picture is."""
PLAYS_MS = 2200
"""So long the films run before the picture is taken."""


def main() -> None:
    """Open, wait, shoot, shrink."""
    chromium = os.environ.get('CHROMIUM') or shutil.which('chromium')
    width, height = SIZE_PX
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as aside:
        browser = playwright.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        page = browser.new_page(viewport={'width': width, 'height': height}, color_scheme='light')
        page.goto(Path(sys.argv[1]).resolve().as_uri())
        page.wait_for_timeout(PLAYS_MS)
        page.screenshot(path=f'{aside}/page.png')
        browser.close()
        picture = cv2.imread(f'{aside}/page.png')
    size = WIDTH_PX, height * WIDTH_PX // width
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(PICTURE), small, [cv2.IMWRITE_JPEG_QUALITY, 84])


if __name__ == '__main__':
    main()
