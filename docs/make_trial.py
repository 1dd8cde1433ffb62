# SPDX-License-Identifier: Apache-2.0
"""Draws docs/trial.jpg: two parts of a page of `flywheel trial`, side by side.

python bench/trial.py --keep DIR && python docs/make_trial.py DIR/trial_sim/trial.html
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).with_name('trial.jpg')
SIZE_PX = (960, 1400)
"""Width and height of each part."""
SECOND = '#rules'
"""Where the second begins."""
WIDTH_PX = 1200
"""Of the picture."""
PLAYS_MS = 4000
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
        page.screenshot(path=f'{aside}/page.png', full_page=True)
        top = round(page.locator(SECOND).bounding_box()['y']) - 40
        browser.close()
        whole = cv2.imread(f'{aside}/page.png')
    second = whole[top : top + height]
    blank = np.full((height - len(second), width, 3), whole[0, 0], np.uint8)
    both = np.concatenate([whole[:height], np.concatenate([second, blank])], axis=1)
    size = WIDTH_PX, height * WIDTH_PX // (2 * width)
    small = cv2.resize(both, size, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(PICTURE), small, [cv2.IMWRITE_JPEG_QUALITY, 84])


if __name__ == '__main__':
    main()
