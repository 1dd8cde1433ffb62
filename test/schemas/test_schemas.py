# SPDX-License-Identifier: Apache-2.0
"""Every file that crosses stages is checked by a schema that is valid and has an example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from cosmos_flywheel import schemas
from cosmos_flywheel.core.errors import SchemaError

EXAMPLES = Path(__file__).parent / 'examples'
CONFIG = Path(__file__).resolve().parents[2] / 'config'
SCHEMAS = Path(schemas.__file__).parent


def example(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((EXAMPLES / f'{name}.json').read_text('utf-8'))
    return document


def example_paths(name: str) -> list[Path]:
    """The example beside this test, and shipped files of that kind."""
    folder = name.rpartition('-v')[0]
    shipped = [*CONFIG.glob(f'{folder}/*.yaml'), *CONFIG.glob(f'{folder}s/*.yaml')]
    return [path for path in (EXAMPLES / f'{name}.json', *shipped) if path.exists()]


@pytest.mark.parametrize('name', schemas.names())
def test_each_schema_is_itself_valid_and_names_itself(name: str) -> None:
    schema = json.loads((SCHEMAS / f'{name}.json').read_text('utf-8'))
    Draft202012Validator.check_schema(schema)
    assert schema['$schema'] == Draft202012Validator.META_SCHEMA['$id']
    assert schema['properties']['schema'] == {'const': name}
    assert 'schema' in schema['required']


@pytest.mark.parametrize('name', schemas.names())
def test_each_schema_has_an_example_that_holds(name: str) -> None:
    paths = example_paths(name)
    assert paths, f'add test/schemas/examples/{name}.json'
    for path in paths:
        assert schemas.load(path, name)['schema'] == name


@pytest.mark.parametrize('name', schemas.names())
def test_each_example_needs_every_required_field(name: str) -> None:
    document = schemas.read_document(example_paths(name)[0])
    required = json.loads((SCHEMAS / f'{name}.json').read_text('utf-8'))['required']
    for field in required:
        less = {key: value for key, value in document.items() if key != field}
        with pytest.raises(SchemaError, match=field):
            schemas.check(less, name)


def test_unknown_fields_are_kept(tmp_path: Path) -> None:
    path = tmp_path / 'manifest.json'
    path.write_text(json.dumps(example('episode-v1') | {'weather': {'rain': True}}))
    assert schemas.load(path, 'episode-v1')['weather'] == {'rain': True}


def test_an_unknown_major_version_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / 'manifest.json'
    path.write_text(json.dumps(example('episode-v1') | {'schema': 'episode-v2'}))
    with pytest.raises(SchemaError, match=r"manifest\.json.*'episode-v2'.*install a version"):
        schemas.load(path, 'episode-v1')


def test_another_kind_of_file_is_refused() -> None:
    with pytest.raises(SchemaError, match="'run-v1'; give a 'episode-v1' file"):
        schemas.check(example('run-v1'), 'episode-v1')


def test_an_unknown_schema_suggests_the_nearest() -> None:
    with pytest.raises(SchemaError, match="did you mean 'episode-v1'"):
        schemas.check({'schema': 'epsode-v1'}, 'epsode-v1')


def test_a_wrong_field_is_named_with_its_path() -> None:
    document = example('episode-v1')
    document['channels']['picture']['peak'] = 'high'
    with pytest.raises(SchemaError, match=r"'channels\.picture\.peak'.*'high' is not of type"):
        schemas.check(document, 'episode-v1', where='ep/manifest.json')


def test_a_long_value_is_cut_in_the_message() -> None:
    document = example('episode-v1') | {'notes': 'x' * 100_000}
    with pytest.raises(SchemaError, match="is not of type 'array'") as caught:
        schemas.check(document, 'episode-v1')
    assert len(str(caught.value)) < 500


def test_numpy_numbers_and_tuples_are_accepted() -> None:
    document = example('calibration-v1') | {
        'size': (np.int64(192), 320),
        'clock_hz': np.float32(15),
    }
    schemas.check(document, 'calibration-v1')


def test_nan_is_refused_by_name() -> None:
    with pytest.raises(SchemaError, match='clock_hz is not a finite number'):
        schemas.check(example('calibration-v1') | {'clock_hz': float('nan')}, 'calibration-v1')


@pytest.mark.parametrize(
    'name', ['../clip.mcap', '/etc/passwd', 'a/../../b', '.hidden', 'a\\b', '']
)
def test_files_cannot_lie_outside_their_episode(name: str) -> None:
    document = example('episode-v1')
    document['clip']['file'] = name
    with pytest.raises(SchemaError, match=r'clip\.file'):
        schemas.check(document, 'episode-v1')


@pytest.mark.parametrize(
    ('text', 'reason'),
    [('{', 'is not JSON'), ('[1]', 'holds no fields'), ('', 'is not JSON'), ('[' * 9999, 'JSON')],
)
def test_a_file_that_is_not_a_document_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / 'run.json'
    path.write_text(text)
    with pytest.raises(SchemaError, match=f'run.json: .*{reason}'):
        schemas.load(path, 'run-v1')


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r'none\.json: cannot be read .*check the path'):
        schemas.load(tmp_path / 'none.json', 'run-v1')


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'triggers.yaml'
    path.write_bytes(b'\xff\xfe\x00')
    with pytest.raises(SchemaError, match=r'triggers\.yaml: is not YAML'):
        schemas.load(path, 'triggers-v1')
