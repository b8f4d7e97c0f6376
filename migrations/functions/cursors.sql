-- Cursors: the positions of subscriptions in the log, and the unread events behind them.
--
-- claim.sql explains why a cursor loses nothing and reads nothing twice.

-- The log's sequence: the highest id drawn so far, or 0.
create or replace function pubsub.log_sequence() returns bigint
language sql volatile
return coalesce(pg_sequence_last_value('pubsub.db_events_id_seq'), 0);

-- The floor: events with ids up to this were published before the log was moved here.
create or replace function pubsub.log_floor() returns bigint
language sql stable set search_path = pg_catalog, pg_temp begin atomic
    select coalesce(max(i.floor), 0) from pubsub.log_identity i;
end;

-- The current snapshot, with the own transaction listed as in flight. pg_current_snapshot() omits the own transaction, so the
-- events that it publishes after a claim would count as read.
create or replace function pubsub.own_snapshot() returns pg_snapshot
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    current pg_snapshot := pg_current_snapshot();
    own     xid8 := pg_current_xact_id_if_assigned();
begin
    if own is null or own >= pg_snapshot_xmax(current) or not pg_visible_in_snapshot(own, current) then
        return current;
    end if;
    return format(
        '%s:%s:%s', least(own, pg_snapshot_xmin(current)), pg_snapshot_xmax(current),
        (select string_agg(x::text, ',' order by x) from (select pg_snapshot_xip(current) as x union all select own) in_flight)
    )::pg_snapshot;
end
$$;

-- The snapshot in which nothing is visible. A cursor that reads from here claims every event of its window. Its xmax serves as
-- its fence.
create or replace function pubsub.none_visible() returns pg_snapshot
language sql immutable parallel safe
return '3:3:'::pg_snapshot;

-- The snapshot in which everything is visible.
create or replace function pubsub.all_visible() returns pg_snapshot
language sql immutable parallel safe
return '9223372036854775807:9223372036854775807:'::pg_snapshot;

-- Writes a cursor's next position: an open window of the events from `first` on that are visible in `boundary`, or no window if
-- `first` is null. After the window, the cursor reads all events that are not visible in `boundary`, whatever their ids.
--   sequence, fence, boundary, log_end  the log's sequence, a transaction id, a snapshot and the sequence again, taken in
--                                       this order
create or replace function pubsub.place_cursor(
    subscription integer, lane integer, seq bigint, first bigint, sequence bigint, fence bigint, boundary pg_snapshot,
    log_end bigint
) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    if first is null then
        insert into pubsub.cursors (subscription, lane, seq, read_snapshot, read_sequence, read_fence)
        values (subscription, lane, seq, boundary, sequence, fence);
    else
        insert into pubsub.cursors (
            subscription, lane, seq, read_snapshot, read_sequence, read_fence,
            window_snapshot, window_sequence, window_fence, window_end, window_position
        )
        values (
            subscription, lane, seq, pubsub.none_visible(), first - 1, pg_snapshot_xmax(pubsub.none_visible())::text::bigint,
            boundary, sequence, fence, log_end, first - 1
        );
    end if;
end
$$;

-- Whether a row was copied from a cluster that has drawn more transaction ids than this one: it was written here before, modulo 2^32,
-- its writer had begun. A subtransaction writes with an id that is later than its transaction's.
create or replace function pubsub.is_foreign(writer xid8, xmin xid) returns boolean
language sql immutable parallel safe
return writer::xid <> xmin
   and (xmin::text::bigint - writer::text::bigint % 4294967296 + 4294967296) % 4294967296 >= 2147483648;

-- Raises PB003 unless the caller's transaction is READ COMMITTED and, if the caller comes first in it, has not written yet. Claims
-- and new subscriptions read the sequence before they draw their transaction id: with an older id, the cursor's fence would not hold.
create or replace function pubsub.require_read_committed(what text, comes_first boolean default true) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    if comes_first and pg_current_xact_id_if_assigned() is not null then
        raise exception using errcode = 'PB003', constraint = 'PB003', message = format('%s must come before every write of its transaction', what);
    elsif current_setting('transaction_isolation') <> 'read committed' then
        raise exception using errcode = 'PB003', constraint = 'PB003', message = format('%s needs isolation level read committed', what);
    end if;
end
$$;

-- The lanes that may have something to read, of those at the given positions. It takes no lock, draws no transaction id and
-- writes nothing: most claims of an idle subscription end here, whatever is published on other channels.
--   sequence  the log's sequence, read before
create or replace function pubsub.ready_lanes(places pubsub.cursors[], channel text, lanes integer, sequence bigint)
returns integer[]
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    -- It looks at so many ids, and in an ordered subscription at so many events. If there are more, all lanes may be ready. Even if
    -- they find nothing, their claims then move the cursors (`worth_a_row` in pubsub.claim), so the next call has less to look at.
    reach  constant bigint := 1000000;
    most   constant integer := 1000;
    ready  integer[] := '{}';
    behind pubsub.cursors[] := '{}';
    place  pubsub.cursors;
    lowest pubsub.cursors;
begin
    foreach place in array places loop
        -- A snapshot that is ahead of this cluster's ids is another's: the claim refuses it.
        if place.window_snapshot is not null
            or pg_snapshot_xmax(place.read_snapshot) > pg_snapshot_xmax(pg_current_snapshot())
            or pubsub.finished_stragglers(channel, place.read_snapshot, place.read_fence, pg_current_snapshot()) is not null
        then
            ready := ready || place.lane;
        elsif place.read_sequence < sequence then
            behind := behind || place;
            if lowest is null or place.read_sequence < lowest.read_sequence then
                lowest := place;
            end if;
        end if;
    end loop;
    if lowest is null then
        return ready;
    elsif lanes = 0 then
        -- One event is enough. This is the way of most claims, and a shorter one.
        perform from pubsub.db_events d
          where d.channel = ready_lanes.channel and d.id > lowest.read_sequence and d.id <= lowest.read_sequence + reach
            and not pg_visible_in_snapshot(d.xid, lowest.read_snapshot)
          order by d.channel, d.id limit 1;
        return case when found or lowest.read_sequence + reach < sequence then '{0}' else '{}' end;
    end if;
    return ready || array(
        with ahead as materialized (
            select d.id, d.xid, pubsub.lane_of(d.key, d.id, lanes) as lane from pubsub.db_events d
             where d.channel = ready_lanes.channel and d.id > lowest.read_sequence and d.id <= lowest.read_sequence + reach
             order by d.channel, d.id limit most
        )
        select distinct b.lane
          from unnest(behind) b
          left join ahead a on a.lane = b.lane
         where a.id > b.read_sequence and not pg_visible_in_snapshot(a.xid, b.read_snapshot)
            or lowest.read_sequence + reach < sequence
            or (select count(*) from ahead) = most
    );
end
$$;

-- The positions of all subscriptions, or of one: the newest cursor row of each lane.
--
-- JIT is off here and in the callers. The planner overestimates these queries, and compiling them takes a hundred times as long
-- as running them.
create or replace function pubsub.positions(of_subscription integer default null) returns setof pubsub.cursors
language sql stable set jit = off set search_path = pg_catalog, pg_temp begin atomic
    select c.*
      from pubsub.subscriptions s
     cross join lateral generate_series(least(s.lanes, 1), s.lanes) of_lane
     cross join lateral (
         select * from pubsub.cursors c where c.subscription = s.id and c.lane = of_lane
          order by c.subscription desc, c.lane desc, c.seq desc limit 1
     ) c
     where of_subscription is null or s.id = of_subscription;
end;

-- Whether a lane has claimed every event of a partition.
create or replace function pubsub.has_claimed_all(c pubsub.cursors, partition pubsub.partitions) returns boolean
language sql immutable parallel safe
return coalesce(partition.fence <= pg_snapshot_xmin(c.read_snapshot), false)
    or coalesce(
           partition.fence <= pg_snapshot_xmin(c.window_snapshot) and c.window_position >= partition.end_id - 1, false
       );
