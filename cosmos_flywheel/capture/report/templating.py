# SPDX-License-Identifier: Apache-2.0
"""Turns templates and values into HTML and SVG text; every value counts as hostile."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from math import isfinite
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

# Control characters are not allowed in XML, lone surrogates not in UTF-8, and direction overrides
# make a name read as something else.
_UNSHOWABLE = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]')


def render(template: str, **values: Any) -> str:
    """Fill in one of the templates of this package."""
    return _environment().get_template(template).render(values)


def asset(name: str) -> Markup:
    """The text of one of this package's own files, to be put in as it is."""
    return Markup((files(__package__) / 'templates' / name).read_text('utf-8'))


def script_hash(script: str) -> str:
    """The source expression that lets a content security policy run exactly this script."""
    return 'sha256-' + b64encode(sha256(script.encode()).digest()).decode()


def data_uri(data: bytes, mime: str) -> str:
    """A file inside an address."""
    return f'data:{mime};base64,{b64encode(data).decode()}'


def ratio_words(ratio: float) -> str:
    """A multiple of the threshold: '0.42×', '6.1×', '140×', '–' where unknown."""
    if not isfinite(ratio):
        return '–'
    digits = 2 if ratio < 1 else 1 if ratio < 100 else 0
    return f'{ratio:.{digits}f}×'


def span_words(seconds: float) -> str:
    """A length of time: '8.80 s', '12 min 03 s', '1 h 05 min'."""
    if seconds < 99.95:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f'{minutes} min {rest:02d} s'
    return f'{minutes // 60} h {minutes % 60:02d} min'


def number_words(value: float) -> str:
    """A score with three digits, '–' where unknown."""
    return f'{value:.3g}' if isfinite(value) else '–'


def clock_words(seconds: float, digits: int = 2) -> str:
    """A time in a bag: '7.23 s', from ten minutes on '12:05', from an hour on '1:02:03'."""
    if seconds < 600:
        return f'{seconds:.{digits}f} s'
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f'{hours}:{minutes:02d}:{rest:02d}' if hours else f'{minutes}:{rest:02d}'


def offset_words(seconds: float, digits: int = 2) -> str:
    """A time around an onset: '−0.40 s', 'onset', '+1.20 s'."""
    if abs(seconds) < 0.005:
        return 'onset'
    return f'{seconds:+.{digits}f} s'.replace('-', '−')


def plain_name(name: str) -> str:
    """A channel's name as words."""
    return name.replace('_', ' ')


def _showable(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return _UNSHOWABLE.sub('\ufffd', value)
    return value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader('cosmos_flywheel.capture.report', 'templates'),
        autoescape=True,
        finalize=_showable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        clock=clock_words,
        data_uri=data_uri,
        number=number_words,
        plain=plain_name,
        ratio=ratio_words,
        span=span_words,
    )
    return environment
