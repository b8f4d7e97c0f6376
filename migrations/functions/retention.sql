-- Retention: the time for which the log keeps events, and the suspension of subscriptions that do not read.
--
-- A partition may leave the log when it is sealed (partitions.sql) and
--   every subscription has claimed all events of it, in each of its lanes,
--   no lease from the log names an event of it,
--   the retention of every channel with events in it has passed since it was sealed.
-- The mailbox and the dead letters have copies of their events, so they do not count.
--
-- Such a subscription never claims from the partition again. Each event in it has a transaction id below its fence. If no
-- transaction below the fence was in flight at the subscription's read_snapshot, all events of the partition are visible in
-- read_snapshot, and have been claimed. If a window is open, the same holds for the events up to its position that are visible
-- in its snapshot.

-- Sets how long events of a channel stay in the log after every subscription has read them; null is without limit. They leave
-- with their partition, which may be later: it must be sealed, and the retention of all channels with events in it must be
-- over.
create or replace function pubsub.set_retention(channel text, retention interval) returns void
language sql volatile set search_path = pg_catalog, pg_temp begin atomic
    select pubsub.require_declared(set_retention.channel);
    update pubsub.channels c set retention = set_retention.retention
     where c.name = set_retention.channel and c.retention is distinct from set_retention.retention;
end;

-- Sets how long events may stay unread by a subscription, without a claim that moves its cursor, before it is suspended; null
-- is without limit.
create or replace function pubsub.set_unread_limit(channel text, subscription text, unread_limit interval) returns void
language sql volatile set search_path = pg_catalog, pg_temp begin atomic
    select pubsub.subscription_of(set_unread_limit.channel, set_unread_limit.subscription);
    update pubsub.subscriptions s set unread_limit = set_unread_limit.unread_limit
     where s.channel = set_unread_limit.channel and s.name = set_unread_limit.subscription;
end;

-- Subscriptions with an event that has waited for longer than `older_than` while no claim moved the cursor: no process runs
-- them, or their handlers are stuck. A slow subscription whose cursor moves is not among them, however far behind it is.
--   event_id    the first event that waits
--   unread_for  the time since it was published, or since a claim last moved the cursor
create or replace function pubsub.unread_subscriptions(older_than interval)
returns table (
    subscription integer, channel text, name text, event_id bigint, unread_for interval, unread_limit interval
)
language sql volatile set jit = off set search_path = pg_catalog, pg_temp begin atomic
    select distinct on (s.id) s.id, s.channel, s.name, u.id, w.unread_for, s.unread_limit
      from pubsub.subscriptions s
      join pubsub.positions() c on c.subscription = s.id and c.moved_at < clock_timestamp() - older_than
     cross join lateral (
         -- The subquery keeps the function from being inlined: the floor would be read for each event.
         select e.id, e.published_at
           from pubsub.unread_events(c, s.channel, s.lanes, pubsub.all_visible(), (select pubsub.log_floor()), 1) e
          order by e.id limit 1
     ) u
     cross join lateral (
         -- A time of publication in the future, or infinity, says nothing.
         select clock_timestamp() - greatest(
                    c.moved_at, case when u.published_at < clock_timestamp() then u.published_at end, s.resumed_at
                ) as unread_for
     ) w
     where s.suspended_at is null and w.unread_for > older_than
     order by s.id, w.unread_for desc;
end;

-- Suspends subscriptions that have been unread for longer than their limit: the log no longer waits for them, and their claims
-- are refused (PB007). Returns those that this call suspended.
create or replace function pubsub.suspend_unread()
returns table (channel text, name text, event_id bigint, unread_for interval)
language plpgsql volatile set jit = off set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    shortest constant interval := (select min(s.unread_limit) from pubsub.subscriptions s where s.suspended_at is null);
    late     record;
begin
    for late in select * from pubsub.unread_subscriptions(shortest) u where u.unread_for > u.unread_limit loop
        -- A session that holds one of these locks claims, and may have moved the cursor, or it changes the number of lanes.
        continue when not pg_try_advisory_xact_lock(hashtext('pubsub.lanes'), late.subscription)
            or not pg_try_advisory_xact_lock(hashtext('pubsub.claiming'), late.subscription);
        -- The question is repeated in a snapshot that is taken with the locks held.
        return query
        update pubsub.subscriptions s set suspended_at = clock_timestamp(), missed = 0
          from pubsub.unread_subscriptions(late.unread_limit) u
         where s.id = late.subscription and u.subscription = s.id
        returning s.channel, s.name, u.event_id, u.unread_for;
    end loop;
end
$$;

-- The number of events of a partition that a lane has not claimed. It counts up to a million.
create or replace function pubsub.count_missed(
    reader pubsub.subscriptions, c pubsub.cursors, partition pubsub.partitions
) returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    most   constant bigint := 1000000;
    floor  constant bigint := pubsub.log_floor();
    name   constant text := format('pubsub.db_events_%s', partition.first_id);
    ahead  record;
    missed bigint;
begin
    if pubsub.has_claimed_all(c, partition) or to_regclass(name) is null then
        return 0;
    end if;
    -- The partition may have left the log already, so pubsub.unread_events cannot read it.
    select * into ahead from pubsub.unread(c, reader.channel, pg_current_snapshot(), floor);
    execute format(
        'select count(*) from (
             select from %s d
              where d.channel = $1 and (d.id > $2 or d.id > $3 and d.xid = any ($4))
                and pubsub.is_unread($5, d.xid, d.id, $6) and pubsub.lane_of(d.key, d.id, $7) = $5.lane
              limit $8
         ) d', name
    ) into missed using reader.channel, ahead.above, ahead.below, ahead.stragglers, c, floor, reader.lanes, most;
    return missed;
end
$$;

-- Resumes a suspended subscription at the first event that it has not read and that the log still has. Returns how many events
-- left the log unread by it; a million stands for a million or more. Returns 0 as well if it was not suspended.
create or replace function pubsub.resume(channel text, subscription text) returns bigint
language plpgsql volatile set jit = off set search_path = pg_catalog, pg_temp as $$
declare
    resumed pubsub.subscriptions;
begin
    -- No partition may leave the log meanwhile, because a claim might still see a partition whose removal has started.
    perform pubsub.keep_partitions();
    perform from pubsub.subscriptions s where s.channel = resume.channel and s.name = resume.subscription for update;
    resumed := pubsub.subscription_of(channel, subscription);
    if resumed.suspended_at is null then
        return 0;
    end if;
    resumed.missed := resumed.missed + (
        select coalesce(sum(pubsub.count_missed(resumed, c, l.partition)), 0)
          from pubsub.positions(resumed.id) c
         cross join pubsub.leaving_partitions() l
    );
    update pubsub.subscriptions s set suspended_at = null, resumed_at = clock_timestamp(), missed = 0
     where s.id = resumed.id;
    perform pg_notify('pubsub', resume.channel);
    return resumed.missed;
end
$$;
