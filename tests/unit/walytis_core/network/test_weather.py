from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walytis_core.network.weather import Partition, Weather

probability = st.floats(0, 1)


@given(st.integers(), st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("ab"), st.floats(0, 100)), max_size=30))
def test_the_same_seed_gives_the_same_weather(seed: int, questions: list[tuple[str, str, float]]) -> None:
    def make(source: int | random.Random) -> Weather:
        return Weather(source, latency_s=0.1, jitter_s=0.2, loss=0.3, duplicate=0.3, reorder=0.3)

    one, other = make(seed), make(random.Random(seed))
    for sender, receiver, now in questions:
        delays = one.delays(sender, receiver, now)
        assert delays == other.delays(sender, receiver, now)
        assert len(delays) <= 2
        assert all(0.1 <= delay <= 0.4 + 1e-9 for delay in delays)


@given(probability, probability, probability)
def test_probabilities_are_kept(loss: float, duplicate: float, reorder: float) -> None:
    weather = Weather(1, loss=loss, duplicate=duplicate, reorder=reorder, reorder_s=5.0)
    answers = [weather.delays("a", "b", 0.0) for _ in range(400)]
    kept = [delays for delays in answers if delays]
    assert abs(len(kept) / 400 - (1 - loss)) < 0.15
    if len(kept) > 100:
        assert abs(sum(len(delays) == 2 for delays in kept) / len(kept) - duplicate) < 0.25
        assert abs(sum(delays[0] == 5.0 for delays in kept) / len(kept) - reorder) < 0.25


def test_perfect_by_default() -> None:
    assert Weather().delays("a", "b", 0.0) == [0.0]


def test_partitions_have_their_time() -> None:
    weather = Weather(partitions=[Partition((frozenset("ab"), frozenset("c")), 10.0, 20.0)])
    for now, separated in ((9.9, False), (10.0, True), (19.9, True), (20.0, False)):
        assert weather.separated("a", "c", now) is separated
        assert bool(weather.delays("c", "b", now)) is not separated
        assert not weather.separated("a", "b", now)
        assert weather.separated("a", "nobody", now) is separated
        assert not weather.separated("nobody", "neither", now)
    weather.split("a")
    assert weather.separated("a", "b", 0.0)
    weather.heal()
    assert not weather.separated("a", "c", 15.0)


@pytest.mark.parametrize("wrong", [{"latency_s": -1.0}, {"loss": 1.1}, {"duplicate": -0.1}, {"reorder_s": -0.1}])
def test_refuses_what_is_no_weather(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Weather(**wrong)  # type: ignore[arg-type]  # one of several keywords
