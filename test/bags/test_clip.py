# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import hashlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from bag_maker import (
    GRIP,
    JOINTS,
    START_NS,
    TEXT,
    as_rows,
    grip,
    in_time,
    rows,
    text,
    write_bag,
    write_mcap,
    write_ros1,
)
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from cosmos_flywheel.bags.clip import latched_before, write_clip
from cosmos_flywheel.bags.records import RawMessage
from cosmos_flywheel.bags.source import BagSource, open_bag
from cosmos_flywheel.core.errors import BagError, StoreError

SECOND = 10**9


@pytest.fixture
def source(tmp_path: Path) -> Iterator[BagSource]:
    content = [*rows(40), ('/grip', GRIP, START_NS + SECOND, grip(START_NS))]
    with open_bag(write_bag(tmp_path / 'bag', content, storage='sqlite3')) as bag:
        yield bag


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_clip_holds_the_window_byte_by_byte(tmp_path: Path, storage: str) -> None:
    content = in_time([*rows(40), ('/grip', GRIP, START_NS + SECOND, grip(START_NS))])
    start, end = START_NS + SECOND, START_NS + 2 * SECOND
    target = tmp_path / 'Clip mit Ümlaut 袋.mcap'
    with open_bag(write_bag(tmp_path / 'bag', content, storage=storage)) as source:
        summary = write_clip(target, source, start_ns=start, end_ns=end)
        definition = source.message_definition('/grip')
    expected = [row for row in content if start <= row[2] < end]
    with open_bag(target) as read:
        assert as_rows(read.messages()) == expected
        assert read.message_definition('/grip') == definition
        assert all(topic.readable for topic in read.topics.values())
    assert summary.messages == {'/grip': 1, '/joint_states': 10, '/say': 10}
    assert summary.skipped == {}
    assert (summary.first_ns, summary.last_ns) == (start, expected[-1][2])
    assert summary.size_bytes == target.stat().st_size
    assert summary.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()


def test_other_readers_read_the_clip(tmp_path: Path, source: BagSource) -> None:
    path = tmp_path / 'a.mcap'
    write_clip(path, source, start_ns=START_NS, end_ns=source.end_ns)
    with AnyReader([path]) as reader:
        found = [reader.deserialize(data, c.msgtype) for c, _, data in reader.messages()]
    assert len(found) == 82
    with path.open('rb') as file:
        reader2 = make_reader(file)
        assert reader2.get_header().profile == 'ros2'
        names = {schema.name for schema, _, _ in reader2.iter_messages() if schema}
    assert names == {GRIP, JOINTS, TEXT}


def test_two_clips_of_one_window_are_the_same_file(tmp_path: Path, source: BagSource) -> None:
    made = [
        write_clip(tmp_path / f'{n}.mcap', source, start_ns=START_NS, end_ns=START_NS + SECOND)
        for n in range(2)
    ]
    assert made[0] == made[1]
    assert (tmp_path / '0.mcap').read_bytes() == (tmp_path / '1.mcap').read_bytes()


def test_publish_times_are_kept_where_the_bag_has_them(tmp_path: Path) -> None:
    with open_bag(write_mcap(tmp_path / 'bag.mcap', rows(3))) as source:
        write_clip(tmp_path / 'a.mcap', source, start_ns=0, end_ns=source.end_ns)
    with open_bag(tmp_path / 'a.mcap') as read:
        assert {m.log_ns - (m.publish_ns or 0) for m in read.messages()} == {5}


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_latched_messages_come_with_their_own_times_and_qos(tmp_path: Path, storage: str) -> None:
    content = [
        ('/map', TEXT, START_NS, text('old map')),
        ('/map', TEXT, START_NS + 5, text('map')),
        ('/tf_static', TEXT, START_NS + 1, text('arm')),
        ('/tf_static', TEXT, START_NS + 2, text('camera')),
        ('/tf_static', TEXT, START_NS + 3, text('arm')),
        *rows(30),
    ]
    window = {'start_ns': START_NS + SECOND, 'end_ns': START_NS + 2 * SECOND}
    bag = write_bag(tmp_path / 'bag', content, storage=storage, latched=('/map',))
    with open_bag(bag) as source:
        latched = latched_before(source, window['start_ns'])
        assert [(m.topic, m.log_ns - START_NS) for m in latched] == [
            ('/robot_description', 0),
            ('/tf_static', 2),
            ('/tf_static', 3),
            ('/map', 5),
        ]
        summary = write_clip(tmp_path / 'a.mcap', source, **window, latched=latched)
    assert summary.first_ns == START_NS
    with open_bag(tmp_path / 'a.mcap') as read:
        assert read.message_count == 24
        assert read.topics['/map'].latched
        assert [m.data for m in read.messages({'/map'})] == [text('map')]


def test_a_latched_message_within_the_window_is_written_once(
    tmp_path: Path, source: BagSource
) -> None:
    latched = latched_before(source, source.end_ns)
    summary = write_clip(
        tmp_path / 'a.mcap', source, start_ns=START_NS, end_ns=source.end_ns, latched=latched
    )
    assert summary.messages['/robot_description'] == 1


def test_topics_may_be_chosen_and_a_window_may_be_empty(tmp_path: Path, source: BagSource) -> None:
    summary = write_clip(
        tmp_path / 'a.mcap', source, start_ns=START_NS, end_ns=source.end_ns, topics=['/say']
    )
    assert summary.messages == {'/say': 40}
    empty = write_clip(tmp_path / 'b.mcap', source, start_ns=0, end_ns=1)
    assert (empty.messages, empty.first_ns, empty.last_ns) == ({}, None, None)
    with open_bag(tmp_path / 'b.mcap') as read:
        assert list(read.messages()) == []


def test_types_without_definition_are_carried_too(tmp_path: Path) -> None:
    content = [('/grip', GRIP, START_NS, grip(START_NS))]
    bag = write_mcap(tmp_path / 'bag.mcap', content, schema=lambda _: ('', b''))
    with open_bag(bag) as source:
        write_clip(tmp_path / 'a.mcap', source, start_ns=0, end_ns=source.end_ns)
    with open_bag(tmp_path / 'a.mcap') as read:
        assert as_rows(read.messages()) == content


def test_a_ros1_bag_gives_a_ros2_clip(tmp_path: Path) -> None:
    with open_bag(write_ros1(tmp_path / 'old.bag')) as source:
        before = [source.deserialize(m) for m in source.messages({'/joint_states'})]
        summary = write_clip(tmp_path / 'a.mcap', source, start_ns=0, end_ns=source.end_ns)
    assert summary.messages == {'/joint_states': 20, '/robot_description': 1}
    with AnyReader([tmp_path / 'a.mcap']) as reader:
        chosen = [c for c in reader.connections if c.topic == '/joint_states']
        after = [reader.deserialize(d, c.msgtype) for c, _, d in reader.messages(chosen)]
    assert [m.position.tolist() for m in after] == [m.position.tolist() for m in before]
    assert [m.header.stamp for m in after] == [
        type(after[0].header.stamp)(m.header.stamp.sec, m.header.stamp.nanosec) for m in before
    ]
    assert not hasattr(after[0].header, 'seq')


def test_ros1_messages_that_cannot_be_converted_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_bag(write_ros1(tmp_path / 'old.bag')) as source:
        whole = list(source.messages())
        spoilt = [RawMessage(m.topic, m.msgtype, m.log_ns, m.data[:9]) for m in whole[:1]]
        monkeypatch.setattr(source, 'messages', lambda *_: iter(spoilt + whole[1:]))
        summary = write_clip(tmp_path / 'a.mcap', source, start_ns=0, end_ns=source.end_ns)
    assert sum(summary.messages.values()) == 20
    assert sum(summary.skipped.values()) == 1


def test_a_clip_is_never_overwritten(tmp_path: Path, source: BagSource) -> None:
    path = tmp_path / 'a.mcap'
    path.write_text('mine')
    with pytest.raises(StoreError, match='never overwritten'):
        write_clip(path, source, start_ns=START_NS, end_ns=source.end_ns)
    assert path.read_text() == 'mine'


def test_a_name_taken_meanwhile_is_not_overwritten(
    tmp_path: Path, source: BagSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'a.mcap'
    monkeypatch.setattr(os, 'fsync', lambda _: path.write_text('mine'))
    with pytest.raises(StoreError, match=r'a\.mcap: cannot be written'):
        write_clip(path, source, start_ns=START_NS, end_ns=source.end_ns)
    assert path.read_text() == 'mine'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.mcap', 'bag']


def test_a_file_system_without_hard_links_does(
    tmp_path: Path, source: BagSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, 'Operation not permitted')

    monkeypatch.setattr(os, 'link', refuse)
    write_clip(tmp_path / 'a.mcap', source, start_ns=START_NS, end_ns=source.end_ns)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.mcap', 'bag']


def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, source: BagSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(StoreError, match=r'No space left on device.*free some space'):
        write_clip(tmp_path / 'a.mcap', source, start_ns=START_NS, end_ns=source.end_ns)
    assert [p.name for p in tmp_path.iterdir()] == ['bag']


def test_a_disk_that_fills_up_while_writing_leaves_nothing_behind(
    tmp_path: Path, source: BagSource
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(StoreError, match=r'cannot be written \(File too large\)'):
            write_clip(tmp_path / 'a.mcap', source, start_ns=START_NS, end_ns=source.end_ns)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == ['bag']


def test_a_clip_over_the_cap_is_refused_and_leaves_nothing(
    tmp_path: Path, source: BagSource
) -> None:
    with pytest.raises(StoreError, match='would exceed 5000 bytes'):
        write_clip(tmp_path / 'a.mcap', source, start_ns=0, end_ns=source.end_ns, max_bytes=5000)
    assert [p.name for p in tmp_path.iterdir()] == ['bag']


def test_a_missing_folder_is_named(tmp_path: Path, source: BagSource) -> None:
    with pytest.raises(StoreError, match=r'absent/a\.mcap: cannot be written'):
        write_clip(tmp_path / 'absent' / 'a.mcap', source, start_ns=0, end_ns=1)


def test_a_reading_error_leaves_nothing_behind(
    tmp_path: Path, source: BagSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Iterator[RawMessage]:
        yield RawMessage('/say', TEXT, START_NS, text('x'))
        raise BagError('the disk was pulled out')

    monkeypatch.setattr(source, 'messages', fail)
    with pytest.raises(BagError, match='pulled out'):
        write_clip(tmp_path / 'a.mcap', source, start_ns=0, end_ns=source.end_ns)
    assert [p.name for p in tmp_path.iterdir()] == ['bag']


def test_what_a_killed_writer_left_is_no_obstacle(tmp_path: Path, source: BagSource) -> None:
    (tmp_path / '.a.mcap.partial').write_bytes(b'half a clip')
    write_clip(tmp_path / 'a.mcap', source, start_ns=START_NS, end_ns=source.end_ns)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.mcap', 'bag']
