# SPDX-License-Identifier: Apache-2.0
"""`flywheel episodes label` without an id asks about one episode after another."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from episode_maker import harvest, make_manifest

from cosmos_flywheel.cli.main import main
from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.labels import read_labels


def louder(start_s: float, bag: str, peak: float) -> dict[str, object]:
    manifest = make_manifest(start_s, bag)
    manifest['channels']['picture']['peak'] = peak
    return manifest


RARE = make_manifest(2.0, 'bag_a', causes=['state'])
MILD, SEVERE, MIDDLING = (louder(s, 'bag_b', p) for s, p in ((2.0, 3.0), (10.0, 9.0), (20.0, 5.0)))
ORDER = [str(manifest['id']) for manifest in (SEVERE, MIDDLING, MILD, RARE)]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three episodes that are alike, and a more common cluster comes first though it is later."""
    harvest(tmp_path / 'out', RARE, MILD, SEVERE, MIDDLING)
    return tmp_path / 'out'


@pytest.fixture
def press(out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Give keys as the lines of a script; returns what was said."""

    def pressing(*keys: str, options: tuple[str, ...] = ()) -> str:
        monkeypatch.setattr('sys.stdin', io.StringIO(''.join(f'{key}\n' for key in keys)))
        words = ['episodes', 'label', '--out', str(out), '--reviewer', 'ann', *options]
        assert main(words) == 0
        return capsys.readouterr().out

    return pressing


def labels(out: Path) -> list[str]:
    """Of all episodes, in the order in which they are asked about."""
    with Catalogue.open(out) as catalogue:
        return [catalogue.episode(episode).label for episode in ORDER]


U = 'untriaged'


def test_each_label_has_its_key_and_the_most_common_and_severe_come_first(out, press) -> None:
    said = press('f', 'a', 'x', 's')
    asked = [line.split()[-1] for line in said.splitlines() if '] episode ' in line]
    assert asked == ORDER
    assert labels(out) == ['failure', 'anomaly_no_failure', 'false_alarm', 'sensor_fault']
    assert '1 failure, 1 anomaly_no_failure, 1 false_alarm, 1 sensor_fault; 0 left' in said


def test_an_episode_is_shown_with_all_that_is_needed_to_judge_it(out, press) -> None:
    said = press('q')
    for words in (
        f'[1 of 4] episode {ORDER[0]}',
        'The lower left of the picture was not what the engine expected',
        'bag          bag_b (rosbag2, mcap)',
        'alarm at 13.00 s',
        'picture (lower left), emergency stop, 2 more to judge',
        'peak         picture 9, 7.2 × its threshold of 1.25',
        f'thumbnail    {out / ORDER[0] / "thumbnail.jpg"}',
        f'strip        {out / ORDER[0] / "evidence" / "strip.png"}',
        f'clip         {out / ORDER[0] / "clip.mcap"}',
        'labelled: none; 4 left to judge',
    ):
        assert words in said


@pytest.mark.parametrize(
    ('keys', 'expected'),
    [
        ([' ', 'n', 'f'], [U, U, 'failure', U]),
        (['f', 'x', 'u', 'a'], ['failure', 'anomaly_no_failure', U, U]),
        (['f', 'u', 'u', 'x'], ['false_alarm', U, U, U]),
        (['u', 'q', 'f'], [U] * 4),
        (['f', 'c', 'y', 'x'], ['failure', 'failure', 'failure', 'false_alarm']),
        (['f', 'c', 'n', 'x'], ['failure', 'false_alarm', U, U]),
        (['f', 'c', 'y', 'u', 'x'], ['failure', 'false_alarm', U, U]),
        (['n', 'f', 'c', 'y'], ['failure', 'failure', 'failure', U]),
        (['c', 'f'], ['failure', U, U, U]),
        (['f', 'c', 'y', 'c', 'y'], ['failure', 'failure', 'failure', U]),
        (['f', 'c', 'y', 'c', 's'], ['failure', 'failure', 'failure', 'sensor_fault']),
        (['?', 'F', 'failure', '\x1b[A', 's'], ['sensor_fault', U, U, U]),
        ([], [U] * 4),
    ],
)
def test_keys_do_what_help_says(out, press, keys: list[str], expected: list[str]) -> None:
    press(*keys)
    assert labels(out) == expected


def test_a_label_taken_back_leaves_its_trace(out, press) -> None:
    press('f', 'u')
    said = [(label.label, label.reason) for label in read_labels(out / ORDER[0])]
    assert said == [('failure', ''), (U, 'taken back')]


def test_a_reason_goes_with_the_next_label_and_its_cluster(out, press) -> None:
    press('f', 'r', ' it slipped ', 'x', 'c', 'y', 'f')
    reasons = [read_labels(out / episode)[-1].reason for episode in ORDER]
    assert reasons == ['', 'it slipped', 'it slipped', '']


def test_a_reason_for_all_may_be_given_before(out, press) -> None:
    press('f', 'r', 'it slipped', 'f', 'f', options=('--reason', 'first look'))
    reasons = [read_labels(out / episode)[-1].reason for episode in ORDER[:3]]
    assert reasons == ['first look', 'it slipped', 'first look']


def test_what_is_labelled_already_is_not_asked_again(out, press) -> None:
    press('f')
    said = press('x')
    assert f'[1 of 3] episode {ORDER[1]}' in said
    press('x', 'x', 'x')
    assert press('f') == 'every episode has its label\n'


def test_an_episode_that_cannot_be_read_is_named_and_passed_over(out, press) -> None:
    shutil.rmtree(out / ORDER[0])
    said = press('f')
    assert f'cannot be judged: {out / ORDER[0]}: is gone or incomplete' in said
    assert labels(out) == [U, 'failure', U, U]


def test_what_others_judge_meanwhile_is_passed_over(out, press, monkeypatch) -> None:
    class Others(io.StringIO):
        def __next__(self) -> str:
            with Catalogue.open(out) as catalogue:
                if catalogue.episode(ORDER[1]).label == U:
                    catalogue.label(ORDER[1], 'sensor_fault', reviewer='bob')
            return super().__next__()

    monkeypatch.setattr('sys.stdin', Others('f\nx\n'))
    main(['episodes', 'label', '--out', str(out), '--reviewer', 'ann'])
    assert labels(out) == ['failure', 'sensor_fault', 'false_alarm', U]


def test_the_rest_of_a_cluster_takes_a_label_given_in_it(out, press) -> None:
    assert 'label one episode of this cluster first' in press('c')
    assert 'failure for all 2 left in this cluster? [y n]' in press('f', 'c', 'n')


def test_episodes_without_a_cluster_come_last_and_by_themselves(out, press) -> None:
    (out / 'clusters.jsonl').write_text('nonsense\n')
    main(['episodes', 'rebuild', str(out)])
    said = press('f', 'c', 'x')
    assert f'it has no cluster yet; run: flywheel episodes rebuild {out}' in said
    assert sorted(labels(out)) == ['failure', 'false_alarm', U, U]
