# SPDX-License-Identifier: Apache-2.0
"""One mapping of a hand-written file into typed values, with errors that say where and what to do.

A key that is not known is refused with the nearest known one; keys that begin with `x_` are the
writer's own and pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from math import isfinite
from typing import Any

from cosmos_flywheel.core.errors import ConfigError


class Section:
    """One mapping and its place in the file.

    A getter raises ConfigError when the key is absent and no default is given, or when its value
    is of another kind.

    Args:
        value: what the file holds at that place.
        place: the file and the path of keys inside it, for messages.
        known: every key that may be there.

    """

    def __init__(self, value: object, place: str, known: Iterable[str]) -> None:
        self.place = place
        if not isinstance(value, Mapping):
            raise ConfigError(f'{place}: {value!r} should be a mapping; write "key: value" lines')
        self._values: Mapping[str, Any] = value
        self._known = tuple(known)
        for key in value:
            if key not in self._known and not str(key).startswith('x_'):
                raise self.error(str(key), f'is no known key; {nearest(str(key), self._known)}')

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def error(self, key: str, problem: str) -> ConfigError:
        """A ConfigError that names the file, the key and the problem."""
        return ConfigError(f'{self._at(key)} {problem}')

    def text(self, key: str, default: str | None = None) -> str:
        """One line of text."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.error(key, f'is {value!r}; write text, in quotes if need be')
        return value.strip()

    def choice(self, key: str, options: Sequence[str], default: str | None = None) -> str:
        """One of a few words."""
        value = self.text(key, default)
        if value not in options:
            raise self.error(key, f'is {value!r}; {nearest(value, options)}')
        return value

    def number(
        self, key: str, default: float | None = None, *, above: float = -float('inf')
    ) -> float:
        """A finite number greater than `above`."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise self.error(key, f'is {value!r}; write a number such as 10 or 0.5')
        if not value > above:
            raise self.error(key, f'is {value!r}; it must be greater than {above:g}')
        return float(value)

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number greater than zero."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.error(key, f'is {value!r}; write a whole number from 1')
        return value

    def truth(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f'is {value!r}; write true or false')
        return value

    def words(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """A list of different texts, not empty."""
        value = self._get(key, default)
        for item in _listed(value) or [None]:
            if not isinstance(item, str) or not item:
                raise self.error(key, f'holds {item!r}; write a list of names, quoted if need be')
        twice = [item for place, item in enumerate(value) if item in value[:place]]
        if twice:
            raise self.error(key, f'holds {twice[0]!r} twice; name each once')
        return tuple(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        value = self._get(key, None)
        for item in _listed(value) or [None]:
            if isinstance(item, bool) or not isinstance(item, int | float) or not isfinite(item):
                raise self.error(key, f'holds {item!r}; write a list of numbers')
        return tuple(float(item) for item in value)

    def raw(self, key: str, default: object = None) -> Any:
        """The value as the file has it, or the default."""
        value = self._values.get(key)
        return default if value is None else value

    def mapping(self, key: str) -> dict[str, Any]:
        """A mapping whose keys are the writer's; empty when absent."""
        value = self._values.get(key) or {}
        if not isinstance(value, Mapping):
            raise self.error(key, f'is {value!r}; write "key: value" lines')
        return dict(value)

    def section(self, key: str, known: Iterable[str]) -> Section:
        """The mapping under a key; an absent one is empty."""
        return Section(self._values.get(key) or {}, self._at(key), known)

    def named_sections(self, key: str, known: Sequence[str]) -> Iterator[tuple[str, Section]]:
        """The mappings under the writer's own names; none when absent."""
        for name, value in self.mapping(key).items():
            yield str(name), Section(value, self._at(f'{key}.{name}'), known)

    def listed_sections(self, key: str, known: Sequence[str]) -> Iterator[Section]:
        """The mappings of a list; none when absent."""
        value = self._values.get(key) or []
        if not isinstance(value, list):
            raise self.error(key, f'is {value!r}; write a list, one "- key: value" for each')
        for place, item in enumerate(value):
            yield Section(item, self._at(f'{key}[{place}]'), known)

    def _get(self, key: str, default: Any) -> Any:
        value = self._values.get(key)
        if value is not None:
            return value
        if default is None:
            raise self.error(key, 'is missing; add it')
        return default

    def _at(self, key: str) -> str:
        return f'{self.place}.{key}' if ': ' in self.place else f'{self.place}: {key}'


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known word, and all of them."""
    options = list(known)
    near = get_close_matches(word, options, n=1, cutoff=0.5)
    listed = f'known: {", ".join(options) or "none"}'
    return f'did you mean {near[0]!r}? ({listed})' if near else listed


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else list(value) if isinstance(value, tuple) else []
