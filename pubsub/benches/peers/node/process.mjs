// The process of a contender in Node: does one job, and talks with the benchmark in lines, as src/process.rs does.

import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import pg from "pg";

// The events of one call of a bulk publisher, the connections of handlers, and their sleep: as in src/job.rs.
const BULK = 1_000;
const HANDLER_CONNECTIONS = 16;
const NAP_MS = 1;

const UPDATE = { name: "update", text: "update touched set times = times + 1 where id = $1" };

export const order = (number) => ({
  order: number,
  amount: 9.99,
  note: "a note about as long as an average one, and not longer than that",
});

// The nanoseconds of the monotonic clock.
const now = () => process.hrtime.bigint();

// Runs a library: `install(job)`, `publisher(job)` with `publish(order)`, `publishAll(orders)` and `end()`, and
// `work(job, handling)`, which resolves to a function that stops.
export async function run(library) {
  const job = JSON.parse(process.argv[2]);
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  if (job.role === "install") {
    await library.install(job);
    say("done");
  } else if (job.role === "work") {
    await work(library, job, lines);
  } else {
    const publisher = await library.publisher(job);
    say("ready");
    await listen(lines, "go");
    const published = await { publish, bulk, pace }[job.role](publisher, job);
    say(`done ${published}`);
    await publisher.end();
  }
  process.exit(0);
}

function say(line) {
  process.stdout.write(`${line}\n`);
}

async function listen(lines, expected) {
  const { value } = await lines.next();
  if (value !== expected) throw new Error(`the benchmark said ${value} instead of ${expected}`);
}

async function work(library, job, lines) {
  const handling = new Handling(job);
  say("ready");
  await listen(lines, "go");
  const stop = await library.work(job, handling);
  const stopped = listen(lines, "stop");
  await Promise.race([handling.completed.then(() => say("done")), stopped]);
  await stopped;
  await stop();
  if (job.times) writeTimes(job.times, handling.entered);
  say(`ended ${handling.calls} ${handling.distinct}`);
}

function writeTimes(file, times) {
  writeFileSync(file, Buffer.from(times.buffer));
}

async function publish(publisher, job) {
  const end = performance.now() + job.seconds * 1_000;
  let next = 0;
  await concurrently(job.connections, async () => {
    while (performance.now() < end) await publisher.publish(order(next++));
  });
  return next;
}

async function bulk(publisher, job) {
  let next = 0;
  await concurrently(job.connections, async () => {
    while (next < job.events) {
      const first = next;
      next = Math.min(next + BULK, job.events);
      await publisher.publishAll(Array.from({ length: next - first }, (_, at) => order(first + at)));
    }
  });
  return job.events;
}

// Publishes each event at its moment, or as soon after it as a connection is free.
async function pace(publisher, job) {
  const began = performance.now();
  const committed = new BigUint64Array(job.events);
  await concurrently(job.connections, async (connection) => {
    for (let number = connection; number < job.events; number += job.connections) {
      await sleep(began + (number * 1_000) / job.rate - performance.now());
      await publisher.publish(order(number));
      committed[number] = now();
    }
  });
  writeTimes(job.times, committed);
  return job.events;
}

const concurrently = (number, task) => Promise.all(Array.from({ length: number }, (_, at) => task(at)));

const sleep = (ms) => (ms > 0 ? new Promise((resolve) => setTimeout(resolve, ms)) : undefined);

// What the handlers of this process do, and what they have done.
class Handling {
  calls = 0;
  distinct = 0;

  constructor(job) {
    this.job = job;
    this.expected = job.events * job.consumers;
    this.handled = new Uint8Array(this.expected);
    this.entered = job.times ? new BigUint64Array(job.events) : null;
    this.completed = new Promise((resolve) => (this.complete = resolve));
    this.pool = new pg.Pool({ connectionString: job.url, max: HANDLER_CONNECTIONS });
  }

  // Handles an event as the workload says. `query` runs the update where the library settles in its transaction.
  async handle(consumer, number, query) {
    this.enter(number);
    if (query) await query(UPDATE.text, [number]);
    else if (this.job.handler === "update") await this.pool.query({ ...UPDATE, values: [number] });
    else if (this.job.handler === "sleep") await sleep(NAP_MS);
    this.finish(consumer, number);
  }

  enter(number) {
    this.calls++;
    if (this.entered && this.entered[number] === 0n) this.entered[number] = now();
  }

  finish(consumer, number) {
    const at = consumer * this.job.events + number;
    if (this.handled[at]) return;
    this.handled[at] = 1;
    if (++this.distinct === this.expected) this.complete();
  }
}
