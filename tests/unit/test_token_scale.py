"""Probabilities and entropies as steps and as words, to their last boundary."""

import math

import pytest

from gemma_space.ui import token_scale as scale


def test_probability_steps() -> None:
    shares = (1.0, 0.9, 0.8999, 0.5, 0.4999, 0.2, 0.1999, 0.05, 0.0499, 0.01, 0.0099, 0.0)
    assert [scale.probability_step(s) for s in shares] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_entropy_steps() -> None:
    values = (0.0, 0.0999, 0.1, 0.4999, 0.5, 1.0, 2.0, 3.999, 4.0, 12.5, math.inf, math.nan, -1e-9)
    found = [scale.entropy_step(value) for value in values]
    assert found == [0, 0, 1, 1, 2, 3, 4, 4, 5, 5, 5, 0, 0]


def test_no_step_is_without_words() -> None:
    assert scale.probability_legend() == [
        "90 % and more", "50 – 90 %", "20 – 50 %", "5 – 20 %", "1 – 5 %", "below 1 %",
    ]  # fmt: skip
    assert scale.entropy_legend() == [
        "below 0.1 nats", "0.1 – 0.5", "0.5 – 1", "1 – 2", "2 – 4", "4 and more",
    ]  # fmt: skip


def test_probability_is_never_out_of_range() -> None:
    values = {0.0: 1.0, 1e-7: 1.0, -math.inf: 0.0, math.nan: 0.0, -1e4: 0.0}
    assert {v: scale.probability(v) for v in values} == pytest.approx(values, nan_ok=True)
    assert scale.probability(math.log(0.25)) == pytest.approx(0.25)


def test_percent_in_words() -> None:
    said = {
        1.0: "100 %", 0.99999: "> 99.9 %", 0.9995: "> 99.9 %", 0.9994: "99.9 %", 0.1234: "12.3 %",
        0.09996: "10.0 %", 0.032: "3.2 %", 0.00996: "1.0 %", 0.0099: "0.99 %", 0.00032: "0.032 %",
        0.0000999: "0.010 %", 0.00001: "0.0010 %", 2.4e-6: "2.4 × 10⁻⁴ %",
        9.99e-8: "1.0 × 10⁻⁵ %", 1e-300: "1.0 × 10⁻²⁹⁸ %", 0.0: "0 %",
    }  # fmt: skip
    assert {share: scale.format_percent(share) for share in said} == said


def test_entropy_in_words() -> None:
    said = {0.0: "0 nats", 0.001: "< 0.01 nats", 0.0167: "0.02 nats", 0.5: "0.50 nats",
            0.96: "1.0 nats", 1.94: "1.9 nats", 12.476: "12.5 nats"}  # fmt: skip
    assert {nats: scale.format_nats(nats) for nats in said} == said
    assert scale.format_nats(math.nan) == scale.format_nats(-1e-9) == "0 nats"


def test_the_remaining_mass_is_never_negative() -> None:
    assert scale.others([0.5, 0.468]) == "3.2 %"
    assert scale.others([0.7, 0.3, 0.0000001]) == "< 1.0 × 10⁻⁴ %"
    assert scale.others([]) == "100 %"


def test_a_perplexity_has_three_digits() -> None:
    said = {1.0: "1.00", 4.0: "4.00", 17.25: "17.2", 99.96: "100", 2346.4: "2,346"}
    assert {value: scale.format_perplexity(value) for value in said} == said
