# SPDX-License-Identifier: Apache-2.0
"""Bags that are missing, damaged, foreign or hostile: a clear word, and the sound ones go on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from push_bags import (
    CAMERA,
    COVERED_S,
    ROS1_TYPES,
    START_NS,
    STATES,
    TYPES,
    Row,
    covered,
    recording,
    renamed,
    storage_file,
    text,
    write,
    write_ros1,
)

Harvest = Callable[..., Any]


def write_mcap(path: Path, rows: list[Row], strange: dict[str, str] | None = None) -> Path:
    """One MCAP file in small chunks; `strange` topics get a type that nobody defines."""
    channels: dict[str, int] = {}
    with path.open('wb') as file:
        writer = McapWriter(file, chunk_size=20_000, compression=CompressionType.ZSTD)
        writer.start('ros2', 'test')
        for row in rows:
            kind = row.message.__msgtype__
            if row.topic not in channels:
                name = (strange or {}).get(row.topic, kind)
                known = name == kind
                definition = TYPES.generate_msgdef(kind, ros_version=2)[0] if known else ''
                schema = writer.register_schema(name, 'ros2msg', definition.encode())
                channels[row.topic] = writer.register_channel(row.topic, 'cdr', schema)
            data = bytes(TYPES.serialize_cdr(row.message, kind))
            at_ns = START_NS + round(row.at_s * 1e9)
            writer.add_message(channels[row.topic], at_ns, data, at_ns)
        writer.finish()
    return path


def finds_the_covered_lens(found: Any) -> None:
    assert found.code == 0, found.complained
    (episode,) = found.bag['episodes']
    assert episode['causes'] == ['picture']
    assert COVERED_S <= episode['onset_s'] < COVERED_S + 0.3


def test_a_bag_that_does_not_exist_is_named(tmp_path: Path, harvest: Harvest) -> None:
    found = harvest(tmp_path / 'absent')
    assert found.code == 2
    assert f'{tmp_path / "absent"}: no such bag' in found.complained
    assert found.document is None
    assert not found.out.exists()


def test_a_folder_without_bags_says_what_to_name(tmp_path: Path, harvest: Harvest) -> None:
    (tmp_path / 'empty').mkdir()
    found = harvest(tmp_path / 'empty')
    assert found.code == 2
    assert 'empty: no bag here; name a rosbag2 folder, .mcap, .db3 or .bag' in found.complained
    assert not found.out.exists()


def test_a_bag_without_messages_is_named(tmp_path: Path, harvest: Harvest) -> None:
    found = harvest(write(tmp_path / 'silent', []))
    assert found.code == 2
    assert 'no bag could be harvested' in found.complained
    assert 'silent: holds no messages' in found.bag['error']
    assert found.bag['duration_s'] is None


def test_an_empty_file_is_named(tmp_path: Path, harvest: Harvest) -> None:
    (tmp_path / 'nothing.mcap').touch()
    found = harvest(tmp_path / 'nothing.mcap')
    assert found.code == 2
    assert 'nothing.mcap: empty file (0 bytes)' in found.bag['error']


def test_a_file_that_is_no_bag_is_named(tmp_path: Path, harvest: Harvest) -> None:
    path = tmp_path / 'notes.mcap'
    path.write_text('not a bag at all, only notes')
    found = harvest(path)
    assert found.code == 2
    assert 'notes.mcap: not an MCAP file' in found.bag['error']


@pytest.mark.timeout(60)
def test_a_pipe_is_named_and_not_waited_for(tmp_path: Path, harvest: Harvest) -> None:
    (tmp_path / 'bags').mkdir()
    os.mkfifo(tmp_path / 'bags' / 'pipe.mcap')
    found = harvest(tmp_path / 'bags')
    assert found.code == 2
    assert 'pipe.mcap: a pipe or device, not a file' in found.bag['error']


def test_after_a_power_cut_what_is_there_is_harvested_and_what_is_missing_is_said(
    tmp_path: Path, harvest: Harvest
) -> None:
    path = write_mcap(tmp_path / 'cut.mcap', covered())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.8)])
    found = harvest(path)
    finds_the_covered_lens(found)
    assert 2.8 < found.bag['duration_s'] < 3.8
    assert 'cut.mcap: cut off at byte' in found.notes
    (manifest,) = found.episodes.values()
    assert 'cut off at byte' in manifest['source']['damage']


def test_a_chunk_spoilt_in_the_middle_is_skipped_and_counted(
    tmp_path: Path, harvest: Harvest
) -> None:
    path = write_mcap(tmp_path / 'spoilt.mcap', recording())
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(data)
    found = harvest(path)
    assert found.code == 0
    assert 'cannot be read' in found.notes
    assert 'picture' not in found.causes


def test_a_bag_without_metadata_is_harvested(covered_bag: Path, harvest: Harvest) -> None:
    (covered_bag / 'metadata.yaml').unlink()
    finds_the_covered_lens(harvest(covered_bag))


def test_a_sqlite_bag_is_harvested(tmp_path: Path, harvest: Harvest) -> None:
    finds_the_covered_lens(harvest(write(tmp_path / 'lite', covered(), 'sqlite3')))


def test_a_ros1_bag_is_harvested_and_its_clip_opens_in_ros2(
    tmp_path: Path, harvest: Harvest
) -> None:
    rows = recording(covered_s=COVERED_S, types=ROS1_TYPES)
    found = harvest(write_ros1(tmp_path / 'old.bag', rows))
    finds_the_covered_lens(found)
    (manifest,) = found.episodes.values()
    assert manifest['source']['format'] == 'ros1'
    assert manifest['clip']['messages'][CAMERA] > 20


def test_a_recording_split_in_five_is_one_bag(tmp_path: Path, harvest: Harvest) -> None:
    rows, bag = covered(), tmp_path / 'split'
    bag.mkdir()
    share = -(-len(rows) // 5)
    for part in range(5):
        write_mcap(bag / f'split_{part}.mcap', rows[part * share : (part + 1) * share])
    found = harvest(bag)
    finds_the_covered_lens(found)
    assert found.bag['notes'] == []


def test_a_lost_part_of_a_split_recording_is_a_gap_and_a_note(
    tmp_path: Path, harvest: Harvest
) -> None:
    bag = write(tmp_path / 'split', [row for row in recording() if row.at_s < 1.0])
    metadata = (bag / 'metadata.yaml').read_text()
    (bag / 'metadata.yaml').write_text(
        metadata.replace('- split.mcap', '- split.mcap\n  - split_1.mcap')
    )
    found = harvest(bag)
    assert found.code == 0
    assert 'split_1.mcap of metadata.yaml not here' in found.notes


def test_a_topic_of_an_unknown_type_does_not_stop_the_others(
    tmp_path: Path, harvest: Harvest
) -> None:
    rows = [*covered(), *(Row('/secret', n / 10, text('x')) for n in range(40))]
    rows.sort(key=lambda row: row.at_s)
    path = write_mcap(tmp_path / 'a.mcap', rows, {'/secret': 'corp_msgs/msg/Secret'})
    found = harvest(path)
    finds_the_covered_lens(found)
    (manifest,) = found.episodes.values()
    assert manifest['clip']['messages']['/secret'] > 20


def test_a_watched_topic_of_an_unknown_type_is_said(tmp_path: Path, harvest: Harvest) -> None:
    path = write_mcap(tmp_path / 'a.mcap', recording(), {STATES: 'corp_msgs/msg/Joints'})
    found = harvest(path, '--robot', 'mujoco_push', judged=False)
    assert found.code == 0
    assert f'message type unknown, not looked at: {STATES}' in found.notes


def test_a_file_that_may_not_be_read_is_named(
    covered_bag: Path, tmp_path: Path, model: Path
) -> None:
    path = storage_file(covered_bag)
    path.chmod(0)
    words = [str(w) for w in ('harvest', covered_bag, '--model', model, '--out', tmp_path / 'out')]
    command = [sys.executable, '-m', 'cosmos_flywheel.cli.main', *words]
    if os.geteuid() == 0:
        if shutil.which('setpriv') is None:
            pytest.skip('root may read everything, and setpriv is not here')
        may_not = '-dac_override,-dac_read_search'
        command = ['setpriv', '--inh-caps=-all', f'--bounding-set={may_not}', *command]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert f'{path}: cannot be read (Permission denied); check the path and its' in found.stdout
    assert 'Traceback' not in found.stderr


def test_spaces_and_letters_of_other_scripts_in_a_path_are_no_matter(
    tmp_path: Path, harvest: Harvest
) -> None:
    folder = tmp_path / 'Läufe vom Montag — 試験'
    folder.mkdir()
    bag = write(folder / 'Öl & Späne 1', covered())
    found = harvest(bag, out=folder / 'was geschah …')
    finds_the_covered_lens(found)
    assert found.bag['bag'] == str(bag)
    assert 'Öl &amp; Späne 1' in (found.out / 'report.html').read_text('utf-8')


def test_a_path_that_is_no_utf8_is_harvested_and_written_legibly(
    tmp_path: Path, harvest: Harvest
) -> None:
    try:
        bag = write(tmp_path / 'plain', covered()).rename(tmp_path / os.fsdecode(b'b\xff\xfe'))
    except OSError:
        pytest.skip('this file system takes UTF-8 names only')
    found = harvest(bag)
    finds_the_covered_lens(found)
    assert (found.out / 'report.html').read_text('utf-8')


def test_hostile_names_stay_text_and_inside_the_output_folder(
    tmp_path: Path, harvest: Harvest
) -> None:
    topics = ['/../../escaped', '../../x', '/\x1b[31mred\x07\n', '/<script>alert(1)</script>']
    rows = covered()
    for number, topic in enumerate(topics):
        rows += [Row(topic, 0.1 + number / 100 + n / 5, text('x')) for n in range(19)]
    bag = write(tmp_path / 'ok', rows).rename(tmp_path / '<script>x\x1b[2J\n\r')
    before = {path for path in tmp_path.rglob('*') if not path.is_relative_to(tmp_path / 'out')}
    found = harvest(bag)
    finds_the_covered_lens(found)
    (manifest,) = found.episodes.values()
    assert set(topics) <= set(manifest['clip']['messages'])
    page = (found.out / 'report.html').read_text('utf-8')
    assert '<script>x' not in page
    assert '<script>alert(1)' not in page
    assert '\x1b' not in found.said + found.complained + page
    after = {path for path in tmp_path.rglob('*') if not path.is_relative_to(found.out)}
    assert after - before == {tmp_path / 'found.json'}


def test_a_hostile_watched_topic_without_a_robot_file_stays_text(
    tmp_path: Path, harvest: Harvest
) -> None:
    name = '/<script>alert(1)</script>/\x1b[31m../../joints'
    found = harvest(write(tmp_path / 'a', renamed(recording(), STATES, name)), judged=False)
    assert found.code == 0
    page = (found.out / 'report.html').read_text('utf-8')
    assert '<script>alert(1)' not in page
    assert '\x1b' not in found.said + page


def test_hostile_names_in_an_error_do_not_reach_the_terminal(
    tmp_path: Path, harvest: Harvest
) -> None:
    found = harvest(tmp_path / '\x1b[2Jgone')
    assert found.code == 2
    assert '\x1b' not in found.complained
    assert 'gone: no such bag' in found.complained


def test_the_same_bag_given_twice_is_harvested_once(covered_bag: Path, harvest: Harvest) -> None:
    found = harvest(covered_bag, covered_bag / '..' / covered_bag.name)
    finds_the_covered_lens(found)


def test_a_copy_of_a_bag_is_told_from_a_second_recording(
    covered_bag: Path, tmp_path: Path, harvest: Harvest
) -> None:
    shutil.copytree(covered_bag, tmp_path / 'twin')
    found = harvest(covered_bag, tmp_path / 'twin')
    assert found.code == 1
    first, second = found.document['bags']
    assert len(first['episodes']) == 1
    assert f'the same recording as {covered_bag}' in second['error']
    assert len(found.episodes) == 1


def test_two_recordings_of_one_name_are_kept_apart(tmp_path: Path, harvest: Harvest) -> None:
    for folder, rows in (('a', covered()), ('b', covered(phase=0.9))):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / 'run', rows)
    found = harvest(tmp_path / 'a', tmp_path / 'b')
    assert found.code == 0
    assert [len(bag['episodes']) for bag in found.document['bags']] == [1, 1]
    assert 'a/run' in found.said
    assert 'b/run' in found.said
    page = (found.out / 'report.html').read_text('utf-8')
    for name in found.episodes:
        assert page.count(f'flywheel episodes label {name} ') == 1


def test_good_bags_are_harvested_beside_bad_ones_which_are_named(
    covered_bag: Path, tmp_path: Path, harvest: Harvest
) -> None:
    good = write(tmp_path / 'good', recording())
    (tmp_path / 'bad.mcap').write_bytes(b'\x89MCAP0\r\n' + bytes(100))
    (tmp_path / 'worse.db3').write_bytes(b'SQLite format 3\0' + bytes(100))
    silent = write(tmp_path / 'silent', [])
    found = harvest(covered_bag, tmp_path / 'bad.mcap', good, tmp_path / 'worse.db3', silent)
    assert found.code == 1
    bags = {Path(bag['bag']).name: bag for bag in found.document['bags']}
    assert len(bags['covered']['episodes']) == 1
    assert bags['good']['episodes'] == []
    for name in ('bad.mcap', 'worse.db3', 'silent'):
        assert name in bags[name]['error']
        assert f'{name}' in found.said
    assert found.said.count('NOT READ') == 3
    assert 'worse.db3' in (found.out / 'report.html').read_text('utf-8')
