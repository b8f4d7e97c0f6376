-- Maintenance: partitions of the log ahead of its ids, and what dead processes left behind.
--
-- Locks: attaching a partition takes share update exclusive on the log, which neither inserts nor claims wait for.

-- Keeps `ahead` empty partitions of the log beyond the one in use. Returns how many it made. Idempotent; gives up for this
-- time when it would have to wait.
create function pubsub.ensure_partitions(ahead integer default 3) returns integer
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    -- Ids per partition: large enough that a claim plans over few partitions, small enough that the partitions ahead
    -- last for minutes at the highest rate measured.
    span    constant bigint := 10000000;
    current constant bigint := pubsub.log_sequence() / span;
    made    integer := 0;
    name    text;
begin
    if not pg_try_advisory_xact_lock(pubsub.maintenance_lock_class(), 0) then
        return 0;
    end if;
    perform set_config('lock_timeout', '200ms', true);
    for n in current .. current + ahead loop
        name := format('db_events_%s', n);
        if to_regclass(format('pubsub.%I', name)) is null then
            -- Made apart and attached: `create table … partition of` would lock out publishers.
            execute format(
                'create table pubsub.%I (like pubsub.db_events including defaults including constraints)', name
            );
            execute format(
                'alter table pubsub.db_events attach partition pubsub.%I for values from (%s) to (%s)',
                name, n * span, (n + 1) * span
            );
            made := made + 1;
        end if;
    end loop;
    return made;
end
$$;

-- Removes waiter rows whose process died without waking up. Returns how many.
create function pubsub.remove_expired_waiters() returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    removed bigint;
begin
    delete from pubsub.waiters w where w.until < clock_timestamp();
    get diagnostics removed = row_count;
    return removed;
end
$$;

select pubsub.ensure_partitions();
