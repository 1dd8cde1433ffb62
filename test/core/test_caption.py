# SPDX-License-Identifier: Apache-2.0
"""A brief's prompt becomes the JSON text of Cosmos, whatever its words hold."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from cosmos_flywheel.core.brief import Prompt
from cosmos_flywheel.core.caption import brief_caption

KEYS = ['cinematography', 'actions', 'duration', 'fps', 'resolution', 'aspect_ratio']
PROMPT = Prompt(
    'A camera looks down.', 'A table.', ((0.0, 3.0, 'It pushes.'), (3.0, 9.0, 'It is gone.'))
)


def test_a_brief_is_told_in_the_keys_and_the_clock_of_cosmos():
    told = json.loads(brief_caption(PROMPT, 90, 15.0, (544, 736)))
    assert list(told) == KEYS
    assert told['actions'] == [
        {'time': '0:00-0:03', 'description': 'A table. It pushes.'},
        {'time': '0:03-0:06', 'description': 'It is gone.'},
    ]
    assert (told['duration'], told['aspect_ratio']) == ('6s', '4,3')


def test_what_is_over_when_a_clip_begins_is_not_told():
    told = json.loads(brief_caption(PROMPT, 60, 15.0, (544, 736), begin_s=3.0))
    assert told['actions'] == [{'time': '0:00-0:04', 'description': 'A table. It is gone.'}]
    late = json.loads(brief_caption(PROMPT, 60, 15.0, (544, 736), begin_s=20.0))
    assert late['actions'] == [{'time': '0:00-0:04', 'description': 'A table.'}]


@given(st.text(), st.text())
def test_no_words_close_the_json(scene, words):
    told = json.loads(brief_caption(Prompt('', scene, ((0.0, 4.0, words),)), 60, 15.0, (544, 736)))
    assert list(told) == KEYS
    assert told['actions'][0]['description'] == f'{scene} {words}'.strip()
