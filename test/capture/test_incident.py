# SPDX-License-Identifier: Apache-2.0
"""Alarms and firings become incidents: one window each, no cause lost."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_flywheel.capture.incident import CaptureSettings, Incident, IncidentTracker
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import AnomalyScore, ChannelScore

HZ = 10
SETTINGS = CaptureSettings(
    pre_roll_s=1.0, post_roll_s=2.0, clear_share=0.8, clear_s=0.5, max_s=20.0
)


def observe(tracker: IncidentTracker, at_s: float, **scores: float) -> Incident | None:
    """One tick; each channel's score is held against a threshold of one."""
    channels = (
        ChannelScore(name, score, 1.0, score > 1.0, False, f'{name} {score:g}')
        for name, score in scores.items()
    )
    return tracker.observe(AnomalyScore(round(at_s * NS), tuple(channels), '', 'none'))


def loud(at_s: float, *spans: tuple[float, float], high: float = 2.0) -> float:
    """A score that is high within the spans and low elsewhere."""
    return high if any(a <= at_s < b for a, b in spans) else 0.1


def track(
    until_s: float, tracker: IncidentTracker | None = None, fires=(), **spans
) -> list[Incident]:
    """Incidents of a run from 0 s; by channel, the spans in which it alarms."""
    tracker = tracker or IncidentTracker(SETTINGS)
    found = []
    for at_s in (i / HZ for i in range(round(until_s * HZ))):
        for name, a, b in fires:
            if a <= at_s < b:
                tracker.fire(name, round(at_s * NS), 'a reason')
        scores = {name: loud(at_s, *s) for name, s in spans.items()}
        found.append(observe(tracker, at_s, **scores))
    return [incident for incident in (*found, tracker.flush()) if incident]


def window_s(incident: Incident) -> tuple[float, float, float]:
    return tuple(t / NS for t in (incident.start_ns, incident.onset_ns, incident.end_ns))


def names(incident: Incident) -> list[str]:
    return [cause.name for cause in incident.causes]


def test_a_quiet_run_has_no_incident():
    assert track(10, state=[]) == []


def test_an_alarm_is_kept_with_what_came_before_and_after_it():
    (incident,) = track(20, state=[(5, 6)])
    start, onset, end = window_s(incident)
    assert (start, onset) == (4, 5)
    assert end == pytest.approx(6 + SETTINGS.clear_s + SETTINGS.post_roll_s, abs=0.2)
    assert not incident.cut


def test_an_incident_is_handed_over_once_its_post_roll_has_been_seen():
    tracker = IncidentTracker(SETTINGS)
    closed = [
        at_s / HZ
        for at_s in range(200)
        if observe(tracker, at_s / HZ, state=loud(at_s / HZ, (5, 5.1)))
    ]
    assert closed == [pytest.approx(5 + SETTINGS.clear_s + SETTINGS.post_roll_s, abs=0.2)]
    assert not tracker.is_open


def test_the_window_begins_no_earlier_than_the_recording():
    (incident,) = track(10, state=[(0.3, 1)])
    assert incident.start_ns == 0


def test_the_window_ends_with_the_recording():
    (incident,) = track(10, state=[(9, 11)])
    assert incident.end_ns == round(9.9 * NS) + 1


def test_a_score_that_flickers_about_its_threshold_is_one_alarm():
    tracker = IncidentTracker(SETTINGS)
    for i in range(40):
        observe(tracker, i / HZ, state=1.1 if i % 2 else 0.9)
    incident = tracker.flush()
    assert [len(c.alarms) for c in incident.causes] == [1]


def test_an_alarm_goes_on_until_the_score_is_well_below_the_threshold():
    tracker = IncidentTracker(SETTINGS)
    observe(tracker, 0, state=2)
    for i in range(1, 50):
        assert observe(tracker, i / HZ, state=0.9) is None
    assert tracker.flush().causes[0].alarms == ((0, round(4.9 * NS)),)


def test_a_score_below_the_threshold_raises_no_alarm_by_itself():
    tracker = IncidentTracker(SETTINGS)
    assert all(observe(tracker, i / HZ, state=0.9) is None for i in range(50))
    assert not tracker.is_open


def test_an_alarm_whose_channel_falls_silent_ends():
    tracker = IncidentTracker(SETTINGS)
    observe(tracker, 0, state=2)
    found = [observe(tracker, i / HZ, state=math.nan) for i in range(1, 40)]
    assert sum(x is not None for x in found) == 1


def test_overlapping_alarms_are_one_incident_that_keeps_every_cause():
    (incident,) = track(20, state=[(5, 7)], picture=[(6, 8)], clock_health=[(6.5, 6.6)])
    assert names(incident) == ['state', 'picture', 'clock_health']
    assert [c.onset_ns / NS for c in incident.causes] == [5, 6, 6.5]


def test_an_alarm_within_the_post_roll_extends_the_incident():
    (incident,) = track(20, state=[(5, 5.2)], picture=[(7, 7.2)])
    assert names(incident) == ['state', 'picture']
    assert window_s(incident)[2] > 9


def test_an_alarm_after_the_post_roll_is_another_incident():
    first, second = track(20, state=[(5, 5.2)], picture=[(9, 9.2)])
    assert (names(first), names(second)) == (['state'], ['picture'])


def test_a_channel_that_alarms_twice_within_an_incident_has_two_intervals():
    (incident,) = track(20, state=[(5, 5.2), (6.5, 6.7)])
    (cause,) = incident.causes
    assert [a / NS for a, _ in cause.alarms] == [5, 6.5]


def test_a_cause_tells_its_highest_score_and_what_was_surprising_then():
    tracker = IncidentTracker(SETTINGS)
    for i, score in enumerate((1.5, 7.0, 2.0)):
        observe(tracker, i / HZ, state=score)
    (cause,) = tracker.flush().causes
    assert (cause.peak, cause.threshold, cause.detail) == (7, 1, 'state 7')


def test_an_alarm_that_never_ends_is_cut_once():
    (incident,) = track(100, state=[(5, 1000)])
    assert incident.cut
    assert window_s(incident)[2] == 5 + SETTINGS.max_s


def test_a_cut_alarm_may_alarm_again_once_it_has_cleared():
    cut, again = track(100, state=[(5, 50), (60, 61)])
    assert (cut.cut, again.cut) == (True, False)
    assert again.onset_ns == 60 * NS


def test_while_a_cut_alarm_goes_on_other_channels_still_open_incidents():
    cut, other = track(100, state=[(5, 1000)], picture=[(60, 61)])
    assert (names(cut), names(other)) == (['state'], ['picture'])


def test_an_alarm_that_is_over_by_the_greatest_length_is_not_called_cut():
    (incident, *_) = track(60, state=[(5, 23.6)])
    assert window_s(incident)[2] <= 5 + SETTINGS.max_s
    assert not incident.cut


def test_a_firing_is_a_cause_like_an_alarm():
    (incident,) = track(20, state=[(5, 6)], fires=[('mark', 5.5, 5.6)])
    state, mark = incident.causes
    assert (mark.name, mark.detail, mark.onset_ns) == ('trigger:mark', 'a reason', 5.5 * NS)
    assert math.isnan(mark.peak)
    assert math.isnan(mark.threshold)
    assert state.name == 'state'


def test_a_firing_alone_opens_an_incident():
    (incident,) = track(20, fires=[('mark', 5, 5.1)])
    assert window_s(incident) == (4, 5, 7)


def test_a_trigger_that_holds_for_ever_is_cut_once_too():
    (incident,) = track(100, fires=[('mark', 5, 1000)])
    assert incident.cut


def test_a_cut_trigger_may_fire_again_after_a_pause():
    cut, again = track(100, fires=[('mark', 5, 50), ('mark', 60, 61)])
    assert (cut.cut, again.onset_ns) == (True, 60 * NS)


def test_a_firing_stamped_ahead_of_the_tick_does_not_push_the_onset_behind_an_alarm():
    tracker = IncidentTracker(SETTINGS)
    observe(tracker, 0.9, state=0)
    tracker.fire('mark', round(1.15 * NS), '')
    observe(tracker, 1.0, state=2)
    incident = tracker.flush()
    assert incident.onset_ns == NS
    assert names(incident) == ['state', 'trigger:mark']


def test_a_firing_from_the_past_does_not_shorten_an_incident():
    tracker = IncidentTracker(SETTINGS)
    observe(tracker, 9, state=2)
    tracker.fire('mark', round(7.5 * NS), '')
    assert observe(tracker, 9.8, state=0) is None
    assert tracker.is_open


def test_a_firing_after_the_last_tick_still_has_a_window():
    tracker = IncidentTracker(SETTINGS)
    observe(tracker, 1, state=0)
    tracker.fire('mark', round(1.2 * NS), '')
    incident = tracker.flush()
    assert incident.start_ns <= incident.onset_ns < incident.end_ns


def test_a_clock_that_begins_anew_closes_what_is_open_and_forgets_every_alarm():
    tracker = IncidentTracker(SETTINGS)
    for i in range(20):
        observe(tracker, 100 + i / HZ, state=2)
    closed = tracker.begin_anew()
    assert window_s(closed)[1] == 100
    assert not tracker.is_open
    assert observe(tracker, 0, state=0.9) is None  # would hold an alarm that was on
    assert not tracker.is_open


def test_after_the_clock_began_anew_no_window_reaches_back_before_it():
    tracker = IncidentTracker(SETTINGS)
    observe(tracker, 100, state=0)
    tracker.begin_anew()
    for i in range(3):
        observe(tracker, 5 + i / HZ, state=2)
    assert window_s(tracker.flush())[0] == 5


def test_flushing_with_nothing_open_gives_nothing():
    assert IncidentTracker(SETTINGS).flush() is None


alarming = st.lists(st.booleans(), min_size=1, max_size=300)


@given(alarming, alarming)
def test_every_alarm_lies_within_exactly_one_incident_that_names_it(state, picture):
    tracker = IncidentTracker(SETTINGS)
    incidents = []
    length = max(len(state), len(picture))
    raised = {
        'state': [i for i, on in enumerate(state) if on],
        'picture': [i for i, on in enumerate(picture) if on],
    }
    for i in range(length):
        scores = {name: 2.0 if i in at else 0.0 for name, at in raised.items()}
        incidents.append(observe(tracker, i / HZ, **scores))
    incidents = [x for x in (*incidents, tracker.flush()) if x]
    cut_alarms = any(x.cut for x in incidents)
    for name, at in raised.items():
        for stamp_ns in (round(i / HZ * NS) for i in at):
            holding = [
                x
                for x in incidents
                if any(
                    c.name == name and any(a <= stamp_ns <= b for a, b in c.alarms)
                    for c in x.causes
                )
            ]
            assert len(holding) == 1 or cut_alarms
            assert all(x.start_ns <= stamp_ns <= x.end_ns for x in holding)
