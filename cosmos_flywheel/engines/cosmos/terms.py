# SPDX-License-Identifier: Apache-2.0
"""A model's card → the licence that it states; what the keys mean is told by the hub's docs.

https://huggingface.co/docs/hub/repositories-licenses
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def stated_licence(head: Mapping[str, Any]) -> str | None:
    """Of a card's head: the licence's name, and where it stands if that is said."""
    name, link = (_text(head.get(key)) for key in ('license_name', 'license_link'))
    name = name or _text(head.get('license'))
    return f'{name} ({link})' if name and link else name or None


def read_head(card: Path) -> Mapping[str, Any]:
    """The YAML between a card's first two lines of dashes; empty where there is none."""
    try:
        before, head, _ = card.read_text('utf-8').split('---\n', 2)
        read = {} if before else yaml.safe_load(head)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return read if isinstance(read, dict) else {}


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ''
