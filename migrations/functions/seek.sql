-- Moving a subscription in the log: back, to read past events again, or ahead.
--
-- A seek writes the subscription's next position, under the lock of its claims. Like a claim, it reads the sequence, draws a
-- transaction id and takes a snapshot. It writes a window of the events that this snapshot shows from the target on, with the
-- snapshot as the boundary behind it. So of the events that were committed before the seek, exactly those from the target on
-- are delivered. Events that commit later are delivered too, whatever their ids or times.
--
-- Leases are settled as before, and the mailbox and the dead letters stay as they are. An event that is in one of them and
-- also ahead of the new position is delivered for both.

-- The number of events of a lane that would be read again, and of those that would not be read, if it were moved to event
-- `first`. Null is the end of the log.
create or replace function pubsub.count_seek(reader pubsub.subscriptions, c pubsub.cursors, first bigint)
returns table (replayed bigint, skipped bigint)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    floor  constant bigint := pubsub.log_floor();
    until  constant bigint := case when c.window_position >= c.read_sequence then c.window_position end;
    passed constant pg_snapshot := case
        when until is not null then c.window_snapshot
        when coalesce(c.window_position < c.read_sequence, c.window_snapshot is null)
            and pg_snapshot_xmax(c.read_snapshot) > pg_snapshot_xmax(pubsub.none_visible()) then c.read_snapshot
    end;
    ahead  record;
begin
    select * into ahead from pubsub.unread(c, reader.channel, pubsub.all_visible(), floor);
    select count(*) into replayed from pubsub.db_events d
     where d.channel = reader.channel and d.id >= count_seek.first
       and pubsub.lane_of(d.key, d.id, reader.lanes) = c.lane
       and pubsub.is_behind(d.xid, d.id, passed, until, floor);
    -- pubsub.unread_events would take four times as long for a long backlog.
    select count(*) into skipped from pubsub.db_events d
     where d.channel = reader.channel and d.id > ahead.above and (count_seek.first is null or d.id < count_seek.first)
       and pubsub.lane_of(d.key, d.id, reader.lanes) = c.lane and pubsub.is_unread(c, d.xid, d.id, floor);
    select skipped + count(*) into skipped
      from unnest(ahead.stragglers) straggler
      join pubsub.db_events d on d.xid = straggler
     where d.channel = reader.channel and d.id > ahead.below and d.id <= ahead.above
       and (count_seek.first is null or d.id < count_seek.first) and pubsub.lane_of(d.key, d.id, reader.lanes) = c.lane
       and pubsub.is_unread(c, d.xid, d.id, floor);
    return next;
end
$$;

-- Moves a subscription. Returns how many events it will read again, and how many it will not read. `dry_run` only counts.
-- Exactly one of these is the target:
--   target  'beginning', the oldest event that the log has; or 'now', the end of the log
--   event   this event: it and all after it are delivered
--   since   the first event that was published then or later, by the database's clock
--
-- Must come first in a READ COMMITTED transaction (PB003), unless it is a dry run. Events that are published and claimed while
-- it runs may be delivered twice.
create or replace function pubsub.seek(
    channel text, subscription text, target text default null, event bigint default null,
    since timestamptz default null, dry_run boolean default false
) returns table (replayed bigint, skipped bigint)
language plpgsql volatile set plan_cache_mode = force_generic_plan set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    -- Times do not always rise with the ids: publishers draw the id before they read the clock, and clocks are set back.
    slack    constant interval := '1 minute';
    reader   pubsub.subscriptions;
    first    bigint;
    sequence bigint;
    fence    bigint;
    boundary pg_snapshot;
    log_end  bigint;
    position pubsub.cursors;
begin
    if num_nonnulls(target, event, since) <> 1 or target not in ('beginning', 'now') then
        raise exception using errcode = 'invalid_parameter_value',
            message = 'a seek needs one target: ''beginning'', ''now'', an event, or a time';
    end if;
    if dry_run is not true then
        perform pubsub.require_read_committed('pubsub.seek');
        -- No partition leaves the log while a subscription goes back to it.
        perform pubsub.keep_partitions();
        -- The proof needs this order, as in pubsub.claim. The search comes after it, so that events which the search does not
        -- see commit later.
        sequence := pubsub.log_sequence();
        perform pubsub.require_recognized();
        fence := pg_current_xact_id()::text::bigint;
        boundary := pubsub.own_snapshot();
        log_end := pubsub.log_sequence();
        perform pg_advisory_xact_lock_shared(hashtext('pubsub.lanes'), (pubsub.subscription_of(channel, subscription)).id);
    end if;
    reader := pubsub.subscription_of(channel, subscription);
    first := case
        when target = 'beginning' then 1
        when event is not null then greatest(event, 1)
        -- Reads the log backwards from its end, so that its cost depends only on the events after `since`.
        when since is not null then (
            select d.id from pubsub.db_events d
             where d.channel = seek.channel and d.published_at >= seek.since and d.id > coalesce((
                       select o.id from pubsub.db_events o
                        where o.channel = seek.channel and o.published_at + slack < seek.since
                        order by o.channel desc, o.id desc limit 1
                   ), 0)
             order by d.channel, d.id limit 1
        )
    end;
    select coalesce(sum(n.replayed), 0), coalesce(sum(n.skipped), 0) into replayed, skipped
      from pubsub.positions(reader.id) c
     cross join lateral pubsub.count_seek(reader, c, first) n;
    return next;
    if dry_run then
        return;
    end if;
    -- This is separate from the counting, which may take long, because no process claims from a lane while its lock is held.
    for position in select c.* from pubsub.positions(reader.id) c order by c.lane loop
        perform pg_advisory_xact_lock(hashtext('pubsub.claiming') + position.lane, reader.id);
        select * into position from pubsub.cursors c where c.subscription = reader.id and c.lane = position.lane
         order by c.subscription desc, c.lane desc, c.seq desc limit 1;
        -- The events that it has passed. While it reads stragglers, the description leaves out those that it has read. A lane that still
        -- reads the window of an earlier seek keeps the later of both marks.
        insert into pubsub.replays as r (subscription, lane, snapshot, until)
        select reader.id, position.lane, position.read_snapshot, null
         where coalesce(position.window_position < position.read_sequence, position.window_snapshot is null)
           and pg_snapshot_xmax(position.read_snapshot) > pg_snapshot_xmax(pubsub.none_visible())
        union all
        select reader.id, position.lane, position.window_snapshot, position.window_position
         where position.window_position >= position.read_sequence
        on conflict on constraint replays_pkey do update
           set snapshot = excluded.snapshot, until = excluded.until
         where pg_snapshot_xmax(position.read_snapshot) > pg_snapshot_xmax(pubsub.none_visible())
            or r.until < excluded.until;
        perform pubsub.place_cursor(reader.id, position.lane, position.seq + 1, first, sequence, fence, boundary, log_end);
    end loop;
    perform pg_notify('pubsub', channel);
end
$$;
