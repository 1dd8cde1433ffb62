# SPDX-License-Identifier: Apache-2.0
"""`flywheel plan` reads a harvest's folder and writes orders that its schema holds for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from episode_maker import EXAMPLES, harvest, make_manifest

from cosmos_flywheel import schemas
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.brief import Brief, Family
from cosmos_flywheel.core.variation import variations
from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.packs import load_pack

LIGHT = Family('same_failure_new_scene', 'recorded', {'light': ('dim', 'bright')})


def example(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((EXAMPLES / f'{name}.json').read_text('utf-8'))
    return document


def make_brief(out: Path, episode: str, cause: str, **changes: Any) -> Brief:
    """A brief of an episode, in its folder."""
    whole = Brief.from_document(example('brief-v1'))
    brief = replace(
        whole,
        files={},
        scene=replace(whole.scene, keyframes=(), keyframe_stamps_ns=(), controls={}),
        origin=replace(whole.origin, id=episode),
        failure=replace(whole.failure, cause=cause),
        **{'families': (LIGHT,), **changes},
    )
    folder = out / 'briefs' / brief.id
    folder.mkdir(parents=True)
    (folder / 'brief.json').write_text(json.dumps(brief.document()))
    return brief


def make_candidate(out: Path, brief: Brief, name: str, place: int = 0, seed: int = 0) -> str:
    """A candidate of a brief's variation; nothing but what says so."""
    folder = out / 'candidates' / name
    folder.mkdir(parents=True)
    variation = variations(brief)[place]
    manifest = example('candidate-v1') | {
        'id': name,
        'seed': seed,
        'variation': {
            'family': variation.family,
            'actions': variation.actions,
            'cell': dict(variation.cell),
        },
    }
    manifest['brief'] = manifest['brief'] | {'id': brief.id}
    (folder / 'manifest.json').write_text(json.dumps(manifest))
    (folder / 'brief.json').write_text(json.dumps(brief.document()))
    return name


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three failures, two of them alike; nobody judged the fourth episode."""
    manifests = [make_manifest(2.0 + 10 * n, bag=f'bag_{n}') for n in range(4)]
    manifests[2]['causes'], manifests[2]['firings'] = ['state'], []
    harvest(tmp_path, *manifests)
    with Catalogue.open(tmp_path) as catalogue:
        for manifest in manifests[:3]:
            catalogue.label(manifest['id'], 'failure', reviewer='ann')
    return tmp_path


def ids(out: Path) -> list[str]:
    with Catalogue.open(out) as catalogue:
        return [row.id for row in catalogue.episodes()]


def plan(out: Path, *words: object) -> dict[str, Any]:
    assert main(['plan', str(out), *map(str, words)]) == 0
    return schemas.load(out / 'plan.json', 'plan-v1')


def test_orders_name_a_brief_and_a_variation_of_it(out: Path, capsys: Any) -> None:
    one, _, three, _ = ids(out)
    slip, lost = make_brief(out, one, 'slip'), make_brief(out, three, 'lost')
    document = plan(out, '-n', 3)
    orders = {
        name: {v.cell['light'] for v in variations(brief)}
        for name, brief in ((slip.id, slip), (lost.id, lost))
    }
    for order in document['orders']:
        assert order['variation']['cell']['light'] in orders[order['brief']]
    assert [order['brief'] for order in document['orders']] == [slip.id, slip.id, lost.id]
    told = capsys.readouterr().out
    assert '1 of 6 cells stay empty: others are worth more' in told
    assert [cell['real'] for cell in document['cells']] == [1, 0, 0, 2, 0, 0]


def test_a_failure_without_a_brief_counts_as_its_cluster_does(out: Path, capsys: Any) -> None:
    make_brief(out, ids(out)[0], 'slip')
    document = plan(out)
    assert '1 of 3 failures are left out' in document['notes'][0]
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ['slip', 'the', 'box', '2'] in [row[:4] for row in rows]


def test_costs_and_conditions_change_what_comes_first(out: Path) -> None:
    one, two, three, _ = ids(out)
    make_brief(out, one, 'slip')
    lost = make_brief(out, three, 'lost')
    (out / 'costs.yaml').write_text('{schema: costs-v1, causes: {lost: 9, none: 2}}')
    document = plan(out, '-n', 1, '--cost', out / 'costs.yaml')
    assert document['orders'][0]['brief'] == lost.id
    assert "the costs name cause 'none', which no brief has" in document['notes']
    seen = {'schema': 'seen-v1', 'episodes': {one: {'light': 'dim'}, two: {'light': 'dim'}}}
    (out / 'seen.json').write_text(json.dumps(seen))
    document = plan(out, '-n', 1, '--seen', out / 'seen.json')
    covered = [c for c in document['cells'] if c['real']]
    assert [(c['cause'], c['variation']['cell'], c['before']) for c in covered] == [
        ('lost', {}, 1.0),
        ('slip', {'light': 'dim'}, 1.0),
    ]


def test_candidates_cover_their_cells_unless_they_were_rejected(out: Path) -> None:
    slip = make_brief(out, ids(out)[0], 'slip')
    one = make_candidate(out, slip, 'a' * 16, place=0, seed=4)
    assert plan(out, '-n', 1)['orders'][0]['variation']['cell'] == {'light': 'bright'}
    (out / 'no.txt').write_text(f'{one}\n')
    document = plan(out, '-n', 2, '--rejected', out / 'no.txt')
    assert [order['seed'] for order in document['orders']] == [0, 5]
    assert document['survival'] == pytest.approx(0.25)
    document = plan(out, '-n', 9, '--accepted', out / 'no.txt')
    assert {order['variation']['cell']['light'] for order in document['orders']} == {'bright'}


def test_a_candidate_of_a_brief_that_was_edited_away_is_told(out: Path) -> None:
    one = ids(out)[0]
    old = make_brief(out, one, 'unknown')
    make_candidate(out, old, 'a' * 16)
    new = make_brief(out, one, 'slip', parents=(f'brief:{old.id}',))
    document = plan(out)
    assert {order['brief'] for order in document['orders']} == {new.id}
    assert '1 of 1 candidates are of no cell that a brief orders now' in document['notes']


def test_only_what_a_named_generator_makes_is_ordered(out: Path, capsys: Any) -> None:
    floor = Family('same_failure_new_scene', 'recorded', {'floor': ('wet',)})
    one, _, three, _ = ids(out)
    make_brief(out, one, 'slip')
    make_brief(out, three, 'lost', families=(floor,))
    document = plan(out, '--backend', 'augment')
    assert {order['backends'][0] for order in document['orders']} == {'augment'}
    assert [cell['empty_because'] for cell in document['cells']] == [
        None,
        'augment does not vary floor; it varies camera, light, sensor',
        *[None] * 3,
    ]
    assert '1 of 5 cells stay empty: augment does not vary floor' in capsys.readouterr().out
    assert main(['plan', str(out), '--backend', 'augmen']) == 2
    assert "did you mean 'augment'" in capsys.readouterr().err


def test_the_page_draws_every_cell_and_escapes_what_it_quotes(out: Path) -> None:
    odd = Family('same_failure_new_scene', 'recorded', {'light': ('<script>', 'dim')})
    make_brief(out, ids(out)[0], 'slip', families=(odd,))
    document = plan(out, '-n', 1, '--page', out / 'page.html')
    page = (out / 'page.html').read_text()
    assert page.count('class="bar"') == len(document['cells']) == 3
    assert '<script>' not in page
    assert '&lt;script&gt;' in page
    assert page.count('others are worth more') == 1


def test_the_same_folder_gives_the_same_plan(out: Path) -> None:
    make_brief(out, ids(out)[0], 'slip')
    assert plan(out) == plan(out)


@pytest.mark.parametrize(
    ('name', 'text', 'told'),
    [
        ('--cost', '{schema: costs-v1, causes: {slip: -1}}', 'causes.slip'),
        ('--seen', '{schema: seen-v1, episodes: {x: {}}}', "'x' does not match"),
        ('-n', '0', 'give at least 1'),
    ],
)
def test_what_cannot_be_meant_is_refused(
    name: str, text: str, told: str, out: Path, capsys: Any
) -> None:
    make_brief(out, ids(out)[0], 'slip')
    path = out / 'file.yaml'
    path.write_text(text)
    assert main(['plan', str(out), name, text if name == '-n' else str(path)]) == 2
    assert told in capsys.readouterr().err


def test_a_folder_without_briefs_or_catalogue_is_told(
    out: Path, tmp_path_factory: pytest.TempPathFactory, capsys: Any
) -> None:
    assert main(['plan', str(out)]) == 2
    assert 'no brief to plan for; run: flywheel brief --all' in capsys.readouterr().err
    empty = tmp_path_factory.mktemp('empty')
    make_brief(empty, '0' * 16, 'slip')
    assert main(['plan', str(empty)]) == 2
    assert 'holds no catalogue' in capsys.readouterr().err
    assert not (empty / 'catalogue.sqlite').exists()


def test_a_brief_edited_into_nonsense_is_named(out: Path, capsys: Any) -> None:
    brief = make_brief(out, ids(out)[0], 'slip')
    path = out / 'briefs' / brief.id / 'brief.json'
    document = json.loads(path.read_text())
    document['families'][0]['actions'] = 'magic'
    path.write_text(json.dumps(document))
    assert main(['plan', str(out)]) == 2
    assert f'{brief.id}/brief.json' in capsys.readouterr().err
    document['families'][0]['actions'] = 'perturbed'
    path.write_text(json.dumps(document))
    assert main(['plan', str(out)]) == 2
    assert f'was edited; take it in with: flywheel brief {path.parent}' in capsys.readouterr().err
    assert main(['brief', str(path.parent)]) == 0
    assert plan(out)['orders'][0]['variation']['actions'] == 'perturbed'


def test_what_a_cause_costs_is_said_by_its_pack(out: Path) -> None:
    one, _, three, _ = ids(out)
    make_brief(out, one, 'object_lost')
    make_brief(out, three, 'object_lost', pack='my_own')
    costs = {cause.name: cause.cost for cause in load_pack('embodied_robot')[0].causes}
    document = plan(out)
    assert {cell['cost'] for cell in document['cells']} == {costs['object_lost']}
    assert costs['object_lost'] > 1
    assert (
        "pack 'my_own' is not shipped: what its causes cost is not known (--cost)"
        in document['notes']
    )
