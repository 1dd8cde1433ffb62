# SPDX-License-Identifier: Apache-2.0
"""A template and what it shows → one HTML text."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render_page(template: str, **shown: Any) -> str:
    """HTML; whatever the values quote is escaped, and a value that is missing is an error."""
    return _environment().get_template(template).render(**shown)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader('cosmos_flywheel.generate', 'templates'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
