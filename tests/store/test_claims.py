"""Workers and their claims, by the database's clock."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import Counter

import pytest

from autointerp.errors import UsageError
from autointerp.records import Explanation, FeatureStatistics, Response
from autointerp.store.core import LEASE_S
from tests.databases import Place

STATISTICS = FeatureStatistics(20, 4.0, 2.0, 0.01, 18, 9)


def test_what_one_worker_holds_no_other_gets(postgres: Place) -> None:
    with postgres.open() as one, postgres.open() as two:
        assert one.claim(range(64), "work")
        assert one.claim(range(64), "work")  # mine already
        assert not two.claim(range(63, 127), "work")  # all or none
        assert two.claim(range(64, 128), "work")
        assert two.claim(range(64), "other work")
        assert [count for _, count in one.workers()] == [64, 128]
        one.release(range(64), "work")
        assert two.claim(range(63, 127), "work")
        two.release(range(63), "work")  # of another study or worker: nothing happens
        with postgres.open(study="other") as three:
            assert three.claim(range(64), "work")


def test_alone_in_a_folder_every_claim_is_granted(place: Place) -> None:
    with place.open() as store:
        assert store.claim([1, 2])
    assert place.rows("SELECT * FROM claims") == []  # let go at the end
    assert place.rows("SELECT seen FROM workers") == [(0.0,)]


def test_a_silent_workers_claims_expire_and_it_learns_of_it(postgres: Place) -> None:
    with postgres.open() as one, postgres.open() as two:
        assert one.claim([1])
        assert not two.claim([1])
        postgres.rows(f"UPDATE workers SET seen = seen - {LEASE_S} WHERE id = {one._worker}")
        assert two.claim([1])
        one._submit(one._beat).result()
        two._submit(two._beat).result()
        assert one.lost()
        assert not two.lost()


def test_a_silent_worker_whose_claims_nobody_took_goes_on(place: Place) -> None:
    with place.open() as store:
        assert store.claim([1, 2])
        store._submit(
            lambda db: db.execute("UPDATE workers SET seen = 0")
        ).result()  # suspended, or the server was away
        store._submit(store._beat).result()
        assert not store.lost()
        assert [count for _, count in store.workers()] == [2]


def test_a_beat_keeps_a_worker_alive(postgres: Place) -> None:
    with postgres.open() as one, postgres.open() as two:
        assert one.claim([1])
        postgres.rows(f"UPDATE workers SET seen = seen - {LEASE_S - 5}")
        one._submit(one._beat).result()
        postgres.rows("UPDATE workers SET seen = seen - 10")
        assert not one.lost()
        assert not two.claim([1])


CHILD = """
import sys
from autointerp.store import RunStore
store = RunStore.open(sys.argv[1])
assert store.claim(range(64))
print("claimed", flush=True)
sys.stdin.read()
"""


def test_the_claims_of_a_killed_worker_are_taken_over(postgres: Place) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(postgres.where)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with contextlib.closing(child.stdin), contextlib.closing(child.stdout), postgres.open() as store:  # type: ignore[type-var]
        assert child.stdout is not None
        assert child.stdout.readline() == "claimed\n"
        assert not store.claim(range(64))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert not store.claim(range(64))  # its lease still runs
        postgres.rows(f"UPDATE workers SET seen = seen - {LEASE_S} WHERE id <> {store._worker}")
        assert store.claim(range(64))


def test_many_workers_do_everything_once(postgres: Place) -> None:
    """Eight workers race for 20 overlapping blocks; what is claimed and not stored is done, then released."""
    done: Counter[int] = Counter()
    blocks = [range(start, start + 8) for start in range(0, 80, 4)]

    def work(number: int) -> None:
        import asyncio

        with postgres.open() as store:
            waiting = blocks[number:] + blocks[:number]
            while waiting:
                refused = []
                for block in waiting:
                    if not store.claim(block):
                        refused.append(block)
                        continue
                    for feature in block:
                        if store.get_explanation(feature, "e", "c") is None:
                            done[feature] += 1
                            explanation = Explanation(feature, f"by {number}", "e")
                            asyncio.run(store.put_explanation(explanation, "c", STATISTICS))
                    store.release(block)
                waiting = refused

    postgres.open().close()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == Counter(range(84))


def test_a_study_that_others_work_on_keeps_its_settings(postgres: Place) -> None:
    with postgres.open() as one:
        one.bind({"seed": 0})
        said = pytest.raises(UsageError, match=r"study 'default' in postgresql://.* seed = 0.* --study")
        with postgres.open() as two, said:
            two.bind({"seed": 1})
        with postgres.open(study="another") as three:
            three.bind({"seed": 1})
            assert three.study() == {"seed": 1}
        one.bind({"seed": 2})  # alone again, and no results


async def test_what_a_live_worker_has_in_flight_is_no_orphan(postgres: Place) -> None:
    with postgres.open() as one, postgres.open() as two:
        await one.begin("k", spec="s", tag="t", reserved_usd=2.0)
        await two.finish(await two.begin("l", spec="s", tag="t", reserved_usd=1.0), Response("a", cost_usd=0.5))
        spend = two.spend()
        assert (spend.confirmed_usd, spend.reserved_usd, spend.maybe_usd) == (0.5, 2.0, 0)
        assert one.get_response("l") == Response("a", cost_usd=0.5)  # one cache for all
        postgres.rows(f"UPDATE workers SET seen = 0 WHERE id = {one._worker}")
        spend = two.spend()
        assert (spend.reserved_usd, spend.maybe_usd, spend.total_usd) == (0, 2.0, 2.5)
