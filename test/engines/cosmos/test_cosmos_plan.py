# SPDX-License-Identifier: Apache-2.0
"""What a card is predicted to do: near what was measured, and never called measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.cards import CARDS, card_measured, card_named
from cosmos_flywheel.engines.cosmos.plan import SIZES, World, pick, plan, price

WORLD = World((720, 1248), 15.0, 16, 480)
"""Its canvases are those of the bench: 320x192 and, but for 16 columns, 832x480."""


def found(card, **wanted):
    (one,) = [
        c for c in plan(card, SIZES['nano'], WORLD)
        if all(getattr(c, k) == v for k, v in wanted.items())
    ]  # fmt: skip
    return one


@pytest.mark.parametrize('tier', [256, 480])
@pytest.mark.parametrize('steps', [30, 10, 4])
@pytest.mark.parametrize('precision', ['bf16', 'fp8'])
def test_the_h200_is_predicted_as_it_was_measured(root: Path, tier, steps, precision):
    card, document = card_measured(root / 'bench' / 'results' / f'nano_{tier}.txt')
    row = document['figures'].get(f'{precision}, {steps} steps', {})
    if 'chunk_p50_ms' not in row:
        pytest.skip('that run had no time for it')
    predicted = found(card, tier=tier, steps=steps, precision=precision)
    assert predicted.chunk_ms == pytest.approx(row['chunk_p50_ms'], rel=0.15)
    peak_gb = document['figures'][f'{precision} memory']['peak_gb']
    assert predicted.memory_gb == pytest.approx(peak_gb, rel=0.1)


def test_super_does_not_fit_a_card_of_24_gb_and_nano_does():
    card = card_named('rtx-4090')
    assert not any(c.fits for c in plan(card, SIZES['super'], WORLD) if c.precision == 'bf16')
    assert found(card, tier=256, steps=30, precision='bf16').fits
    assert any(c.fits for c in plan(card_named('h100-sxm'), SIZES['super'], WORLD))


def test_half_the_rate_takes_twice_as_long():
    card = CARDS['h200']
    half = replace(card, bf16_tflops=card.bf16_tflops / 2, fp8_tflops=card.fp8_tflops / 2)
    whole_ms, half_ms = (
        found(c, tier=480, steps=30, precision='bf16').chunk_ms for c in (card, half)
    )
    assert half_ms == pytest.approx(2 * whole_ms)


def test_only_what_the_model_was_trained_for_is_picked():
    choices = plan(CARDS['h200'], SIZES['nano'], WORLD)
    assert pick(choices) is None
    slow = plan(CARDS['h200'], SIZES['nano'], replace(WORLD, hz=5.0))
    chosen = pick(slow)
    assert (chosen.tier, chosen.steps, chosen.precision) == (480, 30, 'bf16')
    assert chosen.stride(16) == 9
    assert price(chosen, 3.0) == pytest.approx(3.0 * chosen.real_time_factor)


def test_a_card_without_float8_is_not_asked_for_it():
    assert {c.precision for c in plan(CARDS['a100-80gb'], SIZES['nano'], WORLD)} == {'bf16'}


def test_every_card_of_the_table_says_where_its_figures_come_from():
    assert all('NVIDIA' in card.source and not card.measured for card in CARDS.values())


def test_the_command_keeps_predicted_and_measured_apart(root: Path, capsys):
    results = root / 'bench' / 'results' / 'nano_256.txt'
    asked = ['engine', 'plan', '--robot', 'droid']
    assert main([*asked, '--card', 'rtx-pro-6000', '--price', '2']) == 0
    out = capsys.readouterr().out
    assert 'predicted from published rates' in out
    assert 'a robot-hour' in out
    assert 'measured, nano' not in out
    assert main([*asked, '--measured', str(results)]) == 0
    out = capsys.readouterr().out
    assert out.index('predicted:') < out.index('measured, nano at tier 256')


def test_what_cannot_be_planned_is_said(tmp_path, capsys):
    with pytest.raises(EngineError, match="no card 'h20'"):
        card_named('h20')
    (tmp_path / 'other.txt').write_text(json.dumps({'bench': 'other'}))
    with pytest.raises(EngineError, match=r'bench/nano.py'):
        card_measured(tmp_path / 'other.txt')
    with pytest.raises(EngineError, match='multiple of 4'):
        World((480, 640), 15.0, 10, 480)
    asked = ['engine', 'plan', '--card', 'h200', '--robot']
    for words, said in (
        (['g1'], 'domain is none'),
        (['droid', '--camera', '0x3'], '--camera 0x3'),
        (['droid', '--price', '-1'], '--price -1'),
    ):
        assert main([*asked, *words]) == 2
        assert said in capsys.readouterr().err
