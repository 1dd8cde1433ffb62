# SPDX-License-Identifier: Apache-2.0
"""Turns a document that crosses stages into a checked one, by the JSON Schema that it names.

Each document says what it is in its field `schema`, for instance `episode-v1`. Unknown fields are
kept; a version that this package does not know is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from cosmos_flywheel.core.errors import SchemaError
from cosmos_flywheel.core.lineage import canonical_json
from cosmos_flywheel.core.settings import nearest

_SUFFIX = '.json'
_LONGEST_REASON = 300


def names() -> tuple[str, ...]:
    """All schemas that this version knows, such as `episode-v1`."""
    found = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(n.removesuffix(_SUFFIX) for n in found if n.endswith(_SUFFIX)))


def check(document: Mapping[str, Any], name: str, *, where: str = 'document') -> None:
    """Raise SchemaError, naming `where` and the field, unless the document is a valid `name`."""
    _check_version(document, name, where)
    try:
        plain = json.loads(canonical_json(document))
    except SchemaError as error:
        raise SchemaError(f'{where}: {error}') from error
    fault = best_match(_validator(name).iter_errors(plain))
    if fault is not None:
        raise SchemaError(f'{where}: {_explain(fault)}; correct it (schema {name})')


def load(path: Path, name: str) -> dict[str, Any]:
    """Read a JSON or YAML file and check it; SchemaError names the file and what is wrong."""
    document = read_document(path)
    check(document, name, where=str(path))
    return document


def read_document(path: Path) -> dict[str, Any]:
    """Read a JSON or YAML mapping without checking what is in it."""
    parse: Callable[[str], Any] = json.loads if path.suffix == _SUFFIX else yaml.safe_load
    try:
        document = parse(path.read_text(encoding='utf-8'))
    except OSError as error:
        reason = error.strerror or error
        raise SchemaError(f'{path}: cannot be read ({reason}); check the path') from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        kind = 'JSON' if path.suffix == _SUFFIX else 'YAML'
        raise SchemaError(f'{path}: is not {kind} ({error}); correct or replace it') from error
    if not isinstance(document, dict):
        raise SchemaError(f'{path}: holds no fields; it should begin with "schema"')
    return document


def _check_version(document: Mapping[str, Any], name: str, where: str) -> None:
    stated = document.get('schema')
    if stated == name:
        return
    if stated is None:
        raise SchemaError(f'{where}: field "schema" is missing; it should be {name!r}')
    kind, _, _ = name.rpartition('-v')
    if str(stated).rpartition('-v')[0] == kind:
        raise SchemaError(
            f'{where}: field "schema" is {stated!r}, but this version of cosmos_flywheel knows '
            f'{name!r} only; install a version that knows {stated!r}'
        )
    raise SchemaError(f'{where}: field "schema" is {stated!r}; give a {name!r} file instead')


@cache
def _validator(name: str) -> Draft202012Validator:
    if name not in names():
        raise SchemaError(f'no schema {name!r} is known; {nearest(name, names())}')
    return Draft202012Validator(json.loads((files(__name__) / f'{name}.json').read_bytes()))


def _explain(fault: ValidationError) -> str:
    field = fault.json_path.removeprefix('$').removeprefix('.')
    reason = fault.message
    if len(reason) > _LONGEST_REASON:
        reason = '… ' + reason[-_LONGEST_REASON:]  # what is expected stands at the end
    return f'field {field!r}: {reason}' if field else reason
