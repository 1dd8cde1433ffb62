# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import shutil
import tracemalloc
from pathlib import Path

import pytest
from bag_maker import (
    GRIP,
    GRIP_TEXT,
    JOINTS,
    ROS1_TYPES,
    START_NS,
    TEXT,
    TRANSFORMS,
    TYPES,
    as_rows,
    grip,
    in_time,
    joints,
    rows,
    text,
    transforms,
    write_bag,
    write_mcap,
    write_ros1,
    write_split,
)
from mcap.writer import CompressionType, IndexType
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from cosmos_flywheel.bags.source import find_bags, open_bag
from cosmos_flywheel.bags.stamp import header_stamp_ns
from cosmos_flywheel.core.errors import BagError

DATA = Path(__file__).resolve().parents[2] / '..' / 'shared' / 'data'
EVERY_STORAGE = [
    ('mcap', 'none'),
    ('mcap', 'storage'),
    ('mcap', 'message'),
    ('mcap', 'file'),
    ('sqlite3', 'none'),
    ('sqlite3', 'message'),
    ('sqlite3', 'file'),
]


@pytest.mark.parametrize(('storage', 'compression'), EVERY_STORAGE)
def test_every_storage_and_compression_gives_the_same_messages(
    tmp_path: Path, storage: str, compression: str
) -> None:
    bag = write_bag(tmp_path / 'bag', rows(), storage=storage, compression=compression)
    with open_bag(bag) as source:
        assert as_rows(source.messages()) == in_time(rows())
        assert source.message_count == 61
        assert (source.format, source.storage, source.damage) == ('ros2', storage, None)
        assert source.start_ns == START_NS
        assert source.end_ns == START_NS + 2_910_000_001


@pytest.mark.parametrize('compression', list(CompressionType))
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'use_chunking': False},
        {'use_statistics': False},
        {'index_types': IndexType.NONE},
        {'repeat_channels': False, 'repeat_schemas': False},
    ],
    ids=['indexed', 'unchunked', 'without statistics', 'without index', 'schemas in chunks only'],
)
def test_every_layout_of_mcap_gives_the_same_messages(
    tmp_path: Path, compression: CompressionType, options: dict[str, object]
) -> None:
    path = write_mcap(tmp_path / 'a.mcap', rows(), compression=compression, **options)
    with open_bag(path) as source:
        assert as_rows(source.messages()) == in_time(rows())
        assert source.damage is None
        assert next(source.messages()).publish_ns == START_NS - 5


def test_a_window_is_half_open_and_topics_are_chosen(tmp_path: Path) -> None:
    for storage in ('mcap', 'sqlite3'):
        with open_bag(write_bag(tmp_path / storage, rows(), storage=storage)) as source:
            start, stop = START_NS + 10**8, START_NS + 3 * 10**8
            found = list(source.messages({'/joint_states', '/absent'}, start, stop))
            assert [m.log_ns for m in found] == [start, start + 10**8]
            assert list(source.messages({'/absent'})) == []


def test_messages_come_in_log_time_order_even_when_the_clock_jumps_back(tmp_path: Path) -> None:
    jumping = rows(20, START_NS + 10**9) + rows(20, START_NS)
    with open_bag(write_mcap(tmp_path / 'a.mcap', jumping, chunk_size=500)) as source:
        assert as_rows(source.messages()) == in_time(jumping)


@pytest.mark.parametrize('parts', [2, 5])
def test_a_split_bag_is_one_bag(tmp_path: Path, parts: int) -> None:
    content = in_time(rows(40))
    bag = write_split(tmp_path / 'run', content, parts)
    with open_bag(bag) as source:
        assert as_rows(source.messages()) == content
        assert source.damage is None


def test_split_files_that_overlap_in_time_are_merged(tmp_path: Path) -> None:
    folder = tmp_path / 'run'
    folder.mkdir()
    write_mcap(folder / 'run_0.mcap', rows(20))
    write_mcap(folder / 'run_1.mcap', rows(20, START_NS + 5 * 10**7))
    with open_bag(folder) as source:
        times = [m.log_ns for m in source.messages()]
    assert times == sorted(times)
    assert len(times) == 82


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_folder_without_metadata_reads_whole_and_in_numeric_order(
    tmp_path: Path, storage: str
) -> None:
    bag = tmp_path / 'run'
    bag.mkdir()
    suffix = {'mcap': 'mcap', 'sqlite3': 'db3'}[storage]
    for number in (2, 10):
        part = write_bag(tmp_path / f'p{number}', rows(3, START_NS + number), storage=storage)
        shutil.move(part / f'p{number}.{suffix}', bag / f'run_{number}.{suffix}')
    with open_bag(bag) as source:
        assert source.message_count == 14
        assert source.damage is None
    assert find_bags([tmp_path / 'run']) == [bag]


@pytest.mark.parametrize('compression', [None, 'bz2', 'lz4'])
def test_a_ros1_bag_reads_with_ros2_type_names(tmp_path: Path, compression: str | None) -> None:
    with open_bag(write_ros1(tmp_path / 'a.bag', compression=compression)) as source:
        assert (source.format, source.storage, source.message_count) == ('ros1', 'rosbag', 21)
        assert source.topics['/joint_states'].msgtype == JOINTS
        assert source.topics['/robot_description'].latched
        last = list(source.messages({'/joint_states'}))[-1]
        message = source.deserialize(last)
        assert message.position[0] == 1.9
        assert source.stamp_ns(last) == header_stamp_ns(message) == last.log_ns


def test_a_window_of_a_ros1_bag_is_half_open_and_topics_are_chosen(tmp_path: Path) -> None:
    with open_bag(write_ros1(tmp_path / 'a.bag')) as source:
        start, stop = START_NS + 10**8, START_NS + 3 * 10**8
        found = list(source.messages({'/joint_states', '/absent'}, start, stop))
        assert [m.log_ns for m in found] == [start, start + 10**8]
        assert [m.topic for m in source.messages(stop_ns=START_NS + 1)] == [
            '/robot_description',
            '/joint_states',
        ]
        assert list(source.messages({'/absent'})) == []


def test_a_custom_type_of_a_ros1_bag_is_read(tmp_path: Path) -> None:
    types = get_typestore(Stores.ROS1_NOETIC)
    types.register(get_types_from_msg(GRIP_TEXT, GRIP))
    stamp = types.types['builtin_interfaces/msg/Time'](sec=3, nanosec=4)
    head = types.types['std_msgs/msg/Header'](seq=0, stamp=stamp, frame_id='')
    content = types.serialize_ros1(types.types[GRIP](head, 2.5, ['thumb']), GRIP)
    with Ros1Writer(tmp_path / 'a.bag') as writer:
        writer.write(writer.add_connection('/grip', GRIP, typestore=types), START_NS, content)
    with open_bag(tmp_path / 'a.bag') as source:
        raw = next(source.messages())
        assert source.deserialize(raw).fingers == ['thumb']
        assert source.stamp_ns(raw) == 3 * 10**9 + 4


def test_stamps_read_from_bytes_agree_with_the_deserialised_message(tmp_path: Path) -> None:
    content = [*rows(3), ('/grip', GRIP, START_NS, grip(START_NS + 7))]
    content.append(('/joint_states', JOINTS, START_NS, joints(10**6)))
    content.append(('/tf', TRANSFORMS, START_NS, transforms(START_NS + 9, 2)))
    content.append(('/tf', TRANSFORMS, START_NS, transforms(START_NS, 0)))
    with open_bag(write_bag(tmp_path / 'bag', content)) as source:
        stamps = [source.stamp_ns(m) for m in source.messages()]
        assert stamps == [header_stamp_ns(source.deserialize(m)) for m in source.messages()]
        assert START_NS + 7 in stamps
        assert START_NS - 10**6 in stamps
        assert START_NS + 9 in stamps
        assert stamps.count(None) == 6  # four texts, no transform, and one stamp of zero


def test_a_custom_type_found_in_the_bag_is_read(tmp_path: Path) -> None:
    for storage in ('mcap', 'sqlite3'):
        content = [('/grip', GRIP, START_NS, grip(START_NS))]
        with open_bag(write_bag(tmp_path / storage, content, storage=storage)) as source:
            message = source.deserialize(next(source.messages()))
            assert message.fingers == ['thumb']
            assert 'float32 force_n' in source.message_definition('/grip')


def test_an_unknown_type_is_carried_raw_and_refused_by_name(tmp_path: Path) -> None:
    content = [('/grip', GRIP, START_NS, grip(START_NS)), *rows(2)]
    path = write_mcap(tmp_path / 'a.mcap', content, schema=lambda _: ('', b''))
    with open_bag(path) as source:
        assert not source.topics['/grip'].readable
        assert source.topics['/joint_states'].readable  # ROS 2 ships that one
        raw = next(source.messages({'/grip'}))
        assert raw.data == content[0][3]
        assert source.stamp_ns(raw) is None
        with pytest.raises(BagError, match=r"'/grip'.*'my_robot/msg/Grip'"):
            source.deserialize(raw)


@pytest.mark.parametrize(
    'definition',
    [
        b'this is ; not a definition',
        b'my_robot/Grip again\n',
        b'other_robot/Absent absent\n',
        b'uint8 x\n' + b'=' * 80 + b'\nMSG: a/b/c/d\nuint8 y\n',
        b'\xff\xfe',
    ],
    ids=['broken', 'recursive', 'incomplete', 'odd name', 'not text'],
)
def test_a_bad_definition_spoils_its_own_topic_only(tmp_path: Path, definition: bytes) -> None:
    def schema(name: str) -> tuple[str, bytes]:
        good = TYPES.generate_msgdef(name, 2)[0].encode()
        return 'ros2msg', definition if name == GRIP else good

    content = [('/grip', GRIP, START_NS, grip(START_NS)), *rows(2)]
    with open_bag(write_mcap(tmp_path / 'a.mcap', content, schema=schema)) as source:
        assert source.topics['/joint_states'].readable
        assert source.message_count == 6
        raw = next(source.messages({'/grip'}))
        if source.topics['/grip'].readable:
            with pytest.raises(BagError, match='/grip'):
                source.deserialize(raw)


def test_a_type_name_cannot_smuggle_code_into_the_generated_classes(tmp_path: Path) -> None:
    mark = tmp_path / 'owned'
    name = f"a/msg/B:\n  open({str(mark)!r}, 'w')\nclass C"
    path = write_mcap(
        tmp_path / 'a.mcap',
        [('/x', name, START_NS, text('x'))],
        schema=lambda _: ('ros2msg', b'string data\n'),
    )
    with open_bag(path) as source:
        assert not source.topics['/x'].readable
    assert not mark.exists()


def test_corrupt_bytes_of_a_message_are_refused_by_topic(tmp_path: Path) -> None:
    content = [('/joint_states', JOINTS, START_NS, joints(START_NS)[:30])]
    with (
        open_bag(write_bag(tmp_path / 'bag', content)) as source,
        pytest.raises(BagError, match='/joint_states'),
    ):
        source.deserialize(next(source.messages()))


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_latched_topics_are_known_by_name_or_by_qos(tmp_path: Path, storage: str) -> None:
    content = [*rows(2), ('/map', TEXT, START_NS, text('map'))]
    bag = write_bag(tmp_path / 'bag', content, storage=storage, latched=('/map',))
    with open_bag(bag) as source:
        assert {t.name for t in source.topics.values() if t.latched} == {
            '/map',
            '/robot_description',
        }


def test_bag_id_is_the_content_not_the_path(tmp_path: Path) -> None:
    one = write_bag(tmp_path / 'one', rows())
    two = tmp_path / 'Bänke mit Leerzeichen' / '袋 2'
    shutil.copytree(one, two)
    other = write_bag(tmp_path / 'other', rows(29))
    ids = []
    for bag in (one, two, other):
        with open_bag(bag) as source:
            ids.append(source.bag_id)
            assert list(source.messages())
    data = (one / 'one.mcap').read_bytes()
    content = len(data).to_bytes(8, 'little') + data + data
    assert ids[0] == ids[1] == hashlib.sha256(content).hexdigest()[:16]
    assert ids[2] != ids[0]


def test_malicious_topic_names_are_names_and_nothing_more(tmp_path: Path) -> None:
    content = [('../../x', TEXT, START_NS, text('a')), ('/a\n\x1b[31m', TEXT, START_NS, text('b'))]
    with open_bag(write_mcap(tmp_path / 'a.mcap', content)) as source:
        assert sorted(source.topics) == ['../../x', '/a\n\x1b[31m']
        assert len(list(source.messages({'../../x'}))) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.mcap']


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_an_empty_bag_opens_and_holds_nothing(tmp_path: Path, storage: str) -> None:
    with open_bag(write_bag(tmp_path / 'bag', [], storage=storage)) as source:
        assert list(source.messages()) == []
        assert (source.start_ns, source.end_ns, source.duration_s) == (0, 0, 0)
        assert (source.message_count, source.damage) == (0, None)


def test_memory_stays_flat_over_a_long_bag(tmp_path: Path) -> None:
    frame = b'\x00\x01\x00\x00' + bytes(100_000)
    content = [('/camera', TEXT, START_NS + n * 10**7, frame) for n in range(3000)]
    path = write_mcap(
        tmp_path / 'a.mcap', content, compression=CompressionType.NONE, chunk_size=1 << 20
    )
    assert path.stat().st_size > 300e6
    assert peak_bytes_of_reading(path) < 12e6


def test_memory_stays_flat_over_a_long_ros1_bag(tmp_path: Path) -> None:
    frame = ROS1_TYPES.serialize_ros1(ROS1_TYPES.types[TEXT](data='x' * 100_000), TEXT)
    with Ros1Writer(tmp_path / 'a.bag') as writer:
        camera = writer.add_connection('/camera', TEXT, typestore=ROS1_TYPES)
        for number in range(1000):
            writer.write(camera, START_NS + number * 10**7, frame)
    assert peak_bytes_of_reading(tmp_path / 'a.bag') < 12e6


def peak_bytes_of_reading(path: Path) -> int:
    tracemalloc.start()
    with open_bag(path) as source:
        assert sum(1 for _ in source.messages()) == source.message_count > 0
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak_bytes


@pytest.mark.parametrize(
    'name', ['odd_bags', 'g1_pick_bottle/bags', 'cosmos3_action_samples/bags']
)
def test_the_shared_bags_read_to_the_last_message(name: str) -> None:
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f'{name} of the shared data is not here')
    bags = find_bags([folder])
    assert bags
    for bag in bags:
        with open_bag(bag) as source:
            assert sum(1 for _ in source.messages()) == source.message_count
            assert source.damage is None
            assert all(topic.readable for topic in source.topics.values())
