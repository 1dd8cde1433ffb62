# SPDX-License-Identifier: Apache-2.0
"""Streams in the order they arrive become ticks by their stamps alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmos_flywheel.core.timeline import MAX_BLIND_NS, NS, Tick, Timeline

MS = 1_000_000
LATENESS_MS = 200
Message = tuple[int, str, float]
"""Stamp in milliseconds, source, value."""


def make_timeline(**changes) -> Timeline:
    """A camera, two joints and one command, at 10 Hz."""
    options = {
        'cameras': ['top'],
        'state': [('joints', 2)],
        'action': [('command', 1)],
        'clock_hz': 10,
    }
    return Timeline(**{**options, **changes})


def picture(value: float) -> np.ndarray:
    return np.full((2, 2, 3), value, np.uint8)


def push(timeline: Timeline, at_ms: int, source: str, value: float = 0.0) -> list[Tick]:
    """One message; a camera's picture is filled with the value, a vector holds it throughout."""
    widths = dict((*timeline.state, *timeline.action))
    if source in timeline.cameras:
        data = picture(value)
    else:
        data = np.full(widths[source], value, np.float32)
    timeline.note(f'/{source}', at_ms * MS)
    return timeline.push(source, at_ms * MS, data)


def feed(timeline: Timeline, messages: list[Message]) -> list[Tick]:
    ticks = [tick for message in messages for tick in push(timeline, *message)]
    return ticks + timeline.flush()


def stream(source: str, period_ms: float, until_ms: float, start_ms: float = 0) -> list[Message]:
    """Messages at a steady pace that carry their number."""
    times = np.arange(start_ms, until_ms, period_ms)
    return [(round(at), source, float(i % 250)) for i, at in enumerate(times)]


def in_time(*streams: list[Message]) -> list[Message]:
    return sorted(message for messages in streams for message in messages)


def stamps_ms(ticks: list[Tick]) -> list[float]:
    return [tick.stamp_ns / MS for tick in ticks]


def as_values(tick: Tick) -> tuple:
    """Everything that a tick says, in a form that compares."""
    return (
        tick.stamp_ns,
        tick.segment,
        None if tick.picture is None else int(tick.picture[0, 0, 0]),
        {name: int(p[0, 0, 0]) for name, p in tick.pictures.items()},
        np.nan_to_num(tick.state, nan=-1).tolist(),
        np.nan_to_num(tick.action, nan=-1).tolist(),
        {name: [int(p[0, 0, 0]) for p in seen] for name, seen in tick.seen.items()},
        tick.arrived,
    )


def test_every_third_picture_of_30_hz_is_a_tick_of_10_hz():
    ticks = feed(make_timeline(), stream('top', 1000 / 30, 1000))
    assert [int(t.picture[0, 0, 0]) for t in ticks] == list(range(0, 30, 3))


def test_pictures_at_the_clocks_own_rate_are_ticks_one_by_one_despite_jitter():
    rng = np.random.default_rng(0)
    messages = [(i * 100 + int(rng.integers(-12, 13)), 'top', i) for i in range(30)]
    assert stamps_ms(feed(make_timeline(), messages)) == [at for at, _, _ in messages]


def test_a_tick_shows_the_picture_stamped_at_it():
    ticks = feed(make_timeline(), [(0, 'top', 7), (100, 'top', 8)])
    assert [int(t.picture[0, 0, 0]) for t in ticks] == [7, 8]


def test_other_streams_count_with_their_newest_value_at_or_before_the_tick():
    messages = [(90, 'joints', 1), (100, 'command', 5), (100, 'top', 0), (110, 'joints', 2)]
    (tick,) = feed(make_timeline(), messages)
    assert tick.state.tolist() == [1, 1]
    assert tick.action.tolist() == [5]


def test_a_value_stamped_after_the_tick_is_never_used_even_if_it_is_the_only_one():
    (tick,) = feed(make_timeline(), [(101, 'joints', 2), (100, 'top', 0)])
    assert np.isnan(tick.state).all()


def test_a_value_older_than_the_greatest_age_is_unknown():
    timeline = make_timeline(max_age_ns=300 * MS)
    messages = [(0, 'joints', 1), *stream('top', 100, 600)]
    known = {t.stamp_ns // MS: not np.isnan(t.state).any() for t in feed(timeline, messages)}
    assert known == {0: True, 100: True, 200: True, 300: True, 400: False, 500: False}


def test_a_message_that_comes_late_but_within_the_lateness_still_counts():
    timeline = make_timeline()
    push(timeline, 0, 'joints', 1)
    push(timeline, 100, 'top')
    assert push(timeline, 250, 'command') == []
    (tick,) = push(timeline, 95, 'joints', 2) + push(timeline, 310, 'command')
    assert tick.state.tolist() == [2, 2]


def test_a_tick_closes_as_soon_as_every_stream_has_passed_it():
    timeline = make_timeline()
    assert push(timeline, 100, 'top') == []
    assert push(timeline, 101, 'joints') == []
    assert stamps_ms(push(timeline, 102, 'command')) == [100]


def test_a_tick_closes_without_a_silent_stream_once_the_lateness_is_over():
    timeline = make_timeline()
    push(timeline, 100, 'top')
    assert push(timeline, 100 + LATENESS_MS - 1, 'joints') == []
    assert stamps_ms(push(timeline, 100 + LATENESS_MS, 'joints')) == [100]


def test_small_disorder_is_dropped_and_counted():
    timeline = make_timeline()
    ticks = feed(
        timeline, [(0, 'joints', 1), (50, 'joints', 2), (40, 'joints', 9), (60, 'top', 0)]
    )
    assert ticks[0].state.tolist() == [2, 2]
    assert timeline.losses['joints'].out_of_order == 1
    assert timeline.losses['joints'].resets == 0


def test_a_stamp_that_repeats_is_dropped_and_counted():
    timeline = make_timeline()
    assert len(feed(timeline, [(0, 'top', 1), (0, 'top', 2)])) == 1
    assert timeline.losses['top'].out_of_order == 1


def test_a_jump_back_of_a_second_begins_a_new_segment_that_knows_nothing_of_the_old_one():
    timeline = make_timeline()
    messages = [*in_time(stream('top', 100, 2000), stream('joints', 50, 2000)), (900, 'top', 3)]
    ticks = feed(timeline, messages)
    assert timeline.losses['top'].resets == 1
    assert (ticks[-2].segment, ticks[-1].segment) == (0, 1)
    assert ticks[-1].stamp_ns == 900 * MS
    assert np.isnan(ticks[-1].state).all()
    assert len(ticks[-1].seen['top']) == 1


def test_what_waits_at_a_jump_back_is_closed_not_lost():
    timeline = make_timeline()
    push(timeline, 5000, 'top', 1)
    assert stamps_ms(push(timeline, 0, 'top', 2)) == [5000]


def test_the_message_that_steps_the_clock_back_is_listed_as_arrived_in_the_new_segment():
    ticks = feed(make_timeline(), [(5000, 'top', 1), (0, 'top', 2)])
    assert [t.arrived for t in ticks] == [{'/top': [5000 * MS]}, {'/top': [0]}]


def test_ticks_go_on_without_a_picture_while_the_camera_is_silent():
    messages = in_time(stream('top', 100, 500), stream('joints', 20, 2001))
    ticks = feed(make_timeline(), messages)
    blind = [t for t in ticks if t.picture is None]
    assert stamps_ms(blind) == [500 + 100 * i for i in range(13)]
    assert not any(np.isnan(t.state).any() for t in blind)


def test_a_camera_that_hesitates_causes_no_blind_tick():
    pictures = [(0, 'top', 0), (100, 'top', 1), (330, 'top', 2), (430, 'top', 3)]
    ticks = feed(make_timeline(), in_time(pictures, stream('joints', 10, 500)))
    assert len(ticks) == 4
    assert all(t.picture is not None for t in ticks)


def test_the_first_picture_after_a_silence_is_a_tick():
    for back_ms in range(700, 800, 7):
        pictures = [*stream('top', 100, 300), (back_ms, 'top', 9)]
        ticks = feed(make_timeline(), in_time(pictures, stream('joints', 20, 1000)))
        assert back_ms in stamps_ms([t for t in ticks if t.picture is not None])


def test_a_silence_of_everything_is_filled_for_some_seconds_only():
    messages = [*in_time(stream('top', 100, 300), stream('joints', 20, 300)), (10**9, 'joints', 0)]
    ticks = feed(make_timeline(), messages)
    assert len([t for t in ticks if t.picture is None]) <= MAX_BLIND_NS / (NS // 10)


def test_a_stream_whose_clock_is_years_ahead_makes_no_flood_of_ticks():
    ticks = feed(make_timeline(), [(10**12, 'command', 0), (0, 'top', 0), (100, 'top', 1)])
    assert len(ticks) <= 1 + MAX_BLIND_NS / (NS // 10)


def test_blind_ticks_go_on_for_as_long_as_other_streams_do():
    messages = in_time(stream('top', 100, 300), stream('joints', 20, 20_000))
    gaps = np.diff(stamps_ms(feed(make_timeline(), messages)))
    assert gaps.max() == 100


def test_pictures_that_come_back_after_a_long_silence_are_ticks_again():
    messages = in_time(stream('top', 100, 300), stream('top', 100, 61_000, start_ms=60_000))
    ticks = feed(make_timeline(), messages)
    assert [t.picture is not None for t in ticks][-10:] == [True] * 10


def test_without_a_camera_the_state_sets_the_pace():
    timeline = make_timeline(cameras=[])
    ticks = feed(timeline, in_time(stream('joints', 20, 1000), stream('command', 50, 1000)))
    assert stamps_ms(ticks) == list(range(0, 1000, 80))
    assert all(t.picture is None and t.pictures == {} for t in ticks)


def test_without_camera_and_state_the_commands_set_the_pace():
    timeline = make_timeline(cameras=[], state=[])
    ticks = feed(timeline, stream('command', 100, 500))
    assert [t.action[0] for t in ticks] == [0, 1, 2, 3, 4]
    assert ticks[0].state.shape == (0,)


def test_a_robot_without_state_has_nothing_in_its_place_and_a_silent_one_has_nan():
    (without,) = feed(make_timeline(state=[]), [(0, 'top', 0)])
    (silent,) = feed(make_timeline(), [(0, 'top', 0)])
    assert without.state.shape == (0,)
    assert np.isnan(silent.state).all()
    assert silent.state.shape == (2,)


def test_values_of_several_sources_are_laid_side_by_side():
    timeline = make_timeline(state=[('joints', 2), ('gripper', 1), ('base', 3)])
    (tick,) = feed(timeline, [(0, 'base', 3), (0, 'joints', 1), (0, 'top', 0)])
    assert np.array_equal(tick.state, [1, 1, np.nan, 3, 3, 3], equal_nan=True)


def test_other_cameras_are_held_and_the_primary_one_is_not():
    timeline = make_timeline(cameras=['top', 'wrist'])
    messages = [(0, 'wrist', 4), (50, 'top', 1), *stream('joints', 20, 1000, start_ms=60)]
    first, *blind = feed(timeline, messages)
    assert {name: p[0, 0, 0] for name, p in first.pictures.items()} == {'top': 1, 'wrist': 4}
    assert [(t.stamp_ns // MS, set(t.pictures)) for t in blind] == [
        *((at, {'wrist'}) for at in (150, 250, 350, 450)),
        *((at, set()) for at in (550, 650)),
    ]


def test_pictures_between_ticks_are_seen_at_the_next_one():
    ticks = feed(make_timeline(), stream('top', 25, 201))
    assert [len(t.seen['top']) for t in ticks] == [1, 3, 3]


def test_every_noted_message_is_listed_at_the_tick_that_covers_it():
    messages = in_time(stream('top', 100, 1000), stream('joints', 30, 900))
    ticks = feed(make_timeline(), messages)
    listed = [ns // MS for t in ticks for ns in t.arrived.get('/joints', [])]
    assert listed == [at for at, source, _ in messages if source == 'joints']
    assert all(ns <= t.stamp_ns for t in ticks for ns in t.arrived.get('/joints', []))


def test_a_timeline_without_sources_is_refused():
    with pytest.raises(ValueError, match='at least one'):
        make_timeline(cameras=[], state=[], action=[])


@st.composite
def arrivals(draw) -> tuple[list[Message], list[Message]]:
    """The same messages in the order of their stamps and in one that the lateness allows."""
    streams = []
    for source in ('top', 'joints', 'command'):
        steps = draw(st.lists(st.integers(5, 700), min_size=1, max_size=25))
        begin = draw(st.integers(0, 600))
        times = np.cumsum([begin, *steps]).tolist()
        late = draw(st.integers(0, LATENESS_MS - 1))
        streams.append([((at, source, i), at + late) for i, at in enumerate(times)])
    sent = sorted(message for messages in streams for message in messages)
    by_arrival = sorted(sent, key=lambda pair: (pair[1], pair[0][1]))
    return [message for message, _ in sent], [message for message, _ in by_arrival]


@given(arrivals(), st.sampled_from([5, 10, 15, 30]))
@settings(max_examples=100)
def test_ticks_do_not_depend_on_the_order_of_arrival_within_the_lateness(orders, clock_hz):
    in_order, as_arrived = (feed(make_timeline(clock_hz=clock_hz), o) for o in orders)
    assert list(map(as_values, in_order)) == list(map(as_values, as_arrived))
