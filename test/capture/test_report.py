# SPDX-License-Identifier: Apache-2.0
"""The report says everything that was found, honestly, in bounded space, and trusts no word."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from harvest_example import (
    make_episode,
    make_hostile_result,
    make_picture,
    make_result,
    make_trace,
)

from cosmos_flywheel.capture.report import media as media_module
from cosmos_flywheel.capture.report.evidence import pack_frame
from cosmos_flywheel.capture.report.media import illustrate, shoot_film
from cosmos_flywheel.capture.report.page import draw_report, write_report
from cosmos_flywheel.capture.report.result import BagTrace, ClipFrame, HarvestResult
from cosmos_flywheel.capture.report.templating import clock_words, ratio_words, span_words
from cosmos_flywheel.capture.report.words import REACH
from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.store.records import Cluster
from cosmos_flywheel.video.decode import decode_video

HOSTILE = (
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    'javascript:alert(1)',
    '{{ 7 * 7 }}{% raw %}',
    '../../../etc/x',
    '\ud800\x00\u202egnp.exe',
    '</style></title><svg onload=alert(1)>',
)


class Elements(HTMLParser):
    """All start tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ''
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every element of one kind."""
        return [attrs for name, attrs in self.tags if name == tag]


def words_of(page: str) -> str:
    """The page's text with single blanks."""
    return re.sub(r'\s+', ' ', Elements(page).text)


def test_report_is_one_file_of_equal_bytes_each_time(tmp_path: Path) -> None:
    first = write_report(make_result(), tmp_path / 'deep' / 'report.html')
    second = write_report(make_result(), tmp_path / 'again.html')
    assert first.read_bytes() == second.read_bytes()
    assert [p.name for p in first.parent.iterdir()] == ['report.html']


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = Elements(draw_report(make_result()))
    loaded = [
        value
        for tag, attrs in page.tags
        for key, value in attrs.items()
        if key in ('src', 'poster', 'srcset', 'data') or (key == 'href' and tag != 'a')
    ]
    assert loaded
    assert all(value.startswith('data:') for value in loaded)
    assert 'http' not in re.sub(r'http-equiv|base64,[^"]*', '', draw_report(make_result()))


def test_every_link_inside_the_page_has_its_target() -> None:
    page = Elements(draw_report(make_result()))
    ids = [attrs['id'] for _, attrs in page.tags if 'id' in attrs]
    links = {attrs['href'] for attrs in page.all('a')}
    assert len(ids) == len(set(ids))
    assert {'#b1', '#b2', '#e1'} <= links
    assert {link[1:] for link in links if link.startswith('#')} <= set(ids)
    assert './episodes/0000000000000001' in links


def test_every_picture_has_words_and_every_episode_its_evidence() -> None:
    page = Elements(draw_report(make_result()))
    assert len(page.all('img')) == 15
    assert all(attrs['alt'] for attrs in page.all('img'))
    assert page.all('video')[0]['aria-label'].startswith('Video of episode 1')
    text = words_of(draw_report(make_result()))
    for part in ('−0.80 s', '6.1×', 'joint gantry_x', 'episodes label 0000000000000001 failure'):
        assert part in text


def test_kinds_are_listed_most_common_first_and_linked_both_ways() -> None:
    rare, common = Cluster('0a0a0a0a', 'state (wrist)'), Cluster('0b0b0b0b', 'picture (top left)')
    kinds = {1: rare, 2: common, 3: common}
    episodes = [replace(make_episode(number=n), cluster=kind) for n, kind in kinds.items()]
    page = draw_report(make_result(*episodes))
    rows = [attrs['id'] for attrs in Elements(page).all('tr') if 'id' in attrs]
    assert rows == ['k0b0b0b0b', 'k0a0a0a0a']
    links = [attrs['href'] for attrs in Elements(page).all('a')]
    assert [links.count(f'#{row}') for row in rows] == [2, 1]
    text = words_of(page)
    assert re.search(r'picture \(top left\)\s+0b0b0b0b\s+2\s+1\s', text)
    assert '1 other like it' in text
    assert 'the only one of its kind' in text


def test_a_very_common_kind_is_linked_in_part() -> None:
    kind = Cluster('0b0b0b0b', '<b>state</b>')
    views = [make_episode(number=n).without_pictures() for n in range(40)]
    page = draw_report(make_result(*(replace(view, cluster=kind) for view in views)))
    assert 'and 16 more' in words_of(page)
    assert '39 others like it' in words_of(page)
    assert '<b>state' not in page


def test_without_clusters_there_are_no_kinds() -> None:
    assert 'like it' not in words_of(draw_report(make_result()))
    assert 'id="kinds"' not in draw_report(make_result())


def test_calibration_and_guarantee_are_stated_honestly() -> None:
    assert 'No false-alarm rate is guaranteed' in words_of(draw_report(make_result()))
    assert 'Not calibrated.' in words_of(draw_report(make_result(calibrated=False)))
    trace = make_trace()
    channels = (replace(trace.channels[0], guaranteed=True), *trace.channels[1:])
    proved = replace(make_result(), bags=(replace(trace, channels=channels),))
    text = words_of(draw_report(proved))
    assert 'proved for picture; it is not guaranteed for the other channels' in text


def test_action_grounding_is_told_once_for_all_bags() -> None:
    words = 'picture 0.78 (0.72 … 0.83), state 0.00 (-0.01 … 0.02), muted'
    traces = [replace(make_trace(name), grounding=words) for name in ('run_1', 'run_2')]
    text = words_of(draw_report(replace(make_result(), bags=tuple(traces))))
    assert text.count(f'Action grounding {words}.') == 1
    assert 'Action grounding' not in words_of(draw_report(make_result()))


def test_each_channel_of_the_bags_says_what_it_can_find_and_what_it_cannot() -> None:
    page = draw_report(make_result())
    text = words_of(page)
    names = {channel.name for channel in make_trace().channels}
    assert names <= set(REACH)
    for name, one in REACH.items():
        assert (one.finds in text) == (one.misses in text) == (name in names)
    chip = next(a for a in Elements(page).all('span') if a.get('class') == 'chip')
    assert 'Cannot find: ' in str(chip['title'])


def test_a_guarantee_that_one_bag_lacks_is_not_claimed() -> None:
    trace = make_trace()
    channels = (replace(trace.channels[0], guaranteed=True), *trace.channels[1:])
    mixed = replace(make_result(), bags=(replace(trace, channels=channels), make_trace('run_2')))
    assert 'No false-alarm rate is guaranteed' in words_of(draw_report(mixed))


def test_notes_and_unread_bags_are_shown() -> None:
    trace = replace(make_trace(), notes=('3 pictures were skipped.',))
    result = replace(make_result(), bags=(trace,), unread={'lost': 'the file is empty'})
    text = words_of(draw_report(result))
    assert '3 pictures were skipped.' in text
    assert '1 bag was not harvested' in text
    assert 'lost: the file is empty' in text


@pytest.mark.parametrize('text', HOSTILE)
def test_hostile_words_stay_words(tmp_path: Path, text: str) -> None:
    path = write_report(make_hostile_result(text), tmp_path / 'report.html')
    page, plain = (Elements(p) for p in (path.read_text('utf-8'), draw_report(make_result())))
    assert len(page.all('script')) == 1
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags} | {'ul', 'li', 'span'}
    assert not [k for _, attrs in page.tags for k in attrs if k.startswith('on')]
    assert not [a for a in page.all('a') if not a['href'].startswith(('#', './'))]


def test_an_empty_harvest_says_so() -> None:
    nothing = replace(make_result(), bags=(), episodes=())
    assert 'No bag could be watched' in words_of(draw_report(nothing))
    calm = replace(make_result(), episodes=())
    assert 'No alarm in 2 bags' in words_of(draw_report(calm))


@pytest.mark.parametrize(
    'trace',
    [
        BagTrace('run_1', 0.0, np.empty(0), ()),
        BagTrace('run_1', 5.0, np.empty(0), make_trace(ticks=0).channels),
        make_trace(ticks=1),
    ],
)
def test_bags_with_hardly_anything_in_them_are_shown(trace: BagTrace) -> None:
    assert 'run_1' in words_of(draw_report(replace(make_result(), bags=(trace,))))


def test_an_episode_of_an_unlisted_bag_is_not_lost() -> None:
    text = words_of(draw_report(make_result(make_episode('elsewhere'))))
    assert '1 episode to look at in 1 of 3 bags' in text
    assert 'elsewhere' in text


def test_a_window_is_not_drawn_beyond_its_bag() -> None:
    text = words_of(draw_report(make_result(replace(make_episode(), end_s=14.0))))
    assert 'kept 3.00 s to 10.00 s' in text


def test_causes_come_first_then_the_nearest_to_alarm() -> None:
    page = draw_report(make_result())
    rows = re.findall(r'<tr[^>]*><th scope="row">([a-z ]+)<', page)
    assert rows == ['tracking error', 'picture', 'state']


def test_pictures_that_cannot_be_decoded_do_not_stop_the_report() -> None:
    broken = replace(make_episode(), clip=(ClipFrame(3.0, b'nothing'),))
    text = words_of(draw_report(make_result(broken)))
    assert 'The video could not be made: Video frame at 3.000 s is no JPEG' in text


def test_the_film_marks_alarm_and_onset() -> None:
    film = shoot_film(make_episode())
    times_s, pictures = decode_video(film.webm)
    assert len(times_s) == 90
    assert film.duration_s == pytest.approx(6.0, abs=0.01)
    assert film.onset_x == pytest.approx(1000 / 3, abs=1)
    assert film.alarms == ((pytest.approx(333.3, abs=1), pytest.approx(333.3, abs=1)),)
    edges = [int(picture[0, 40, 0]) - int(picture[0, 40, 2]) for picture in pictures]
    assert min(edges[31:59]) > 60 > max(edges[:29])


def test_frames_out_of_time_or_size_are_dealt_with_and_told() -> None:
    clip = (
        pack_frame(0.0, make_picture(0)),
        pack_frame(0.1, make_picture(1, 30, 30)),
        pack_frame(0.1, make_picture(2)),
        pack_frame(0.05, make_picture(3)),
        pack_frame(0.2, make_picture(4)),
    )
    film = shoot_film(replace(make_episode(), clip=clip))
    assert decode_video(film.webm)[0] == pytest.approx([0, 0.1, 0.2])
    assert film.note.startswith('2 pictures')


def test_the_strongest_episodes_get_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_module, 'MAX_STRIPS', 3)
    monkeypatch.setattr(media_module, 'MAX_VIDEOS', 1)
    episodes = [make_episode(number=n, peak=float(n)) for n in range(1, 7)]
    made = illustrate(episodes)
    assert sorted(made) == [3, 4, 5]
    assert [made[i].film is not None for i in (3, 4, 5)] == [False, False, True]
    assert all(made[i].strip for i in made)
    assert 'No video here' in made[3].note
    assert 'only the strongest show pictures' in words_of(draw_report(make_result(*episodes)))


def test_media_stay_within_their_budget() -> None:
    made = illustrate([make_episode(number=n) for n in range(6)], budget_bytes=60_000)
    spent = sum(
        (m.strip.size if m.strip else 0) + (m.film.size if m.film else 0) for m in made.values()
    )
    assert 0 < spent <= 60_000


def test_a_long_harvest_stays_small() -> None:
    hour = make_trace(ticks=54_000)
    calm = [make_trace(f'calm_{n}', ticks=500, alarmed=False) for n in range(300)]
    bare = [make_episode('run_1', n).without_pictures() for n in range(400)]
    result = replace(make_result(*bare), bags=(hour, *calm))
    assert len(draw_report(result)) < 15_000_000


def test_a_report_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'report.html'
    path.write_text('the old one')

    def full(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(StoreError, match='No space left on device'):
        write_report(make_result(), path)
    assert [p.read_text() for p in tmp_path.iterdir()] == ['the old one']


def test_numbers_read_well() -> None:
    assert [ratio_words(r) for r in (0.416, 6.13, 140.2, float('nan'))] == [
        '0.42×',
        '6.1×',
        '140×',
        '–',
    ]
    assert [span_words(s) for s in (8.8, 723, 3900)] == ['8.8 s', '12 min 03 s', '1 h 05 min']
    assert [clock_words(t) for t in (7.234, 725, 3723)] == ['7.23 s', '12:05', '1:02:03']


def test_episodes_without_a_known_peak_are_the_last_to_be_shown() -> None:
    unknown = replace(make_episode(), peaks={})
    assert unknown.severity == 0
    assert make_episode(peak=2.0).severity == 2
    assert isinstance(make_result(unknown), HarvestResult)
    assert 'gantry_x' in words_of(draw_report(make_result(unknown)))
