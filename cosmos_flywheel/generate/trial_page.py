# SPDX-License-Identifier: Apache-2.0
"""A trial → one HTML file that needs nothing else, with its pictures: a person decides by it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup

from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.generate.clip import read_clip
from cosmos_flywheel.generate.page import render_page
from cosmos_flywheel.generate.trial import QUESTIONS, Trial
from cosmos_flywheel.generate.trial_scenarios import MadeOne, Subject
from cosmos_flywheel.generate.trial_steering import ORDERED
from cosmos_flywheel.store.candidates import THUMBNAIL, VIDEO, read_candidate
from cosmos_flywheel.video.encode import encode_webm

MOST_BYTES = 24_000_000
"""Of all films together; what is beyond shows a still."""
FILM_PX = 256
"""Width at which recorded clips are shown."""
STILL_PX = 200
CONTRAST = 3
"""Times by which a difference is shown larger."""
CHART = (200, 130)
"""Width and height of a chart, in its own units."""
ASKED = {
    'scenarios': 'Can it generate the scenarios that are missing?',
    'steering': 'Do actions steer it?',
    'rules': 'Do the rules reject what is wrong?',
}
WORDS = {'go': 'Go', 'no-go': 'No-go', 'undecided': 'Undecided'}


def trial_page(document: Mapping[str, Any], trial: Trial) -> str:
    """The page of a `trial-v1` and what the trial has to show; everything quoted is escaped.

    Raises:
        StoreError: a clip or a candidate is gone.

    """
    left = [MOST_BYTES]
    script = _script()
    return render_page(
        'trial.html.j2',
        **document,
        words=WORDS,
        questions=[(name, ASKED[name], document[name]) for name in QUESTIONS],
        groups=[_group(one, trial, left) for one in trial.subjects],
        charts=[_chart(axis['points']) for axis in document['steering']['axes']],
        stills=[_stills(axis.pictures) for axis in trial.steering.axes],
        contrast=CONTRAST,
        films={one.way: _film(one.film, left) for one in trial.rules.ways if one.film},
        script=script,
        script_hash='sha256-' + b64encode(sha256(script.encode()).digest()).decode(),
    )


def _group(subject: Subject, trial: Trial, left: list[int]) -> dict[str, Any]:
    """The recorded failure and its candidates."""
    brief = subject.brief
    clip = read_clip(subject.order(ORDERED, 0))
    pictures = [_shrunk(p, FILM_PX) for p in clip.recording.pictures]
    recorded = encode_webm(pictures, subject.robot.clock.hz)
    made = [one for one in trial.scenarios.made if one.episode == brief.origin.id]
    return {
        'id': brief.origin.id,
        'task': brief.origin.task,
        'cause': brief.failure.cause.replace('_', ' '),
        'object': brief.failure.object,
        'recorded': _film(recorded, left),
        'onset_s': clip.onset_s,
        'made': [
            {
                'id': one.id,
                'film': _film((one.folder / VIDEO).read_bytes(), left),
                'still': _uri((one.folder / THUMBNAIL).read_bytes(), 'image/jpeg'),
                'variation': str(one.variation).replace('_', ' '),
                'actions': _source(one),
                'seed': one.seed,
                'cpu_s': one.cpu_s,
                'gpu_s': one.gpu_s,
            }
            for one in made
        ],
    }


def _source(one: MadeOne) -> str:
    """Where the commands of a candidate came from, which need not be where they were ordered."""
    actions = read_candidate(one.folder)['actions']
    return 'no' if actions is None else str(actions['source'])


def _chart(points: Sequence[Sequence[float]]) -> dict[str, Any] | None:
    """Dots of generator and reference in the units of `CHART`; None without any."""
    if not points:
        return None
    width, height = CHART
    most_x = max(abs(x) for x, _, _ in points)
    most_y = max(max(abs(own), abs(real)) for _, own, real in points) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        across = width / 2 + 0.9 * width / 2 * x / most_x
        return round(across, 1), round(height / 2 - 0.9 * height / 2 * y / most_y, 1)

    squares = sum(x * x for x, _, _ in points)
    slopes = [sum(p[0] * p[i] for p in points) / squares for i in (1, 2)]
    return {
        'own': [at(x, own) for x, own, _ in points],
        'real': [at(x, real) for x, _, real in points],
        'lines': [
            (*at(-most_x, -slope * most_x), *at(most_x, slope * most_x)) for slope in slopes
        ],
        'most_px': most_y,
    }


def _film(webm: bytes, left: list[int]) -> str:
    """As an address, while there is room; else ''."""
    if len(webm) > left[0]:
        return ''
    left[0] -= len(webm)
    return _uri(webm, 'video/webm')


def _stills(pictures: Sequence[Picture]) -> tuple[str, ...]:
    """Both, and between them how they differ; nothing where there are none."""
    if not pictures:
        return ()
    down, up = pictures
    apart = np.clip(CONTRAST * np.abs(down.astype(np.float32) - up), 0, 255).astype(np.uint8)
    return _still(down), _still(apart), _still(up)


def _still(picture: Picture) -> str:
    small = _shrunk(picture, STILL_PX)
    data = cv2.imencode('.jpg', small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return _uri(bytes(data), 'image/jpeg')


def _shrunk(picture: Picture, width: int) -> Picture:
    """At most so wide, with even sides."""
    height = round(picture.shape[0] * width / picture.shape[1] / 2) * 2
    if picture.shape[1] <= width:
        return picture
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype('uint8')


def _uri(data: bytes, mime: str) -> str:
    return f'data:{mime};base64,{b64encode(data).decode()}'


def _script() -> Markup:
    return Markup((files(__package__) / 'templates' / 'trial.js').read_text('utf-8'))
