# SPDX-License-Identifier: Apache-2.0
"""Asks a Reasoner, served by plain vLLM, what the keyframes of a brief show.

OpenAI's chat completions, pictures before text, as the Reasoner of Cosmos 3 was trained. The
answer is a caption and marked as such; nothing else of a brief hangs on it.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Sequence
from typing import Any

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.said import plain
from cosmos_flywheel.engines.remote.server import Server
from cosmos_flywheel.engines.remote.wire import Wire

PATH = '/v1/chat/completions'
SYSTEM = 'You are a helpful assistant.'
QUESTION = (
    'These pictures follow one another, just before something goes wrong. Describe in at most '
    'three sentences the place, the robot or vehicle, and the objects with their colours and '
    'where they are. Say nothing of what may happen next.'
)
MOST_TOKENS = 200
MOST_BYTES = 1 << 20
LONGEST = 600
"""Characters of a caption that are kept."""
ANSWER_S = 60.0


def ask_caption(server: Server, pictures: Sequence[bytes], answer_s: float = ANSWER_S) -> str:
    """What the pictures show, in the Reasoner's words on one line.

    Args:
        server: which endpoint, and under which name the model is served.
        pictures: PNG, the oldest first.
        answer_s: longest that is waited.

    Raises:
        EngineError: no answer, a refusal, or an answer that is no caption.

    """
    body = json.dumps(_request(server.model, pictures)).encode('ascii')
    answer = Wire(server, answer_s).ask(
        'POST',
        PATH,
        time.monotonic() + answer_s,
        threading.Event(),
        body=body,
        kind='application/json',
        most_bytes=MOST_BYTES,
    )
    if answer.status != 200:
        raise EngineError(
            f'{server.endpoint}{PATH}: answered {answer.status}: {plain(_refusal(answer.data))}; '
            f'is {server.model!r} served there, by vLLM as a Reasoner?'
        )
    try:
        content = answer.document()['choices'][0]['message']['content']
    except (KeyError, IndexError, TypeError):
        content = None
    words = plain(content, LONGEST) if isinstance(content, str) else ''
    if not words:
        raise EngineError(
            f'{server.endpoint}{PATH}: the answer holds no caption; is it an OpenAI-compatible '
            'chat endpoint?'
        )
    return words


def _request(model: str, pictures: Sequence[bytes]) -> dict[str, Any]:
    """Without chance, so that the same pictures get the same caption."""
    shown = [
        {
            'type': 'image_url',
            'image_url': {'url': f'data:image/png;base64,{base64.b64encode(data).decode()}'},
        }
        for data in pictures
    ]
    return {
        'model': model,
        'messages': [
            {'role': 'system', 'content': SYSTEM},
            {'role': 'user', 'content': [*shown, {'type': 'text', 'text': QUESTION}]},
        ],
        'temperature': 0,
        'max_tokens': MOST_TOKENS,
    }


def _refusal(data: bytes) -> str:
    return data[:500].decode('utf-8', 'replace')
