"""PgQueuer: does one job, and talks with the benchmark in lines, as src/process.rs does.

src/contenders/python.rs has the sources of the settings.
"""

import asyncio
import json
import sys
import time
from array import array

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

# The events of one call of a bulk publisher, the connections of handlers, and their sleep: as in src/job.rs.
BULK = 1_000
HANDLER_CONNECTIONS = 16
NAP = 0.001

# The consumers of the process, and the jobs of one fetch.
CONSUMERS = 5
BATCH = 100

UPDATE = "update touched set times = times + 1 where id = $1"


def order(number: int) -> bytes:
    note = "a note about as long as an average one, and not longer than that"
    return json.dumps({"order": number, "amount": 9.99, "note": note}).encode()


def say(line: str) -> None:
    print(line, flush=True)


async def listen(expected: str) -> None:
    line = (await asyncio.to_thread(sys.stdin.readline)).strip()
    if line != expected:
        raise RuntimeError(f"the benchmark said {line!r} instead of {expected!r}")


def write_times(file: str, times: array) -> None:
    with open(file, "wb") as output:
        times.tofile(output)


class Handling:
    """What the handlers of this process do, and what they have done."""

    def __init__(self, job: dict, pool: asyncpg.Pool) -> None:
        self.job, self.pool = job, pool
        self.expected = job["events"] * job["consumers"]
        self.handled = bytearray(self.expected)
        self.entered = array("Q", bytes(8 * job["events"])) if job["times"] else None
        self.calls = self.distinct = 0
        self.completed = asyncio.Event()

    async def handle(self, consumer: int, number: int) -> None:
        self.calls += 1
        if self.entered is not None and self.entered[number] == 0:
            self.entered[number] = time.monotonic_ns()
        if self.job["handler"] == "update":
            await self.pool.execute(UPDATE, number)
        elif self.job["handler"] == "sleep":
            await asyncio.sleep(NAP)
        at = consumer * self.job["events"] + number
        if not self.handled[at]:
            self.handled[at] = 1
            self.distinct += 1
            if self.distinct == self.expected:
                self.completed.set()


class Publisher:
    def __init__(self, queries: Queries, consumers: int) -> None:
        self.queries, self.consumers = queries, consumers

    async def publish(self, number: int) -> None:
        if self.consumers > 1:
            await self.publish_all([number])
        else:
            await self.queries.enqueue("consumer_0", order(number))

    async def publish_all(self, numbers: list[int]) -> None:
        names = [f"consumer_{consumer}" for consumer in range(self.consumers) for _ in numbers]
        payloads = [order(number) for number in numbers] * self.consumers
        await self.queries.enqueue(names, payloads, [0] * len(names))


async def publish(publisher: Publisher, job: dict) -> int:
    end = time.monotonic() + job["seconds"]
    published = 0

    async def one_by_one() -> None:
        nonlocal published
        while time.monotonic() < end:
            number, published = published, published + 1
            await publisher.publish(number)

    await asyncio.gather(*(one_by_one() for _ in range(job["connections"])))
    return published


async def bulk(publisher: Publisher, job: dict) -> int:
    firsts = iter(range(0, job["events"], BULK))

    async def in_batches() -> None:
        for first in firsts:
            await publisher.publish_all(list(range(first, min(first + BULK, job["events"]))))

    await asyncio.gather(*(in_batches() for _ in range(job["connections"])))
    return job["events"]


async def pace(publisher: Publisher, job: dict) -> int:
    """Publishes each event at its moment, or as soon after it as a connection is free."""
    began = time.monotonic()
    committed = array("Q", bytes(8 * job["events"]))

    async def paced(connection: int) -> None:
        for number in range(connection, job["events"], job["connections"]):
            await asyncio.sleep(max(0.0, began + number / job["rate"] - time.monotonic()))
            await publisher.publish(number)
            committed[number] = time.monotonic_ns()

    await asyncio.gather(*(paced(connection) for connection in range(job["connections"])))
    write_times(job["times"], committed)
    return job["events"]


def consumer_of(connection: asyncpg.Pool, job: dict, handling: Handling) -> PgQueuer:
    pgq = PgQueuer.from_asyncpg_pool(connection)

    def register(consumer: int) -> None:
        @pgq.entrypoint(f"consumer_{consumer}")
        async def handle(event: Job) -> None:
            await handling.handle(consumer, json.loads(event.payload)["order"])

    for consumer in range(job["consumers"]):
        register(consumer)
    return pgq


async def work(job: dict) -> None:
    handling = Handling(job, await asyncpg.create_pool(job["url"], max_size=HANDLER_CONNECTIONS))
    say("ready")
    await listen("go")
    # Each consumer has connections of its own: one to work, and one to listen.
    pools = [await asyncpg.create_pool(job["url"], min_size=2, max_size=2) for _ in range(CONSUMERS)]
    consumers = [consumer_of(pool, job, handling) for pool in pools]
    concurrency = {"max_concurrent_tasks": 2 * BATCH} if job["concurrency"] else {}
    running = [asyncio.create_task(consumer.run(batch_size=BATCH, **concurrency)) for consumer in consumers]
    stop = asyncio.create_task(listen("stop"))
    completed = asyncio.create_task(handling.completed.wait())
    await asyncio.wait([stop, completed, *running], return_when=asyncio.FIRST_COMPLETED)
    if completed.done():
        say("done")
    await stop
    for consumer in consumers:
        consumer.shutdown.set()
    await asyncio.gather(*running)
    if job["times"]:
        write_times(job["times"], handling.entered)
    say(f"ended {handling.calls} {handling.distinct}")


async def main() -> None:
    job = json.loads(sys.argv[1])
    if job["role"] == "work":
        await work(job)
        return
    connections = job["connections"]
    pool = await asyncpg.create_pool(job["url"], min_size=connections, max_size=connections)
    queries = Queries(AsyncpgPoolDriver(pool))
    if job["role"] == "install":
        await queries.install()
        say("done")
        return
    publisher = Publisher(queries, job["consumers"])
    say("ready")
    await listen("go")
    published = await {"publish": publish, "bulk": bulk, "pace": pace}[job["role"]](publisher, job)
    say(f"done {published}")


if __name__ == "__main__":
    uvloop.run(main())
