from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autointerp.clients.concurrency import COOLDOWN_S, DECREASE, Concurrency


def rounds(made: Concurrency, n: int, now: float = 100.0, in_flight: int | None = None) -> None:
    """``n`` round trips, every place in use unless ``in_flight`` says how many."""
    for _ in range(n):
        for _ in range(int(made.limit)):
            made.answered(made.episode, int(made.limit) if in_flight is None else in_flight, now)


def test_slow_start_doubles_each_round_up_to_the_top() -> None:
    made = Concurrency(100, 8)
    seen = []
    for _ in range(5):
        rounds(made, 1)
        seen.append(made.limit)
    assert seen == [16, 32, 64, 100, 100]


def test_only_what_is_used_grows() -> None:
    made = Concurrency(100, 8)
    rounds(made, 5, in_flight=5)
    assert made.limit == 8
    rounds(made, 1, in_flight=13)
    assert made.limit == 16


def test_one_cut_an_episode_and_none_in_the_cooldown() -> None:
    made = Concurrency(20, 20)
    for _ in range(20):
        made.refused(0, 10.0)
    assert made.limit == 20 * DECREASE
    made.refused(1, 10.0 + COOLDOWN_S / 2)
    rounds(made, 3, 10.0 + COOLDOWN_S / 2)
    assert made.limit == 20 * DECREASE, "neither cut nor grown so soon"
    made.refused(0, 100.0)
    made.answered(0, 20, 100.0)
    assert made.limit == 20 * DECREASE, "sent before the cut, a request says nothing"
    made.refused(1, 100.0)
    assert made.limit == 20 * DECREASE**2
    for episode in range(2, 30):
        made.refused(episode, episode * 1000.0)
    assert made.limit == 1.0


def test_grows_by_one_or_a_twentieth_after_the_first_sign_of_trouble() -> None:
    small, large = Concurrency(1000, 10), Concurrency(1000, 400)
    for made in (small, large):
        made.troubled(0.0)
        before = made.limit
        rounds(made, 1, now=1.0)
        assert made.limit == before, "trouble of the provider is no time to ask for more"
        rounds(made, 1)
    assert (10.9 < small.limit <= 11, 419 < large.limit <= 421) == (True, True)


def test_comes_back_faster_to_where_it_was_cut() -> None:
    made = Concurrency(1000, 100)
    made.refused(0, 0.0)
    rounds(made, 2)
    assert 90 <= made.limit <= 100
    before = made.limit
    rounds(made, 1)
    assert made.limit <= before * 1.06


def test_a_refusal_of_the_rate_alone_cuts_nothing() -> None:
    made = Concurrency(100, 50)
    made.refused(0, 0.0, cut=False)
    assert (made.limit, made.episode) == (50, 1)
    rounds(made, 1)
    assert made.limit < 60, "but ends slow start"


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.lists(st.tuples(st.sampled_from(["answer", "refusal", "trouble", "time"]), st.integers(0, 300)), max_size=300),
)
def test_never_above_the_top_nor_below_one(top: int, start: int, events: list[tuple[str, int]]) -> None:
    made, now = Concurrency(top, start), 0.0
    for what, n in events:
        if what == "answer":
            made.answered(made.episode - n % 2, n, now)
        elif what == "refusal":
            made.refused(made.episode - n % 2, now)
        elif what == "trouble":
            made.troubled(now)
        else:
            now += n
        assert 1.0 <= made.limit <= top
