# SPDX-License-Identifier: Apache-2.0
"""What a harvest writes, and everything that may be wrong with where and by what it is told to."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from episode_maker import EXAMPLES
from harvest_outcome import Outcome, content, folders
from push_bags import (
    COMMANDS,
    STATES,
    Row,
    covered,
    header,
    recording,
    renamed,
    ros,
    text,
    write,
)

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.cli.main import main

Harvest = Callable[..., Any]


@pytest.fixture(scope='module')
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bags: two with a failure, one without. The first was imported, says `source.json`."""
    bags = tmp_path_factory.mktemp('several') / 'bags'
    source = (EXAMPLES / 'source-v1.json').read_text('utf-8')
    bags.mkdir()
    (bags.parent / 'source.json').write_text(source.replace('episode_000000"', 'a"'))
    write(bags / 'a', covered())
    write(bags / 'b', covered(4.0, 0.9))
    write(bags / 'c', recording(2.0, 1.7))
    return bags


@pytest.fixture(scope='module')
def harvested(several: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What becomes of them, by one worker."""
    folder = tmp_path_factory.mktemp('harvested')
    out, path = folder / 'out', folder / 'found.json'
    words = ['harvest', several, '--model', model, '--out', out, '--json', path, '--workers', 1]
    assert main([str(word) for word in words]) == 0
    found = Outcome(0, '', '', json.loads(path.read_text('utf-8')), out)
    assert len(found.episodes) == 2
    return found


def test_the_licence_of_an_import_goes_with_its_episodes_and_no_others(
    harvested: Outcome,
) -> None:
    manifests = harvested.episodes.values()
    licences = {m['source']['name']: m['provenance']['licence'] for m in manifests}
    assert licences == {'a': 'mit', 'b': None}


@pytest.fixture
def copied(harvested: Outcome, tmp_path: Path) -> Path:
    """A copy of what they became, to go on with."""
    return shutil.copytree(harvested.out, tmp_path / 'out')


def test_a_clips_messages_are_those_of_the_bag_byte_by_byte(
    tmp_path: Path, harvest: Harvest
) -> None:
    rows = [*covered(), *(Row('/say', n / 10, text(f'word {n}')) for n in range(40))]
    bag = write(tmp_path / 'bag', rows)
    found = harvest(bag)
    (manifest,) = found.episodes.values()
    start_ns, end_ns = (manifest['window'][key] for key in ('start_ns', 'end_ns'))
    with open_bag(bag) as source, open_bag(found.out / manifest['id'] / 'clip.mcap') as clip:
        kept = list(clip.messages())
        assert kept == list(source.messages(None, start_ns, end_ns))
        assert len(kept) == sum(manifest['clip']['messages'].values())
        assert {m.topic for m in kept} == set(source.topics)
        for topic in source.topics:
            assert clip.message_definition(topic) == source.message_definition(topic)


def same(found: Outcome, other: Outcome) -> None:
    """Equal in everything that people and programs read."""
    assert found.code == other.code == 0
    assert found.document == other.document
    assert content(found.out) == content(other.out)
    assert found.content_hash == other.content_hash
    assert (found.out / 'report.html').read_bytes() == (other.out / 'report.html').read_bytes()


def test_two_workers_find_and_write_what_one_does(
    several: Path, harvested: Outcome, harvest: Harvest
) -> None:
    same(harvest(several, '--workers', 2), harvested)


def test_a_second_run_watches_nothing_again_and_changes_nothing(
    several: Path,
    harvested: Outcome,
    copied: Path,
    harvest: Harvest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr('cosmos_flywheel.capture.harvest.Analysis', None)  # cannot watch at all
    same(harvest(several, out=copied), harvested)


def test_further_bags_join_an_output_folder(
    several: Path, harvested: Outcome, harvest: Harvest
) -> None:
    assert len(harvest(several / 'a').episodes) == 1
    same(harvest(several), harvested)


@pytest.mark.parametrize('damage', ['trace', 'record', 'episode', 'catalogue'])
def test_what_was_damaged_or_deleted_since_is_made_anew(
    several: Path, harvested: Outcome, copied: Path, harvest: Harvest, damage: str
) -> None:
    if damage == 'trace':
        for path in (copied / 'traces').iterdir():
            path.write_bytes(path.read_bytes()[:100])
    elif damage == 'record':
        shutil.rmtree(copied / 'bags')
    elif damage == 'episode':
        shutil.rmtree(copied / folders(copied)[0])
    else:
        (copied / 'catalogue.sqlite').unlink()
    same(harvest(several, out=copied), harvested)


@pytest.mark.parametrize('name', ['holiday.jpg', 'bags', 'report.html'])
def test_a_folder_that_holds_something_else_is_left_alone(
    covered_bag: Path, tmp_path: Path, harvest: Harvest, name: str
) -> None:
    out = tmp_path / 'mine'
    out.mkdir()
    (out / name).write_text('dear to me')
    found = harvest(covered_bag, out=out)
    assert found.code == 2
    assert f'{out}: exists and holds something else ({name}, …)' in found.complained
    assert 'give another --out' in found.complained
    assert [path.name for path in out.iterdir()] == [name]


def test_a_file_where_the_output_folder_should_be_is_named(
    covered_bag: Path, tmp_path: Path, harvest: Harvest
) -> None:
    (tmp_path / 'out').write_text('a file')
    found = harvest(covered_bag)
    assert found.code == 2
    assert f'{tmp_path / "out"}: cannot be used (File exists)' in found.complained
    assert (tmp_path / 'out').read_text() == 'a file'


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a disk of so many kilobytes."""
    disk = tmp_path / 'disk'
    disk.mkdir()

    def mount(size_kb: int) -> Path:
        command = ['mount', '-t', 'tmpfs', '-o', f'size={size_kb}k', 'none', str(disk)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip('a small disk cannot be mounted here')
        return disk

    yield mount
    subprocess.run(['umount', str(disk)], check=False, capture_output=True)


@pytest.mark.parametrize('size_kb', [16, 140, 400])
def test_a_full_disk_is_named_and_with_more_space_the_harvest_goes_on(
    covered_bag: Path, harvest: Harvest, small_disk: Callable[[int], Path], size_kb: int
) -> None:
    disk = small_disk(size_kb)
    out = disk / 'out'
    found = harvest(covered_bag, out=out)
    assert found.code == 2
    assert str(disk) in found.complained
    assert 'disk' in found.complained
    assert 'space' in found.complained
    assert found.document is None
    subprocess.run(['mount', '-o', 'remount,size=20m', str(disk)], check=True)
    found = harvest(covered_bag, out=out)
    assert found.code == 0
    assert len(found.episodes) == 1


@pytest.mark.parametrize('call', ['fsync', 'rename', 'replace', 'link', 'mkdir'])
def test_a_disk_that_fills_up_at_any_step_leaves_nothing_half_written(
    covered_bag: Path, harvest: Harvest, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        found = harvest(covered_bag)
        if found.code == 0:  # this step has another way, or pathlib its own name for it
            assert call == 'link' or (call == 'mkdir' and sys.version_info < (3, 11))
        else:
            assert found.code == 2
            assert 'space' in found.complained
    found = harvest(covered_bag)
    assert found.code == 0
    assert len(found.episodes) == 1


def test_json_for_a_folder_that_does_not_exist_is_an_error_before_the_work(
    covered_bag: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / 'absent' / 'found.json', tmp_path / 'out'
    words = ['harvest', covered_bag, '--model', model, '--out', out, '--json', path]
    assert main([str(word) for word in words]) == 2
    assert f'{path}: cannot be written; give a file in a folder' in capsys.readouterr().err
    assert not out.exists()


def test_a_model_of_another_robot_is_refused(covered_bag: Path, harvest: Harvest) -> None:
    found = harvest(covered_bag, '--robot', 'g1')
    assert found.code == 2
    assert "is of robot 'mujoco_push', not of 'g1'" in found.complained
    assert '--robot mujoco_push' in found.complained
    assert not found.out.exists()


def test_an_unknown_robot_suggests_the_nearest(covered_bag: Path, harvest: Harvest) -> None:
    found = harvest(covered_bag, '--robot', 'mujocopush')
    assert found.code == 2
    assert "no robot 'mujocopush' is shipped" in found.complained
    assert 'mujoco_push' in found.complained
    assert not found.out.exists()


def test_a_folder_without_a_model_says_how_to_make_one(
    covered_bag: Path, tmp_path: Path, harvest: Harvest
) -> None:
    found = harvest(covered_bag, '--model', tmp_path, judged=False)
    assert found.code == 2
    assert f'{tmp_path}: no model here' in found.complained
    assert '`flywheel fit NOMINAL_BAGS' in found.complained


def test_an_edited_model_is_refused(
    covered_bag: Path, tmp_path: Path, model: Path, harvest: Harvest
) -> None:
    edited = tmp_path / 'edited'
    shutil.copytree(model, edited)
    path = edited / 'calibration.json'
    document = json.loads(path.read_text())
    document['channels']['picture']['threshold'] = 1e9
    path.write_text(json.dumps(document))
    found = harvest(covered_bag, '--model', edited, judged=False)
    assert found.code == 2
    assert 'was edited' in found.complained
    path.write_text('{')
    found = harvest(covered_bag, '--model', edited, judged=False)
    assert found.code == 2
    assert f'{path}: is not JSON' in found.complained


@pytest.mark.parametrize(
    'words', [['--workers', 0], ['--pre-roll', -1], ['--post-roll', 'nan'], ['--pre-roll', 1e9]]
)
def test_options_out_of_range_are_named(
    covered_bag: Path, harvest: Harvest, words: list[object]
) -> None:
    found = harvest(covered_bag, *words)
    assert found.code == 2
    assert str(words[0]) in found.complained


TRIGGERS = """
schema: triggers-v1
triggers:
  - {name: squeezed, kind: field, topic: /grip, field: data, above: 5.0}
  - {name: driver, kind: diagnostics}
  - {name: no_words, kind: silence, topic: /say, longer_than_s: 0.5}
  - {name: operator, kind: mark, topic: /mark, text: data}
"""


def diagnostics(at_s: float, level: int) -> Any:
    status = ros('diagnostic_msgs/DiagnosticStatus', level, 'arm', 'too hot', 'arm 1', [])
    return ros('diagnostic_msgs/DiagnosticArray', header(at_s), [status])


@pytest.mark.parametrize('rolls', [[], ['--pre-roll', 0.5, '--post-roll', 0.5]])
def test_a_trigger_file_opens_captures_beside_the_alarms(
    tmp_path: Path, harvest: Harvest, rolls: list[object]
) -> None:
    rows = recording(12.0, 1.7)
    rows += [
        Row('/grip', n / 5, ros('std_msgs/Float64', 9.0 if n == 5 else 1.0)) for n in range(60)
    ]
    rows += [
        Row('/diagnostics', n + 0.5, diagnostics(n + 0.5, 2 if n == 4 else 0)) for n in range(11)
    ]
    rows += [Row('/say', n / 5, text('word')) for n in range(60) if not 35 <= n < 40]
    rows += [Row('/mark', 10.5, text('look <b>here</b>'))]
    (tmp_path / 'triggers.yaml').write_text(TRIGGERS)
    bag = write(tmp_path / 'told', rows)
    found = harvest(bag, '--triggers', tmp_path / 'triggers.yaml', *rolls)
    assert found.code == 0, found.complained
    assert [(e['causes'], round(e['onset_s'], 1)) for e in found.bag['episodes']] == [
        (['trigger:squeezed'], 1.0),
        (['trigger:driver'], 4.5),
        (['trigger:no_words'], 7.3),
        (['trigger:operator'], 10.5),
    ]
    firings = [f for m in found.episodes.values() for f in m['firings']]
    assert 'look <b>here</b>' in {f['detail'] for f in firings}
    assert '<b>here' not in (found.out / 'report.html').read_text('utf-8')


def test_a_wrong_trigger_file_is_an_error_before_the_work(
    covered_bag: Path, tmp_path: Path, harvest: Harvest
) -> None:
    path = tmp_path / 'triggers.yaml'
    found = harvest(covered_bag, '--triggers', path)
    assert found.code == 2
    assert f'{path}: cannot be read' in found.complained
    path.write_text('schema: triggers-v1\ntriggers: [{name: x, kind: feild, topic: /a}]')
    found = harvest(covered_bag, '--triggers', path)
    assert found.code == 2
    assert 'triggers[0]' in found.complained
    assert 'field' in found.complained
    assert not found.out.exists()


def test_a_trigger_on_a_topic_that_is_not_there_is_a_note(
    covered_bag: Path, tmp_path: Path, harvest: Harvest
) -> None:
    path = tmp_path / 'triggers.yaml'
    path.write_text('schema: triggers-v1\ntriggers: [{name: x, kind: mark, topic: /mrak}]')
    found = harvest(covered_bag, '--triggers', path)
    assert found.code == 0
    assert found.notes == 'not in this bag: /mrak'


def test_a_trigger_on_a_field_that_is_not_there_is_a_note(
    covered_bag: Path, tmp_path: Path, harvest: Harvest
) -> None:
    path = tmp_path / 'triggers.yaml'
    entry = f'{{name: x, kind: field, topic: {STATES}, field: positoin, above: 1}}'
    path.write_text(f'schema: triggers-v1\ntriggers: [{entry}]')
    found = harvest(covered_bag, '--triggers', path)
    assert found.code == 0
    assert 'positoin' in found.notes


def test_episodes_can_be_listed_shown_and_labelled(
    several: Path,
    harvested: Outcome,
    copied: Path,
    harvest: Harvest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = (bag['episodes'][0]['id'] for bag in harvested.document['bags'][:2])

    def episodes(*words: object) -> str:
        assert main(['episodes', *map(str, words)]) == 0
        return capsys.readouterr().out

    assert first in episodes('list', copied)
    assert second in episodes('list', copied)
    assert 'picture' in episodes('show', first, '--out', copied)
    episodes('label', first, 'failure', '--reason', 'tape', '--reviewer', 'ada', '--out', copied)
    failures = json.loads(episodes('list', copied, '--state', 'failure', '--json'))
    assert [row['id'] for row in failures] == [first]
    shown = json.loads(episodes('show', first, '--out', copied, '--json'))
    assert 'tape' in json.dumps(shown)
    assert harvest(several, out=copied).code == 0
    assert first in episodes('list', copied, '--state', 'failure')


def test_fit_names_what_is_wrong_with_nominal_bags(
    nominal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fit(*bags: Path, out: str = 'm') -> str:
        words = ['fit', *bags, '--robot', 'mujoco_push', '-o', tmp_path / out]
        words += ['--engine', 'flow', '--workers', 1]
        assert main([str(word) for word in words]) == 2
        complained = capsys.readouterr().err
        assert not (tmp_path / 'm').exists()
        return complained

    bag = nominal / 'nominal_0'
    assert 'gone: no such bag' in fit(tmp_path / 'gone')
    assert 'silent: holds no messages' in fit(bag, write(tmp_path / 'silent', []))
    words = write(tmp_path / 'words', [Row('/say', 0.1, text('x'))])
    assert 'words' in fit(bag, words)
    shutil.copytree(bag, tmp_path / 'twin')
    assert 'the same recording as' in fit(bag, tmp_path / 'twin')
    mute = write(tmp_path / 'mute', renamed(recording(2.0), COMMANDS, '/other'))
    assert "mute: of robot 'mujoco_push' it does not hold the same topics" in fit(bag, mute)
    (tmp_path / 'old').mkdir()
    (tmp_path / 'old' / 'calibration.json').write_text('{}')
    assert '--force to replace it' in fit(tmp_path / 'gone', out='old')


def test_a_model_that_failed_its_preflight_is_told_beside_what_it_found(
    harvest: Harvest, model: Path, covered_bag: Path, root: Path, tmp_path: Path
) -> None:
    wrong = shutil.copytree(model, tmp_path / 'wrong')
    shutil.copy(root / 'test/schemas/examples/preflight-v1.json', wrong / 'preflight.json')
    found = harvest(covered_bag, '--model', wrong, judged=False)
    assert found.episodes
    assert 'preflight of the model failed: units: x, y, z' in found.said
    assert 'a harvest does not ask for it, a live monitor does' in found.said
