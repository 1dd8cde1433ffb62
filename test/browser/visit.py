# SPDX-License-Identifier: Apache-2.0
"""A page that a test has opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

REACHES = """(video, seconds) => new Promise(done => {
  video.addEventListener('timeupdate', () => video.currentTime > seconds && done(true));
  video.play();
})"""
"""Plays until a time; resolved by the video itself, since the page's policy forbids eval."""


@dataclass
class Visit:
    """A page that was opened, and everything it complained about or asked the network for."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
