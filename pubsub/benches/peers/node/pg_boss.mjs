// pg-boss: see src/contenders/node.rs for the sources of the settings.

import { PgBoss } from "pg-boss";
import { run } from "./process.mjs";

// The jobs of one fetch, and the workers of a queue.
const BATCH = 100;
const WORKERS = 2;

// The event that is published to the queues that subscribe.
const EVENT = "orders";

const consumers = (job) => Array.from({ length: job.consumers }, (_, at) => `consumer_${at}`);

async function start(job, max, settings = {}) {
  const boss = new PgBoss({ connectionString: job.url, max, schedule: false, ...settings });
  boss.on("error", (error) => console.error(error));
  await boss.start();
  return boss;
}

await run({
  async install(job) {
    const boss = await start(job, 2);
    for (const queue of consumers(job)) {
      await boss.createQueue(queue, { notify: Boolean(job.rate) });
      await boss.subscribe(EVENT, queue);
    }
    await boss.stop();
  },

  async publisher(job) {
    const boss = await start(job, job.connections, { supervise: false });
    return {
      publish: (order) =>
        job.consumers > 1 ? boss.publish(EVENT, order) : boss.send("consumer_0", order),
      async publishAll(orders) {
        for (const queue of consumers(job)) {
          await boss.insert(
            queue,
            orders.map((data) => ({ data })),
          );
        }
      },
      end: () => boss.stop({ graceful: false }),
    };
  },

  async work(job, handling) {
    const boss = await start(job, 20, { useListenNotify: Boolean(job.rate) });
    const settles = job.handler === "update_and_settle";
    for (const [consumer, queue] of consumers(job).entries()) {
      const options = {
        batchSize: BATCH,
        localConcurrency: WORKERS,
        burstWhenBatchFull: true,
        pollingIntervalSeconds: 0.5,
        transactional: settles,
      };
      await boss.work(queue, options, async (jobs, db) => {
        const query = settles && ((text, values) => db.executeSql(text, values));
        await Promise.all(jobs.map(({ data }) => handling.handle(consumer, data.order, query)));
      });
    }
    return () => boss.stop({ graceful: true, timeout: 10_000 });
  },
});
