-- A subscriber of few calls, for languages without a runtime. It registers. From then on it calls beat and tidy in one session,
-- and next and settle in another. docs/sql-contract.md has one in Python.

-- Claims what a process should handle next: a suspect alone, or up to `batch` deliveries of the mailbox, or up to `batch` events
-- of the log. Mailbox and log take turns at random, so that neither starves. If there is nothing, returns one row that has only
-- `wait`: the longest wait for a notification on this session before the next call.
--
-- The caller handles the rows in their order, and settles each before it starts the next. The claims rely on this (start limit
-- 1). It calls again when all rows are settled.
--
-- Must come first in a READ COMMITTED transaction (PB003), which must be committed before the events are handled.
create or replace function pubsub.next(
    subscription integer, process bigint, batch integer default 10, knows integer default null
) returns table (
    token bigint, id bigint, key text, payload jsonb, headers jsonb, version integer, published_at timestamptz,
    attempt integer, panics integer, crashes integer, replay boolean, wait interval
)
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    -- A waiter row from an earlier transaction. Its existence is the first half of going to sleep (bell.sql).
    waits_until constant timestamptz := (
        select max(w.until) from pubsub.waiters w
         where w.subscription = next.subscription and w.process = next.process and not w.is_awake
           and w.until > statement_timestamp()
    );
    is_quiet    constant boolean := waits_until is not null and pubsub.no_publisher_at_work(subscription);
    source      text;
    log_is_left boolean := false;
begin
    perform pubsub.require_read_committed('pubsub.next');
    foreach source in array case when random() < 0.5 then '{suspect,log,mailbox}' else '{suspect,mailbox,log}' end::text[] loop
        if source <> 'log' then
            return query
            select c.*, null::interval
              from pubsub.claim_mailbox(
                       next.subscription, next.process, case source when 'suspect' then 1 else next.batch end,
                       source = 'suspect', 1, next.knows
                   ) c;
        elsif pg_current_xact_id_if_assigned() is not null then
            -- The claim from the mailbox has written something, although it found nothing. The next call reads the log.
            log_is_left := true;
        else
            return query
            select c.token, c.id, c.key, c.payload, c.headers, c.version, c.published_at, 1, 0, 0, c.replay, null::interval
              from pubsub.claim(next.subscription, next.process, next.batch, 1) c;
        end if;
        if found then
            perform pubsub.stop_waiting(subscription, process) where waits_until is not null;
            return;
        end if;
    end loop;

    if log_is_left or waits_until is null then
        wait := interval '0';
    elsif not is_quiet then
        -- Longer and longer, because the publisher may be idle in its transaction. The row counts for 10 seconds.
        wait := greatest(interval '10 ms', least(interval '400 ms', (clock_timestamp() - waits_until + interval '10 s') / 2));
    else
        wait := (
            select greatest(least(interval '1 second', min(d.due_in), min(d.suspect_due_in)), interval '0')
              from pubsub.next_due(array[next.subscription], next.process, array[next.knows]) d
        );
    end if;
    if coalesce(waits_until < clock_timestamp() + interval '5 seconds', true) then
        perform pubsub.require_registered(process);
        perform pubsub.start_waiting(subscription, process, '10 seconds');
    end if;
    if not exists (select from pg_listening_channels() l where l = 'pubsub_' || process) then
        execute format('listen pubsub; listen pubsub_%s', process);
        wait := interval '0';
    end if;
    return next;
end
$$;

-- Takes over from dead processes. Every 15 seconds of a session it also makes, closes and removes partitions, removes expired
-- waiter rows and deduplication keys, and suspends unread subscriptions. Returns the processes whose session has ended. The
-- caller passes them to its next call, half a second later or more. Processes that are still absent then are dead.
--
-- It should come first in a READ COMMITTED transaction. Otherwise it does not close partitions.
--   silence  the silence after which a process is dead, as for pubsub.reclaim; the same in all processes
create or replace function pubsub.tidy(absent bigint[] default '{}', silence interval default '6 seconds') returns bigint[]
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    tidied_at constant timestamptz := nullif(current_setting('pubsub.tidied_at', true), '');
    removal   record;
begin
    perform pubsub.reclaim(silence, absent);
    if tidied_at between clock_timestamp() - interval '15 seconds' and clock_timestamp() then
        return (select a.absent from pubsub.absent_processes() a);
    end if;
    perform set_config('pubsub.tidied_at', clock_timestamp()::text, false);
    -- Each of these two must be the first to draw a transaction id. Usually neither needs one.
    perform pubsub.close_partitions()
      where pg_current_xact_id_if_assigned() is null and current_setting('transaction_isolation') = 'read committed';
    perform pubsub.advance_idle_cursors()
      where pg_current_xact_id_if_assigned() is null and current_setting('transaction_isolation') = 'read committed';
    perform pubsub.ensure_partitions();
    perform pubsub.skip_ids();
    perform pubsub.reclaim_strays();
    perform pubsub.forget_dedupe_keys();
    perform pubsub.suspend_unread();
    begin
        select * into removal from pubsub.removal_steps() limit 1;
        perform pubsub.drop_partition(removal.first_id) where removal.step = 'drop';
        perform pubsub.detach_partition(removal.first_id) where removal.step <> 'drop';
    exception when lock_not_available then
        -- A transaction uses the partition. The next call tries again.
        null;
    end;
    return (select a.absent from pubsub.absent_processes() a);
end
$$;
