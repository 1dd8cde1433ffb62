# SPDX-License-Identifier: Apache-2.0
"""Bags whose messages are wrong: counted and said, never fatal, and no alarm that is not due."""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from push_bags import (
    AXES,
    CAMERA,
    COMMANDS,
    START_NS,
    STATES,
    Row,
    changed,
    covered,
    header,
    joints,
    jpeg,
    picture,
    position,
    raw_image,
    recording,
    scene,
    text,
    without,
    write,
)

Harvest = Callable[..., Any]
PHASE = 1.7
"""Of recordings that must be silent; not one of the nominal bags'."""


def test_a_sound_bag_without_a_failure_is_silent(tmp_path: Path, harvest: Harvest) -> None:
    found = harvest(write(tmp_path / 'sound', recording(4.0, PHASE)))
    assert found.code == 0
    assert found.bag['episodes'] == []
    assert found.bag['notes'] == []


def test_a_covered_lens_is_found_when_it_happens(covered_bag: Path, harvest: Harvest) -> None:
    found = harvest(covered_bag)
    assert found.code == 0
    assert found.causes == {'picture'}
    (episode,) = found.bag['episodes']
    assert 2.0 <= episode['onset_s'] < 2.3


def test_a_robot_without_a_camera_is_watched_by_its_state(
    tmp_path: Path, harvest: Harvest
) -> None:
    def jump(row: Row) -> Row:
        away = [0.3, 0.0] if 4.0 <= row.at_s < 4.3 else [0.0, 0.0]
        return replace(row, message=joints(row.at_s, position(row.at_s) + away))

    rows = changed(without(recording(6.0), CAMERA), STATES, jump)
    found = harvest(write(tmp_path / 'blind', rows), '--robot', 'mujoco_push', judged=False)
    assert found.code == 0
    assert 'no camera: the picture channel is silent' in found.notes
    assert f'not in this bag: {CAMERA}' in found.notes
    assert {'state', 'tracking_error'} <= found.causes
    (manifest,) = found.episodes.values()
    assert manifest['thumbnail'] is None
    assert 4.0 <= found.bag['episodes'][0]['onset_s'] < 4.3


def test_a_calibration_with_a_camera_says_what_does_not_fit_a_bag_without_one(
    tmp_path: Path, harvest: Harvest
) -> None:
    found = harvest(write(tmp_path / 'blind', without(recording(), CAMERA)))
    assert found.code == 2
    assert 'does not fit this recording' in found.bag['error']
    assert 'fit again with `flywheel fit`' in found.bag['error']


@pytest.mark.parametrize('robot', [['--robot', 'mujoco_push'], []])
def test_pictures_alone_are_enough(tmp_path: Path, harvest: Harvest, robot: list[str]) -> None:
    rows = without(recording(6.0, covered_s=4.0), STATES, COMMANDS)
    found = harvest(write(tmp_path / 'film', rows), *robot, judged=False)
    assert found.code == 0
    assert found.causes == {'picture'}
    assert 4.0 <= found.bag['episodes'][0]['onset_s'] < 4.3


def test_a_bag_without_anything_to_watch_says_what_to_do(tmp_path: Path, harvest: Harvest) -> None:
    rows = [Row('/say', n / 10, text('word')) for n in range(20)]
    bag = write(tmp_path / 'words', rows)
    named = harvest(bag)
    assert named.code == 2
    assert 'none of the topics of robot' in named.bag['error']
    assert '`flywheel init`' in named.bag['error']
    guessed = harvest(bag, judged=False)
    assert guessed.code == 2
    assert 'words: no topic can be a camera, a state or an action' in guessed.bag['error']
    assert '--robot' in guessed.bag['error']


def test_a_corrupt_jpeg_is_counted_and_no_half_grey_picture_alarms(
    tmp_path: Path, harvest: Harvest
) -> None:
    def spoil(row: Row) -> Row:
        if not 1.9 < row.at_s < 2.1:
            return row
        data = row.message.data.tobytes()
        kept = data[: len(data) // 2]
        return replace(row, message=picture(row.at_s, kept + bytes(200) + b'\xff\xd9'))

    found = harvest(write(tmp_path / 'torn', changed(recording(4.0, PHASE), CAMERA, spoil)))
    assert found.code == 0
    assert f'{CAMERA}: 3 × undecodable' in found.notes
    assert 'corrupt JPEG' in found.notes
    assert 'picture' not in found.causes


@pytest.mark.parametrize('data', [b'', b'\xff\xd8\xff', b'GIF89a' + bytes(90)])
def test_pictures_that_are_none_are_counted(tmp_path: Path, harvest: Harvest, data: bytes) -> None:
    def spoil(row: Row) -> Row:
        return replace(row, message=picture(row.at_s, data)) if row.at_s < 0.3 else row

    found = harvest(write(tmp_path / 'odd', changed(recording(3.0, PHASE), CAMERA, spoil)))
    assert found.code == 0
    assert f'{CAMERA}: 5 × undecodable' in found.notes
    assert 'picture' not in found.causes


def test_a_camera_that_never_gives_a_sound_picture_leaves_the_rest_watched(
    tmp_path: Path, harvest: Harvest
) -> None:
    def spoil(row: Row) -> Row:
        return replace(row, message=picture(row.at_s, b'nothing'))

    rows = changed(recording(3.0), CAMERA, spoil)
    found = harvest(write(tmp_path / 'odd', rows), '--robot', 'mujoco_push', judged=False)
    assert found.code == 0
    assert f'{CAMERA}: 45 × undecodable' in found.notes


def test_a_change_of_the_picture_size_is_counted_and_brought_to_one_size(
    tmp_path: Path, harvest: Harvest
) -> None:
    def grow(row: Row) -> Row:
        if row.at_s < 2.0:
            return row
        large = scene(row.at_s, PHASE).repeat(2, axis=0).repeat(2, axis=1)
        return replace(row, message=picture(row.at_s, jpeg(large)))

    found = harvest(write(tmp_path / 'grown', changed(recording(4.0, PHASE), CAMERA, grow)))
    assert found.code == 0
    assert f'{CAMERA}: 1 × resized (first: 64x48 px became 128x96 px)' in found.notes
    assert 'picture' not in found.causes


def raw(rows: list[Row], claim: Callable[[Row], dict[str, Any]]) -> list[Row]:
    """The camera as sensor_msgs/Image, with false claims about some pictures."""
    return changed(
        rows,
        CAMERA,
        lambda row: replace(
            row, message=raw_image(row.at_s, scene(row.at_s, PHASE), **claim(row))
        ),
    )


@pytest.mark.parametrize(
    ('claim', 'reason', 'first'),
    [
        ({'height': 0, 'width': 0, 'step': 0}, 'no pixels (0x0)', True),
        ({'height': 0, 'width': 0, 'step': 0}, 'no pixels (0x0)', False),
        ({'height': 0}, 'no pixels (64x0)', False),
        ({'height': 2**31, 'width': 2**31}, 'more than', True),
        ({'height': 96}, 'the message is corrupt', True),
        ({'step': 0}, 'the message is corrupt', False),
        ({'encoding': '../../x'}, 'is unknown', False),
    ],
)
def test_raw_pictures_that_lie_about_their_size_are_counted(
    tmp_path: Path,
    harvest: Harvest,
    claim: dict[str, Any],
    reason: str,
    first: bool,
) -> None:
    begin_s = 0.0 if first else 2.0

    def claims(row: Row) -> dict[str, Any]:
        return claim if begin_s <= row.at_s < begin_s + 0.3 else {}

    bag = write(tmp_path / 'liar', raw(recording(3.0, PHASE), claims))
    found = harvest(bag, '--robot', 'mujoco_push', judged=not first)
    assert found.code == 0
    assert f'{CAMERA}: 5 × undecodable' in found.notes
    assert reason in found.notes
    assert 'resized' not in found.notes
    assert 'picture' not in found.causes


def png_bomb(width: int, height: int) -> bytes:
    """A few kilobytes that unpack to whatever size is claimed."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', check)

    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20), 9)
    parts = (chunk(b'IHDR', head), chunk(b'IDAT', rows), chunk(b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


@pytest.mark.parametrize('size', [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (1, 4_000_000)])
def test_a_decompression_bomb_is_counted_and_nothing_of_its_size_is_made(
    tmp_path: Path, harvest: Harvest, size: tuple[int, int]
) -> None:
    bomb = png_bomb(*size)

    def spoil(row: Row) -> Row:
        return replace(row, message=picture(row.at_s, bomb)) if row.at_s < 0.3 else row

    rows = changed(recording(3.0, PHASE), CAMERA, spoil)
    found = harvest(write(tmp_path / 'bomb', rows), '--robot', 'mujoco_push', judged=False)
    assert found.code == 0
    assert f'{CAMERA}: 5 × undecodable' in found.notes


@pytest.mark.parametrize('shape', [(2, 900), (900, 2), (1, 1)])
def test_pictures_of_an_odd_shape_are_watched(
    tmp_path: Path, harvest: Harvest, shape: tuple[int, int]
) -> None:
    def squeeze(row: Row) -> Row:
        level = int(90 + 20 * np.sin(row.at_s))
        return replace(row, message=raw_image(row.at_s, np.full((*shape, 3), level, np.uint8)))

    rows = changed(recording(2.0, PHASE), CAMERA, squeeze)
    found = harvest(write(tmp_path / 'odd', rows), '--robot', 'mujoco_push', judged=False)
    assert found.code == 0
    assert 'undecodable' not in found.notes


@pytest.mark.parametrize('value', [np.nan, -np.inf, 1e300, 3e38])
@pytest.mark.filterwarnings('error::RuntimeWarning')
def test_actions_that_are_no_numbers_are_counted_and_the_rest_is_watched(
    tmp_path: Path, harvest: Harvest, value: float
) -> None:
    def spoil(row: Row) -> Row:
        if not 1.0 < row.at_s < 1.3:
            return row
        return replace(row, message=joints(row.at_s, [value, 0.1]))

    rows = changed(recording(covered_s=2.5), COMMANDS, spoil)
    found = harvest(write(tmp_path / 'nan', rows))
    assert found.code == 0
    assert 'picture' in found.causes
    assert f'{COMMANDS}: 9 × not finite' in found.notes
    (manifest,) = found.episodes.values()
    assert manifest['losses'][COMMANDS]['not_finite'] == 9


@pytest.mark.parametrize('value', [np.nan, np.inf, 3e38])
@pytest.mark.filterwarnings('error::RuntimeWarning')
def test_states_that_are_no_numbers_are_counted_and_the_rest_is_watched(
    tmp_path: Path, harvest: Harvest, value: float
) -> None:
    def spoil(row: Row) -> Row:
        if not 1.0 < row.at_s < 1.3:
            return row
        return replace(row, message=joints(row.at_s, [value, 0.1]))

    rows = changed(recording(covered_s=2.5), STATES, spoil)
    for judged in (True, False):
        bag = write(tmp_path / f'nan_{judged}', rows)
        found = harvest(bag, '--robot', 'mujoco_push', judged=judged, out=tmp_path / str(judged))
        assert found.code == 0
        assert not judged or 'picture' in found.causes


def test_joint_names_that_change_their_order_are_no_alarm(
    tmp_path: Path, harvest: Harvest
) -> None:
    def swap(row: Row) -> Row:
        if row.at_s < 1.5:
            return row
        values = row.message.position[::-1]
        return replace(row, message=joints(row.at_s, values, AXES[::-1]))

    rows = changed(changed(recording(4.0, PHASE), STATES, swap), COMMANDS, swap)
    found = harvest(write(tmp_path / 'swapped', rows))
    assert found.code == 0
    assert found.bag['episodes'] == []
    assert found.bag['notes'] == []


def test_a_joint_that_disappears_is_counted(tmp_path: Path, harvest: Harvest) -> None:
    def drop(row: Row) -> Row:
        if row.at_s < 1.5:
            return row
        return replace(row, message=joints(row.at_s, row.message.position[:1], AXES[:1]))

    found = harvest(write(tmp_path / 'lame', changed(recording(3.0, PHASE), STATES, drop)))
    assert found.code == 0
    assert f'{STATES}: 45 × not finite' in found.notes
    assert 'missing name' in found.notes


def late(rows: list[Row], topic: str, by_s: Callable[[float], float]) -> list[Row]:
    """A topic's header stamps behind those of the others; recording times stay."""

    def shift(row: Row) -> Row:
        row.message.header = header(row.at_s - by_s(row.at_s))
        return row

    return changed(rows, topic, shift)


def test_stamps_that_step_back_a_little_are_counted_and_found(
    tmp_path: Path, harvest: Harvest
) -> None:
    rows = late(recording(4.0, PHASE), STATES, lambda at_s: 0.4 * (2.0 <= at_s < 2.2))
    found = harvest(write(tmp_path / 'back', rows))
    assert found.code == 0
    assert f'{STATES}: 6 × out of order' in found.notes
    assert 'clock_health' in found.causes
    assert 2.0 <= found.bag['episodes'][0]['onset_s'] < 2.5


def test_a_clock_that_begins_anew_is_found_and_the_bag_is_watched_to_its_end(
    tmp_path: Path, harvest: Harvest
) -> None:
    rows = recording(6.0, covered_s=4.5)
    for topic in (CAMERA, STATES, COMMANDS):
        rows = late(rows, topic, lambda at_s: 100.0 * (at_s >= 2.0))
    found = harvest(write(tmp_path / 'anew', rows))
    assert found.code == 0
    assert 'clock reset' in found.notes
    assert {'clock_health', 'picture'} <= found.causes
    last = max(found.bag['episodes'], key=lambda e: e['onset_s'])
    assert 4.5 <= last['onset_s'] < 4.8
    for episode in found.bag['episodes']:
        assert 0 <= episode['start_s'] <= episode['onset_s'] <= episode['end_s'] <= 6.01


def test_one_stamp_far_in_the_future_does_not_end_the_watch(
    tmp_path: Path, harvest: Harvest
) -> None:
    rows = late(recording(covered_s=3.0), STATES, lambda at_s: -3e7 * (1.0 < at_s < 1.02))
    found = harvest(write(tmp_path / 'leap', rows))
    assert found.code == 0
    assert {'clock_health', 'picture'} <= found.causes


def test_a_header_that_was_never_stamped_falls_back_to_the_recorders_clock(
    tmp_path: Path, harvest: Harvest
) -> None:
    rows = late(recording(4.0, PHASE), COMMANDS, lambda at_s: at_s + START_NS / 1e9)
    found = harvest(write(tmp_path / 'zero', rows))
    assert found.code == 0
    assert found.bag['episodes'] == []


@pytest.mark.parametrize('silent', [(CAMERA,), (STATES,), (CAMERA, STATES, COMMANDS)])
def test_two_seconds_without_messages_are_found(
    tmp_path: Path, harvest: Harvest, silent: tuple[str, ...]
) -> None:
    rows = [
        row
        for row in recording(5.0, PHASE)
        if row.topic not in silent or not 1.5 <= row.at_s < 3.5
    ]
    found = harvest(write(tmp_path / 'gap', rows))
    assert found.code == 0
    assert 'stream_health' in found.causes
    assert 1.5 <= found.bag['episodes'][0]['onset_s'] <= 3.6


@pytest.mark.parametrize('behind_s', [0.8, 40.0, -40.0])
def test_clocks_that_disagree_are_found_and_quiet_once_the_robot_file_says_by_how_much(
    tmp_path: Path, harvest: Harvest, root: Path, behind_s: float
) -> None:
    rows = late(recording(4.0, PHASE), CAMERA, lambda _: behind_s)
    bag = write(tmp_path / 'apart', rows)
    found = harvest(bag)
    assert found.code == 0
    assert 'clock_health' in found.causes
    shipped = (root / 'config' / 'robots' / 'mujoco_push.yaml').read_text('utf-8')
    told = tmp_path / 'told.yaml'
    told.write_text(
        shipped.replace('topic_offsets: {}', f'topic_offsets: {{{CAMERA}: {behind_s}}}'), 'utf-8'
    )
    found = harvest(bag, '--robot', told, out=tmp_path / 'quiet')
    assert found.code == 0
    assert found.bag['episodes'] == []


def test_a_message_cut_short_is_counted(tmp_path: Path, harvest: Harvest) -> None:
    bag = write(tmp_path / 'a', recording(3.0, PHASE), 'sqlite3')
    with sqlite3.connect(bag / 'a.db3') as database:
        cut = 'UPDATE messages SET data = substr(data, 1, 30) WHERE id % 10 = 3'
        database.execute(cut)
    found = harvest(bag)
    assert found.code == 0
    assert '× unreadable' in found.notes
    assert 'bytes is corrupt' in found.notes


def test_what_two_failures_have_in_common_is_one_episode_with_both_causes(
    tmp_path: Path, harvest: Harvest
) -> None:
    rows = late(covered(), STATES, lambda at_s: 0.4 * (2.0 <= at_s < 2.2))
    found = harvest(write(tmp_path / 'both', rows))
    assert found.code == 0
    (episode,) = found.bag['episodes']
    assert {'picture', 'clock_health'} <= set(episode['causes'])
