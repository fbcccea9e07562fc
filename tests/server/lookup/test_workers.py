"""Single lookups, screening batches and publications wait each for their own kind only."""

import asyncio
import threading

import pytest

from server.api.workers import SMALL_BATCH, Workers


def test_lookups_pass_full_pools_of_batches_and_tables():
    workers, gate = Workers(), threading.Event()

    async def run():
        batches = [
            asyncio.ensure_future(workers.evaluate(SMALL_BATCH + 1, lambda: gate.wait(10)))
            for _ in range(20)
        ]
        tables = [asyncio.ensure_future(workers.publish(lambda: gate.wait(10))) for _ in range(3)]
        await asyncio.sleep(0.05)
        found = await asyncio.wait_for(workers.evaluate(SMALL_BATCH, lambda: "light"), 5)
        waiting = [task.done() for task in (*batches, *tables)]
        gate.set()
        await asyncio.gather(*batches, *tables)
        return found, waiting

    found, waiting = asyncio.run(run())
    workers.close()
    assert found == "light"
    assert not any(waiting)


def test_failure_of_the_work_is_its_callers():
    workers = Workers()

    def fail():
        raise ValueError("of the work")

    async def run():
        with pytest.raises(ValueError, match="of the work"):
            await workers.evaluate(1, fail)
        return await workers.evaluate(1, lambda: "next")

    assert asyncio.run(run()) == "next"
    workers.close()


def test_work_that_was_not_begun_at_the_end_is_cancelled():
    workers, gate = Workers(), threading.Event()

    async def run():
        begun = [asyncio.ensure_future(workers.publish(lambda: gate.wait(10)))]
        await asyncio.sleep(0.05)
        waiting = asyncio.ensure_future(workers.publish(lambda: "never"))
        await asyncio.sleep(0.05)
        closing = asyncio.ensure_future(asyncio.to_thread(workers.close))
        await asyncio.sleep(0.05)
        gate.set()
        await closing
        return await asyncio.gather(*begun, waiting, return_exceptions=True)

    finished, cancelled = asyncio.run(run())
    assert finished is True
    assert isinstance(cancelled, asyncio.CancelledError)
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(workers.publish(lambda: "late"))
