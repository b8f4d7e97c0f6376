// graphile-worker: see src/contenders/node.rs for the sources of the settings.

import { Logger, makeWorkerUtils, run as runWorker, runMigrations } from "graphile-worker";
import { run } from "./process.mjs";

// The rate from which a worker is set up for throughput.
const BUSY = 1_000;

const logger = new Logger(() => () => {});

const consumers = (job) => Array.from({ length: job.consumers }, (_, at) => `consumer_${at}`);

const preset = (job, maxPoolSize, settings = {}) => ({
  worker: { connectionString: job.url, maxPoolSize, logger, ...settings },
});

await run({
  install: (job) => runMigrations({ preset: preset(job, 2) }),

  async publisher(job) {
    const utils = await makeWorkerUtils({ preset: preset(job, Math.max(job.connections, 2)) });
    const specs = (orders) =>
      consumers(job).flatMap((identifier) => orders.map((payload) => ({ identifier, payload })));
    return {
      publish: (order) =>
        job.consumers > 1 ? utils.addJobs(specs([order])) : utils.addJob("consumer_0", order),
      publishAll: (orders) => utils.addJobs(specs(orders)),
      end: () => utils.release(),
    };
  },

  async work(job, handling) {
    const concurrentJobs = job.concurrency ?? 24;
    const batches = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
    const settings = job.rate && job.rate < BUSY ? {} : batches;
    const tasks = consumers(job).map((name, consumer) => [
      name,
      (order) => handling.handle(consumer, order.order),
    ]);
    const runner = await runWorker({
      preset: preset(job, 25, { concurrentJobs, ...settings }),
      taskList: Object.fromEntries(tasks),
      noHandleSignals: true,
    });
    return () => runner.stop();
  },
});
