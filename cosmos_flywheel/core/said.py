# SPDX-License-Identifier: Apache-2.0
"""Words that others wrote, for text that a model reads: a quotation, never an instruction."""

from __future__ import annotations

import re
from collections.abc import Mapping

LONGEST = 200
"""Characters of another's words that are kept."""
_SLOT = re.compile(r'\{([a-z_]+)\}')
_MEANINGFUL = str.maketrans({**dict.fromkeys('"“”„«»`', "'"), **dict.fromkeys('<>{}|[]\\', ' ')})
"""Marks that a template, a chat format or JSON could take for its own."""


def plain(text: str, longest: int = LONGEST) -> str:
    """Others' words on one line: without control, invisible and meaningful marks, and cut."""
    kept = ''.join(c if c.isprintable() else ' ' for c in text).translate(_MEANINGFUL)
    words = ' '.join(kept.split())
    return words if len(words) <= longest else f'{words[: longest - 1].rstrip()}…'


def quoted(text: str) -> str:
    """The same in quotation marks; '' for nothing."""
    words = plain(text)
    return f'"{words}"' if words else ''


def slots(template: str) -> set[str]:
    """Names in braces that a template has."""
    return set(_SLOT.findall(template))


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with its slots filled, once: what is filled in is not looked at again."""
    text = _SLOT.sub(lambda match: values[match[1]], template)
    text = re.sub(r'\s+([.,;:])', r'\1', ' '.join(text.split()))
    return text[:1].upper() + text[1:]
