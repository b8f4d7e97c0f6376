-- Removal: partitions that may leave the log are detached and dropped, one after the other.
--
-- `alter table … detach partition … concurrently` takes share update exclusive on the log, for which neither inserts nor claims
-- wait, and access exclusive on a partition that is no longer used.

-- The partitions whose removal has started. New statements do not see them in the log.
--   detached  whether the partition is a table of its own already
create or replace function pubsub.leaving_partitions() returns table (partition pubsub.partitions, detached boolean)
language sql stable set search_path = pg_catalog, pg_temp begin atomic
    select p, i.inhrelid is null
      from pubsub.partitions p
      left join pg_inherits i
        on i.inhparent = 'pubsub.db_events'::regclass
       and i.inhrelid = to_regclass(format('pubsub.db_events_%s', p.first_id))
     where i.inhrelid is null
        or i.inhdetachpending;
end;

-- The reasons that keep a sealed partition in the log, in words; empty if there are none (retention.sql has the rule). It is
-- one statement with one snapshot, so that it sees a claim with both its cursor and its lease, or not at all.
create or replace function pubsub.removal_blockers(partition pubsub.partitions) returns text[]
language sql volatile set jit = off set search_path = pg_catalog, pg_temp begin atomic
    select array(
        select distinct format('subscription %s/%s', s.channel, s.name)
          from pubsub.positions() c
          join pubsub.subscriptions s on s.id = c.subscription
         where s.suspended_at is null and not pubsub.has_claimed_all(c, partition)
        union all
        select format('lease %s of process %s', l.token, l.process)
          from pubsub.leases l
          join pubsub.subscriptions s on s.id = l.subscription
         where not l.from_mailbox
           and exists (
                   select from unnest(l.event_ids) e (id) where e.id >= partition.first_id and e.id < partition.end_id
               )
        union all
        select format('channel %s until %s', c.name, coalesce((partition.sealed_at + c.retention)::text, 'for ever'))
          from pubsub.channels c
         where coalesce(partition.sealed_at + c.retention > clock_timestamp(), true)
           -- A subquery with an order keeps the search on the primary key, channel by channel.
           and (
                   select d.id from pubsub.db_events d
                    where d.channel = c.name and d.id >= partition.first_id and d.id < partition.end_id
                    order by d.channel, d.id limit 1
               ) is not null
    );
end;

-- The next steps of partitions on their way out, most urgent first, without those that were tried within `pause`. Detached
-- partitions are dropped first, and an interrupted detachment is finished before a new one begins. Only one partition can be
-- detached at a time.
create or replace function pubsub.removal_steps(pause interval default interval '1 minute') returns table (first_id bigint, step text)
language sql volatile set jit = off set search_path = pg_catalog, pg_temp begin atomic
    select r.first_id, r.step
      from (
          select (l.partition).*, case when l.detached then 'drop' else 'finalize' end as step
            from pubsub.leaving_partitions() l
          union all
          (
              select p.*, 'detach' from pubsub.partitions p
               where p.sealed_at is not null and coalesce(p.tried_at <= clock_timestamp() - pause, true)
                 and not exists (select from pubsub.leaving_partitions() l where not l.detached)
                 and pubsub.removal_blockers(p) = '{}'
               order by p.first_id limit 1
          )
      ) r
     where coalesce(r.tried <> r.step or r.tried_at <= clock_timestamp() - pause, true)
     order by r.step = 'detach', r.step = 'finalize', r.first_id;
end;

-- Keeps the partitions in the log until the end of the transaction. Waits until a detachment that was handed out has begun, within the
-- caller's lock_timeout, and no longer than 5 s.
create or replace function pubsub.keep_partitions() returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    give_up_at constant timestamptz := clock_timestamp()
        + least(nullif(current_setting('lock_timeout'), '0')::interval, interval '5 seconds');
begin
    perform pg_advisory_xact_lock_shared(hashtext('pubsub.maintenance'), 2);
    while exists (
        select from pubsub.partitions p
         where p.leaves_until > clock_timestamp()
           and not exists (select from pubsub.leaving_partitions() l where (l.partition).first_id = p.first_id)
    ) loop
        if clock_timestamp() > give_up_at then
            raise exception using errcode = 'lock_not_available', message = 'a partition is about to leave the log';
        end if;
        perform pg_sleep(0.01);
    end loop;
end
$$;

-- The next statement that takes a partition out of the log; null if no partition can go now. Run it at once, outside of a
-- transaction and on the same connection, and call again:
--   alter table pubsub.db_events detach partition … concurrently    takes the partition out of the log
--   alter table pubsub.db_events detach partition … finalize        finishes that where it was interrupted
--   select pubsub.detach_partition(…)                               does either for a role that does not own the log
--   select pubsub.drop_partition(…)                                 frees the disk space
-- The first two wait for the transactions that use the log, and only other maintenance waits for them. Give them a
-- statement_timeout: an interrupted statement is handed out again after `pause`, to any caller. Until one of the first two begins,
-- and for a minute at most, no subscription is moved back in the log (pubsub.keep_partitions).
create or replace function pubsub.next_removal(pause interval default interval '1 minute') returns text
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    next_one record;
    is_owner boolean;
begin
    perform pubsub.require_recognized();
    select * into next_one from pubsub.removal_steps(pause) limit 1;
    if next_one.step = 'detach' then
        if not pg_try_advisory_xact_lock(hashtext('pubsub.maintenance'), 2) then
            return null;
        end if;
        -- Asked again, with the lock held.
        select * into next_one from pubsub.removal_steps(pause) limit 1;
    end if;
    if next_one is null then
        return null;
    end if;
    -- The caller's rights, not this function's.
    is_owner := pg_has_role(session_user, (select c.relowner from pg_class c where c.oid = 'pubsub.db_events'::regclass), 'usage');
    update pubsub.partitions p
       set tried = next_one.step, tried_at = clock_timestamp(),
           leaves_until = case when is_owner and next_one.step = 'detach' then clock_timestamp() + interval '1 minute' end
     where p.first_id = next_one.first_id;
    return case
        when next_one.step = 'drop' then format('select pubsub.drop_partition(%s)', next_one.first_id)
        when not is_owner then format('select pubsub.detach_partition(%s)', next_one.first_id)
        else format(
            'alter table pubsub.db_events detach partition pubsub.db_events_%s %s', next_one.first_id,
            case next_one.step when 'detach' then 'concurrently' else 'finalize' end
        )
    end;
end
$$;

-- Takes a partition out of the log, or finishes that, for a caller who does not own the log. Raises lock_not_available if a
-- transaction is in the way.
--
-- A function cannot detach concurrently: publishers wait while it waits for the transactions that use the log. So it waits only
-- for a moment, and not at all if one of them has used the log for longer than that.
create or replace function pubsub.detach_partition(first_id bigint) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    moment constant interval := interval '50 ms';
    name   constant text := format('pubsub.db_events_%s', first_id);
    users  text[];
begin
    if not pg_try_advisory_xact_lock(hashtext('pubsub.maintenance'), 2)
        or not exists (
            select from pubsub.removal_steps('0') r where r.first_id = detach_partition.first_id and r.step <> 'drop'
        )
    then
        return;
    end if;
    -- Looks twice, because the time at which somebody else's transaction began is visible only to some owners.
    for round in 1..2 loop
        users := array(
            select distinct l.virtualtransaction
              from pg_locks l
             where l.relation in ('pubsub.db_events'::regclass, to_regclass(name))
               and l.database = (select d.oid from pg_database d where d.datname = current_database())
               and l.pid is distinct from pg_backend_pid() and (round = 1 or l.virtualtransaction = any (users))
        );
        exit when users = '{}';
        if round = 2 then
            raise exception using errcode = 'lock_not_available', message = format('%s is in use', name);
        end if;
        perform pg_sleep(extract(epoch from moment));
    end loop;
    -- Publishers wait until the caller's transaction ends. One that is left open is ended.
    perform set_config('lock_timeout', extract(milliseconds from moment)::integer::text, true),
            set_config('idle_in_transaction_session_timeout', '1s', true);
    execute format(
        'alter table pubsub.db_events detach partition %s %s', name,
        case when exists (select from pubsub.leaving_partitions() l where (l.partition).first_id = detach_partition.first_id)
            then 'finalize' else ''
        end
    );
end
$$;

-- Drops a detached partition, and counts what suspended subscriptions miss with it. False: it is not detached. Gives up for
-- this time if a session still reads the partition.
create or replace function pubsub.drop_partition(first_id bigint) returns boolean
language plpgsql volatile set jit = off set search_path = pg_catalog, pg_temp as $$
declare
    partition pubsub.partitions;
begin
    perform set_config('lock_timeout', '100ms', true);
    select (l.partition).* into partition from pubsub.leaving_partitions() l
     where l.detached and (l.partition).first_id = drop_partition.first_id;
    if not found then
        return false;
    end if;
    -- It may have been dropped by hand.
    if to_regclass(format('pubsub.db_events_%s', first_id)) is not null then
        execute format('lock table pubsub.db_events_%s in access exclusive mode', first_id);
        update pubsub.subscriptions s set missed = s.missed + m.missed
          from (
              select c.subscription, sum(pubsub.count_missed(u, c, partition)) as missed
                from pubsub.positions() c
                join pubsub.subscriptions u on u.id = c.subscription and u.suspended_at is not null
               group by c.subscription
          ) m
         where s.id = m.subscription and s.suspended_at is not null and m.missed > 0;
        execute format('drop table pubsub.db_events_%s', first_id);
    end if;
    delete from pubsub.partitions p where p.first_id = drop_partition.first_id;
    return true;
end
$$;
