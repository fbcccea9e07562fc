"""Single lookups, screening batches and publications wait each for their own kind only."""

import asyncio
import threading

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
