# SPDX-License-Identifier: Apache-2.0
"""What nominal recordings make normal, and what a calibration refuses."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moment_maker import GivenChannel, moment, vector

from cosmos_flywheel import schemas
from cosmos_flywheel.core.calibration import (
    MARGIN,
    SCHEMA,
    Calibration,
    ChannelCalibration,
    Recording,
    calibrate,
    calibrate_channel,
)
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.grounding import Grounding, Index
from cosmos_flywheel.core.scoring import Scorer


def make_channel(floor: float = 0.1, elements: int = 1, **options) -> GivenChannel:
    return GivenChannel(np.full(elements, floor, np.float32), **options)


def steady(size: float, ticks: int = 100) -> np.ndarray:
    """A recording whose evidence is always this."""
    return np.full((ticks, 1), size, np.float32)


def make_calibration(**changes) -> Calibration:
    channels = {'state': calibrate_channel(make_channel(), [steady(1), steady(2)])}
    made = Calibration(
        robot='arm',
        engine={'level': 'flow', 'sha256': 'a' * 64},
        size=(96, 160),
        clock_hz=15.0,
        settings_hash='b' * 64,
        nominal={'bags': ['1' * 16, '2' * 16], 'bag_count': 2, 'hours': 0.1},
        channels=channels,
    )
    return replace(made, **changes)


def test_each_recording_is_held_against_what_the_others_call_normal():
    known = calibrate_channel(make_channel(), [steady(1), steady(1), steady(3)])
    assert known.nominal_max == 3  # by its own measure the third would score 1
    assert known.scale == (3,)


def test_a_threshold_lies_a_stated_margin_above_the_largest_nominal_score():
    known = calibrate_channel(make_channel(), [steady(1), steady(2)])
    assert known.nominal_max == 2
    assert known.margin == MARGIN
    assert known.threshold == pytest.approx(2 * MARGIN, rel=1e-4)


def test_a_threshold_never_lies_below_normal():
    known = calibrate_channel(make_channel(floor=10), [steady(1), steady(2)])
    assert known.scale == (10,)
    assert known.threshold == pytest.approx(MARGIN, rel=1e-4)


def test_the_only_recording_is_held_against_itself():
    assert calibrate_channel(make_channel(), [steady(2)]).nominal_max == 1


def test_limits_that_need_no_learning_stay_and_get_no_margin():
    known = calibrate_channel(make_channel(adaptive=False), [steady(0.05), steady(0.3)])
    assert known.scale == pytest.approx((0.1,))
    assert known.margin == 1
    assert known.threshold == pytest.approx(3, rel=1e-4)


def test_a_channel_that_was_blind_in_every_recording_keeps_its_floors():
    known = calibrate_channel(make_channel(), [steady(np.nan), steady(np.nan)])
    assert known.scale == pytest.approx((0.1,))
    assert known.nominal_max == 0
    assert np.isfinite(known.threshold)


@given(st.lists(st.floats(0, 1e4, width=32), min_size=2, max_size=5), st.booleans())
def test_no_nominal_recording_alarms_under_the_calibration_it_is_part_of(sizes, adaptive):
    channel = make_channel(adaptive=adaptive)
    known = calibrate_channel(channel, [steady(s, 5) for s in sizes])
    norms = make_calibration(channels={'state': known}).norms([channel])
    scorer = Scorer([channel], norms, calibration_id='', level='')
    assert not any(scorer.score(moment(0, vector(s))).alarms for s in sizes)


def test_nothing_is_guaranteed():
    assert not calibrate_channel(make_channel(), [steady(1)]).guaranteed


def test_a_calibration_comes_back_from_its_file_as_it_was(tmp_path):
    made = make_calibration()
    path = tmp_path / 'calibration.json'
    path.write_text(json.dumps(made.to_mapping()))
    assert Calibration.from_mapping(schemas.load(path, SCHEMA)) == made


def test_an_edited_file_is_refused():
    document = json.loads(json.dumps(make_calibration().to_mapping()))
    document['channels']['state']['threshold'] = 99.0
    with pytest.raises(ConfigError, match=r'was edited.*flywheel fit'):
        Calibration.from_mapping(document)


@pytest.mark.parametrize(
    'change',
    [{'robot': 'leg'}, {'clock_hz': 10.0}, {'size': (8, 8)}, {'channels': {}}],
    ids=lambda c: next(iter(c)),
)
def test_another_content_has_another_id(change):
    assert make_calibration(**change).id != make_calibration().id


def test_a_recording_of_other_topics_is_refused_and_the_difference_named():
    channel = make_channel(elements=2)
    with pytest.raises(ConfigError, match=r"'arm'.*channel state.*new: element 1"):
        make_calibration().norms([channel])


def test_a_recording_without_a_calibrated_element_is_refused_and_it_is_named():
    channels = {'state': ChannelCalibration(('element 0', 'knee'), (1.0, 1.0), 2.0, 1.0)}
    with pytest.raises(ConfigError, match='missing: knee'):
        make_calibration(channels=channels).norms([make_channel()])


def test_a_channel_that_was_never_calibrated_is_refused():
    with pytest.raises(ConfigError, match=r'channel tracking_error.*was not there'):
        make_calibration().norms([make_channel(name='tracking_error')])


def test_a_muted_channel_has_no_threshold_and_keeps_its_scale():
    deaf = Index(0.0, (-0.1, 0.1), {}, 60, 8)
    muted = make_calibration(grounding=Grounding(True, {'state': deaf}))
    (norm,) = muted.norms([make_channel()]).values()
    assert math.isnan(norm.normal(0).threshold)
    assert norm.normal(0).scale == 2
    assert 'state is muted' in muted.muted('state')


def test_a_grounding_is_written_and_read_back_and_older_files_have_none():
    deaf = Index(0.5, (0.4, 0.6), {'stay': 0.3}, 60, 8)
    known = make_calibration(grounding=Grounding(True, {'state': deaf}))
    document = json.loads(json.dumps(known.to_mapping()))
    schemas.check(document, SCHEMA)
    assert Calibration.from_mapping(document) == known
    assert 'grounding' not in make_calibration().to_mapping()


def test_what_is_normal_does_not_change_while_watching():
    (norm,) = make_calibration().norms([make_channel()]).values()
    before = norm.normal(0)
    norm.learn(0, vector(500), alarm=False)
    assert norm.normal(10**9) is before


def nominal_hours(hours: float, seed: int = 0) -> list[Recording]:
    """Bags of ten minutes at 1 Hz whose scores are alike."""
    draw = np.random.default_rng(seed)
    return [
        Recording({'state': np.abs(draw.normal(size=(600, 1))).astype(np.float32)})
        for _ in range(round(6 * hours))
    ]


def test_hours_of_recordings_prove_what_minutes_do_not():
    channel = make_channel()
    _, short = calibrate([channel], nominal_hours(1), 1.0, budget_per_hour=2)
    known, long = calibrate([channel], nominal_hours(20), 1.0, budget_per_hour=2)
    assert not short.guaranteed
    assert short.missing_hours > 0
    assert long.guaranteed
    assert long.missing_hours == 0
    assert long.proved_per_hour == 2
    assert known['state'].guaranteed
    assert known['state'].margin < MARGIN


def test_a_guaranteed_threshold_keeps_its_budget_on_new_recordings():
    channel = make_channel()
    known, promise = calibrate([channel], nominal_hours(20), 1.0, budget_per_hour=2)
    fresh = np.concatenate([r.evidence['state'] for r in nominal_hours(50, seed=1)])
    scores = (fresh / np.array(known['state'].scale, np.float32)).reshape(-1, 10)
    alarms = int((scores.max(1) > known['state'].threshold).sum())
    assert 0 < alarms / 50 <= promise.budget_per_hour


def test_what_the_engine_was_fitted_on_proves_nothing():
    learnt = [Recording(r.evidence, seen=True) for r in nominal_hours(20)]
    _, promise = calibrate([make_channel()], learnt, 1.0, budget_per_hour=2)
    assert promise.tested_blocks == 0
    assert not promise.guaranteed


def test_a_held_out_part_says_what_is_proved():
    _, promise = calibrate([make_channel()], nominal_hours(1), 1.0)
    assert promise.tested_blocks == 180
    assert promise.tested_alarms <= 3
    assert 1 < promise.proved_per_hour < 20
    assert 'not guaranteed' in promise.in_words()


def test_one_short_recording_is_taken_as_it_is_and_proves_nothing():
    (alone,) = nominal_hours(1 / 6)
    short = Recording({'state': alone.evidence['state'][:90]})
    known, promise = calibrate([make_channel()], [short], 1.0)
    assert known['state'].nominal_max == 1
    assert promise.tested_blocks == 0
    assert 'nothing is proved' in promise.in_words()


def test_the_parts_of_one_long_recording_are_held_against_one_another():
    known, promise = calibrate([make_channel()], nominal_hours(1 / 6), 1.0)
    assert known['state'].nominal_max > 1
    assert promise.tested_blocks == 30


def test_all_channels_share_one_budget():
    """Channels that say the same count once: a second one costs no hours and no threshold."""
    one, twin = make_channel(), make_channel(name='twin')
    nominal = nominal_hours(20)
    double = [Recording({**r.evidence, 'twin': r.evidence['state']}) for r in nominal]
    alone, promise = calibrate([one], nominal, 1.0, budget_per_hour=2)
    both, promise_of_both = calibrate([one, twin], double, 1.0, budget_per_hour=2)
    assert promise.guaranteed
    assert promise_of_both == promise
    assert both['twin'].threshold == both['state'].threshold
    assert both['state'].threshold == pytest.approx(alone['state'].threshold, rel=0.2)


def test_the_order_of_recordings_changes_nothing():
    channel, nominal = make_channel(), nominal_hours(2)
    assert calibrate([channel], nominal, 1.0) == calibrate([channel], nominal[::-1], 1.0)


def test_what_is_proved_where_nothing_is_guaranteed_holds_for_the_thresholds_in_force():
    wrong = 0
    fresh = np.concatenate([r.evidence['state'] for r in nominal_hours(20, seed=99)])
    for seed in range(60):
        known, promise = calibrate([make_channel()], nominal_hours(0.5, seed), 1.0)
        scores = (fresh / np.array(known['state'].scale, np.float32)).reshape(-1, 10)
        rate = (scores.max(1) > known['state'].threshold).mean() * 360
        wrong += rate > promise.proved_per_hour
    assert wrong <= 7  # 3 are to be expected at most; 7 or fewer in 98 % of such trials
