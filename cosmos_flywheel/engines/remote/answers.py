# SPDX-License-Identifier: Apache-2.0
"""An answer that is no success → the error that says what it means, and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.remote.errors import BlockedError, FailedJobError, RefusedError
from cosmos_flywheel.engines.remote.server import TOKEN_VARIABLE
from cosmos_flywheel.engines.remote.wire import Answer

GUARDRAIL = re.compile(r'block.{0,80}guardrail|guardrail.{0,80}block', re.I | re.S)
"""What a server of Cosmos says of a prompt that its guardrails stop: vllm-omni 0.30.0 with status
400 (`models/cosmos3/guardrails.py`), earlier ones with 500."""
LONGEST_WORDS = 300


def told(answer: Answer) -> str:
    """What an answer says is wrong, in the server's words; a wrong field by its name."""
    document = answer.document()
    error = document.get('error')
    if isinstance(error, dict):
        return shortened(str(error.get('message') or ''))
    detail = document.get('detail')
    if isinstance(detail, list):
        return shortened('; '.join(_of_field(one) for one in detail))
    return shortened(str(detail or ''))


def worded(answer: Answer) -> str:
    """Status and what was told."""
    said = told(answer)
    return f'{answer.status} {said}' if said else f'status {answer.status}'


def is_blocked(answer: Answer) -> bool:
    """Whether it says that guardrails stopped a prompt."""
    return answer.status >= 400 and bool(GUARDRAIL.search(told(answer)))


def refusal(answer: Answer, what: str, endpoint: str) -> EngineError:
    """The error of a request that was not done."""
    status = answer.status
    if is_blocked(answer):
        return blocked(told(answer), endpoint)
    if status in (401, 403):
        return RefusedError(
            f'{endpoint} wants another token ({status}); put the one of its --api-key into '
            f'{TOKEN_VARIABLE}'
        )
    if 300 <= status < 400:
        return EngineError(f'{endpoint} sends elsewhere ({status}); give that endpoint')
    if status == 404:
        return RefusedError(
            f'{endpoint} knows no {what} (404); start it with `vllm serve MODEL --omni`'
        )
    kind = RefusedError if 400 <= status < 500 else EngineError
    return kind(f'{what} at {endpoint}: {worded(answer)}; see the log of the server')


def failure(document: Mapping[str, Any], endpoint: str) -> EngineError:
    """The error of a job that ended without a film."""
    error = document.get('error')
    said = error.get('message') if isinstance(error, dict) else None
    words = shortened(str(said or 'no reason given'))
    if GUARDRAIL.search(words):
        return blocked(words, endpoint)
    code = error.get('code') if isinstance(error, dict) else None
    is_ours = isinstance(code, int) and 400 <= code < 500
    kind = RefusedError if is_ours else FailedJobError
    return kind(
        f'{endpoint}: the job ended as {document.get("status")!r} ({words}); see the log of the '
        'server'
    )


def blocked(words: str, endpoint: str) -> BlockedError:
    """The error of a prompt that guardrails stopped."""
    return BlockedError(
        f'{endpoint}: the guardrails of the server stopped the prompt ({words}); word it '
        'differently, or switch them off where that is allowed',
        words,
    )


def shortened(text: str) -> str:
    """One line that is not too long for people, without control characters."""
    line = ' '.join(''.join(c if c.isprintable() else ' ' for c in text).split())
    return line if len(line) <= LONGEST_WORDS else f'{line[:LONGEST_WORDS]} …'


def _of_field(one: object) -> str:
    if not isinstance(one, dict):
        return str(one)
    place = one.get('loc')
    field = '.'.join(str(part) for part in place[1:]) if isinstance(place, list) else ''
    return f'{field}: {one.get("msg")}' if field else str(one.get('msg'))
