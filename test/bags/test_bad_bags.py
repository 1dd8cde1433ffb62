# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import random
import sqlite3
import struct
from pathlib import Path

import pytest
import zstandard
from bag_maker import (
    START_NS,
    TEXT,
    as_rows,
    in_time,
    rows,
    text,
    write_bag,
    write_mcap,
    write_metadata,
    write_ros1,
    write_split,
)
from mcap.writer import CompressionType

from cosmos_flywheel.bags import compression, folder
from cosmos_flywheel.bags.source import BagSource, find_bags, open_bag
from cosmos_flywheel.core.errors import BagError


def cut(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def read_damaged(path: Path) -> tuple[list[object], str, BagSource]:
    with open_bag(path) as source:
        found = as_rows(source.messages())
        assert source.damage is not None
        assert source.damage.messages_read == len(found)
        return list(found), source.damage.what, source


def test_no_such_bag_is_named(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r'absent.*no such bag'):
        open_bag(tmp_path / 'absent')
    with pytest.raises(BagError, match=r'absent.*no such bag'):
        find_bags([tmp_path / 'absent'])


@pytest.mark.parametrize('compression', list(CompressionType))
@pytest.mark.parametrize('keep', [0.95, 0.6, 0.31, 0.05])
def test_a_truncated_mcap_gives_what_is_there_and_says_what_is_missing(
    tmp_path: Path, compression: CompressionType, keep: float
) -> None:
    path = write_mcap(tmp_path / 'a.mcap', rows(200), compression=compression)
    cut(path, keep)
    found, what, _ = read_damaged(path)
    assert found == in_time(rows(200))[: len(found)]
    assert 'a.mcap: cut off' in what
    if keep > 0.1:
        assert len(found) > 401 * keep * 0.7


def test_a_cut_chunk_still_gives_its_first_messages(tmp_path: Path) -> None:
    path = write_mcap(
        tmp_path / 'a.mcap', rows(200), compression=CompressionType.NONE, chunk_size=1 << 30
    )
    cut(path, 0.4)
    found, what, source = read_damaged(path)
    assert len(found) > 100
    assert f'still gave {len(found)} messages' in what
    assert source.damage is not None
    assert source.damage.missing_s == pytest.approx((19.91e9 - (found[-1][2] - START_NS)) / 1e9)  # type: ignore[index]


def test_a_truncated_part_of_a_split_bag_leaves_the_others_whole(tmp_path: Path) -> None:
    content = in_time(rows(100))
    bag = write_split(tmp_path / 'run', content, 5)
    cut(bag / 'run_4.mcap', 0.5)
    found, what, source = read_damaged(bag)
    assert found == content[: len(found)]
    assert len(found) > 170
    assert f'{201 - len(found)} of 201 messages' in what
    assert source.damage is not None
    assert source.damage.messages_expected == 201


def test_a_missing_or_empty_part_of_a_split_bag_is_damage(tmp_path: Path) -> None:
    bag = write_split(tmp_path / 'run', in_time(rows(100)), 5)
    (bag / 'run_1.mcap').unlink()
    (bag / 'run_2.mcap').write_bytes(b'')
    found, what, _ = read_damaged(bag)
    assert len(found) == 119
    assert 'run_1.mcap' in what
    assert 'run_2.mcap: empty file' in what


def test_zeros_after_a_power_cut_end_the_recording(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / 'a.mcap', rows(200))
    cut(path, 0.6)
    path.write_bytes(path.read_bytes() + bytes(100_000))
    found, _, _ = read_damaged(path)
    assert found == in_time(rows(200))[: len(found)]
    assert len(found) > 150


def test_a_spoilt_chunk_in_the_middle_costs_that_chunk_and_is_counted(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / 'a.mcap', rows(200), compression=CompressionType.NONE)
    data = bytearray(path.read_bytes())
    middle = data.index(b'word 100 ')
    data[middle] ^= 1
    path.write_bytes(data)
    found, what, _ = read_damaged(path)
    assert 380 < len(found) < 401
    assert 'checksum does not match' in what


@pytest.mark.parametrize('keep', [0.9, 0.5])
def test_a_truncated_database_gives_its_whole_rows(tmp_path: Path, keep: float) -> None:
    bag = write_bag(tmp_path / 'bag', rows(400), storage='sqlite3')
    cut(bag / 'bag.db3', keep)
    found, what, _ = read_damaged(bag)
    everything = in_time(rows(400))
    assert all(row in everything for row in found)
    assert len(found) > 801 * keep * 0.6
    assert 'bag.db3: a damaged database' in what
    assert 'of 801 messages' in what


def test_a_hopeless_database_is_refused_with_a_remedy(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', rows(400), storage='sqlite3')
    data = bytearray((bag / 'bag.db3').read_bytes())
    data[100:4096] = b'\xa5' * 3996
    (bag / 'bag.db3').write_bytes(data)
    with pytest.raises(BagError, match=r'bag\.db3.*\.recover'):
        open_bag(bag)


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'a.db3'
    base = sqlite3.connect(path)
    base.executescript('CREATE TABLE topics (id); CREATE VIEW messages AS SELECT 1 AS id;')
    base.close()
    with pytest.raises(BagError, match='not of rosbag2'):
        open_bag(path)


def test_messages_in_the_log_that_a_power_cut_left_are_read(tmp_path: Path) -> None:
    whole = write_bag(tmp_path / 'bag', rows(20), storage='sqlite3') / 'bag.db3'
    base = sqlite3.connect(whole)
    base.execute('PRAGMA journal_mode = WAL')
    base.execute(
        'INSERT INTO messages (topic_id, timestamp, data) VALUES (1, ?, ?)', (1, text('x'))
    )
    base.commit()
    try:
        with open_bag(whole) as source:
            assert source.message_count == 42
    finally:
        base.close()


@pytest.mark.parametrize('keep', [0.999, 0.5, 0.01])
def test_a_truncated_ros1_bag_is_refused_with_a_remedy(tmp_path: Path, keep: float) -> None:
    path = write_ros1(tmp_path / 'a.bag')
    cut(path, keep)
    with pytest.raises(BagError, match=r'a\.bag.*`rosbag reindex`'):
        open_bag(path)


def test_a_ros1_bag_without_index_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = write_ros1(tmp_path / 'a.bag')
    data = bytearray(path.read_bytes())
    where = data.index(b'index_pos=') + len(b'index_pos=')
    data[where : where + 8] = bytes(8)
    path.write_bytes(data[: data.index(b'op=\x07', data.index(b'op=\x04'))])
    with pytest.raises(BagError, match=r'a\.bag.*not indexed.*`rosbag reindex`'):
        open_bag(path)


@pytest.mark.parametrize('compression', ['bz2', 'lz4'])
def test_a_spoilt_chunk_of_a_ros1_bag_ends_the_reading_and_is_counted_once(
    tmp_path: Path, compression: str
) -> None:
    path = write_ros1(tmp_path / 'a.bag', 10_000, compression)  # two chunks
    data = bytearray(path.read_bytes())
    where = data.rindex(b'compression=') + 500
    data[where : where + 50] = b'\xa5' * 50
    path.write_bytes(data)
    with open_bag(path) as source:
        found = list(source.messages())
        assert 9000 < len(found) < 10_001
        list(source.messages({'/robot_description'}))
        list(source.messages(start_ns=source.end_ns - 1))
        assert source.damage is not None
        assert source.damage.messages_read == len(found)
        assert f'{10_001 - len(found)} messages from there on are lost' in source.damage.what


@pytest.mark.parametrize('compression', ['bz2', 'lz4'])
@pytest.mark.parametrize('size_bytes', [2**32 - 1, 2**30, 100])
def test_chunks_of_a_ros1_bag_that_lie_about_their_size_are_lost_and_counted(
    tmp_path: Path, compression: str, size_bytes: int
) -> None:
    path = write_ros1(tmp_path / 'a.bag', compression=compression)
    data = bytearray(path.read_bytes())
    where = data.index(b'size=', data.index(b'compression=') - 30)
    struct.pack_into('<I', data, where + len(b'size='), size_bytes)
    path.write_bytes(data)
    found, what, _ = read_damaged(path)
    assert found == []
    assert 'unpack' in what


@pytest.mark.parametrize('content', [b'', b'abc', b'\x89MCAP0\r\n', bytes(5000)])
@pytest.mark.parametrize('name', ['a.mcap', 'a.db3', 'a.bag', 'a.mcap.zstd', 'a.txt'])
def test_a_file_that_is_no_bag_is_refused_by_name_or_holds_nothing(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    if name == 'a.mcap' and content.startswith(b'\x89MCAP'):
        assert read_damaged(path)[0] == []
        return
    with pytest.raises(BagError, match=name):
        open_bag(path)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'run' / 'run_0.mcap').mkdir(parents=True)
    write_metadata(tmp_path / 'run', ['run_0.mcap'], 1, 0, 1)
    with pytest.raises(BagError, match=r'run_0\.mcap: a folder'):
        open_bag(tmp_path / 'run')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / 'a.mcap', rows(3))
    path.chmod(0)
    with pytest.raises(BagError, match=r'a\.mcap: cannot be read \(Permission denied\)'):
        open_bag(path)


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mcap(tmp_path / 'a.mcap', rows(3))

    def refuse(self: Path, *_: object) -> None:
        raise PermissionError(13, 'Permission denied', str(self))

    monkeypatch.setattr(Path, 'open', refuse)
    with pytest.raises(BagError, match=r'a\.mcap: cannot be read \(Permission denied\)'):
        open_bag(path)


@pytest.mark.parametrize('name', ['../secret.mcap', '/etc/passwd', 'a/../../secret.mcap', '..\\x'])
def test_metadata_may_not_name_files_outside_of_the_bag(tmp_path: Path, name: str) -> None:
    write_mcap(tmp_path / 'secret.mcap', rows(3))
    bag = tmp_path / 'bag'
    bag.mkdir()
    escaped = name.replace('\\', '\\\\')
    write_metadata(bag, [escaped], 1, 0, 1)
    with pytest.raises(BagError, match='lies outside of the bag'):
        open_bag(bag)


@pytest.mark.parametrize('metadata', ['', 'a: [', 'rosbag2_bagfile_information: 3', '- - -'])
def test_spoilt_metadata_are_noted_and_the_files_are_read(tmp_path: Path, metadata: str) -> None:
    bag = write_bag(tmp_path / 'bag', rows(5))
    (bag / 'metadata.yaml').write_text(metadata)
    found, what, _ = read_damaged(bag)
    assert len(found) == 11
    assert 'metadata.yaml is unreadable' in what


def test_the_folder_name_of_old_recorders_in_the_metadata_is_understood(tmp_path: Path) -> None:
    bag = write_split(tmp_path / 'run', in_time(rows(4)), 1)
    write_metadata(bag, ['run/run_0.mcap'], 9, START_NS, START_NS + 10)
    with open_bag(bag) as source:
        assert source.message_count == 9


def test_a_folder_of_several_bags_must_be_expanded(tmp_path: Path) -> None:
    write_mcap(tmp_path / 'walk.mcap', rows(3))
    write_mcap(tmp_path / 'grasp.mcap', rows(4))
    write_ros1(tmp_path / 'old.bag')
    write_bag(tmp_path / 'deeper' / 'bag', rows(2))
    with pytest.raises(BagError, match=r'several bags, grasp\.mcap'):
        open_bag(tmp_path)
    found = find_bags([tmp_path, tmp_path / 'walk.mcap', tmp_path / 'deeper'])
    names = [str(path.relative_to(tmp_path)) for path in found]
    assert names == ['deeper/bag', 'grasp.mcap', 'old.bag', 'walk.mcap']


def test_a_folder_without_bags_is_named(tmp_path: Path) -> None:
    (tmp_path / 'notes.txt').write_text('none')
    with pytest.raises(BagError, match='no bag here'):
        find_bags([tmp_path])
    with pytest.raises(BagError, match='no bag here'):
        open_bag(tmp_path)


def lie_about_chunks(path: Path, size_bytes: int) -> None:
    """Let every chunk claim another unpacked size."""
    data = bytearray(path.read_bytes())
    at = 8
    while at < len(data) - 9 and data[at] != 0x0F:
        opcode, length = struct.unpack_from('<BQ', data, at)
        if opcode == 0x06:
            struct.pack_into('<Q', data, at + 9 + 16, size_bytes)
        at += 9 + length
    path.write_bytes(data)


@pytest.mark.parametrize('size_bytes', [2**62, 2**30, 600_000, 10])
@pytest.mark.parametrize('compression', [CompressionType.ZSTD, CompressionType.LZ4])
def test_chunks_that_lie_about_their_size_are_lost_and_counted(
    tmp_path: Path, compression: CompressionType, size_bytes: int
) -> None:
    path = write_mcap(tmp_path / 'a.mcap', rows(5), compression=compression)
    lie_about_chunks(path, size_bytes)
    found, what, _ = read_damaged(path)
    assert found == []
    assert 'unpack' in what


@pytest.mark.parametrize('kind', ['mcap', 'sqlite3'])
def test_a_decompression_bomb_in_a_message_is_lost_and_named(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, 'MAX_RECORD_BYTES', 1_000_000)
    sized = zstandard.compress(bytes(50_000_000))
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(50_000_000))
    content = [
        ('/a', TEXT, START_NS + n, data) for n, data in enumerate([sized, unsized, text('b')])
    ]
    with open_bag(write_bag(tmp_path / 'bag', content, storage=kind)) as source:
        assert [m.log_ns for m in source.messages()] == [START_NS + 2]
        assert source.damage is not None
        assert "messages of '/a' cannot be unpacked" in source.damage.what


def test_losses_are_counted_once_however_often_the_bag_is_read(tmp_path: Path) -> None:
    spoilt = zstandard.compress(b'x' * 1000)[:-5]
    content = [('/a', TEXT, START_NS + n, spoilt) for n in range(20)]
    for kind in ('mcap', 'sqlite3'):
        with open_bag(write_bag(tmp_path / kind, content, storage=kind)) as source:
            for _ in range(2):
                assert list(source.messages()) == []
                assert source.damage is not None
                assert source.damage.messages_read == 0
                assert source.damage.what.count('cannot be unpacked') == 1


def spoil(data: bytes, dice: random.Random) -> bytes:
    """Flip, overwrite, blank or cut, near the headers half of the time."""
    spoilt = bytearray(data)
    at = dice.randrange(len(data)) if dice.random() < 0.5 else dice.randrange(600)
    how = dice.choice(('flip', 'noise', 'ones', 'zeros', 'cut'))
    if how == 'flip':
        spoilt[at] ^= 1 << dice.randrange(8)
    elif how == 'cut':
        del spoilt[at:]
    else:
        spoilt[at : at + 8] = {'noise': dice.randbytes(8), 'ones': b'\xff' * 8}.get(how, bytes(8))
    return bytes(spoilt)


@pytest.mark.parametrize('name', ['a.mcap', 'u.mcap', 'a.db3', 'a.bag'])
def test_any_spoilt_file_is_refused_or_read_with_every_loss_counted(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if name.endswith('.db3'):
        (write_bag(tmp_path / 'a', rows(60), storage='sqlite3') / 'a.db3').rename(path)
    elif name.endswith('.bag'):
        write_ros1(path, 60, 'lz4')
    else:
        write_mcap(path, rows(60), use_chunking=name == 'a.mcap')
    data, dice, opened = path.read_bytes(), random.Random(name), 0
    for _ in range(80):
        path.write_bytes(spoil(data, dice))
        try:
            source = open_bag(path)
        except BagError:
            continue
        with source:
            opened += 1
            found = sum(1 for _ in source.messages())
            damage = source.damage
            assert found == (damage.messages_read if damage else source.message_count)
    assert opened > 20


def test_a_decompression_bomb_of_a_file_stops_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, 'FREE_FILE_BYTES', 1_000_000)
    path = tmp_path / 'a.mcap.zstd'
    path.write_bytes(zstandard.compress(bytes(100_000_000)))
    with pytest.raises(BagError, match='unpacks to more than'):
        open_bag(path)


def test_a_huge_record_length_is_no_reason_to_allocate(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / 'a.mcap', rows(5), use_chunking=False, use_statistics=False)
    data = bytearray(path.read_bytes())
    struct.pack_into('<Q', data, data.index(b'\x05', 200) + 1, 2**60)
    path.write_bytes(data)
    with open_bag(path) as source:
        assert len(list(source.messages())) < 11


def test_huge_metadata_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, '_MAX_METADATA_BYTES', 100)
    _, what, _ = read_damaged(write_bag(tmp_path / 'bag', rows(5)))
    assert 'metadata.yaml is unreadable' in what
