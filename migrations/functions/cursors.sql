-- Cursors: how far a subscription has read the log, and what is unread beyond that.
--
-- Why a cursor loses nothing and reads nothing twice is explained in claim.sql.

-- The log's sequence: the highest id drawn so far, or 0.
create or replace function pubsub.log_sequence() returns bigint
language sql volatile
return coalesce(pg_sequence_last_value('pubsub.db_events_id_seq'), 0);

-- The current snapshot with our own transaction listed as in flight. pg_current_snapshot() leaves it out, and then events
-- that this transaction publishes after a claim would count as already read.
create or replace function pubsub.own_snapshot() returns pg_snapshot
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    current pg_snapshot := pg_current_snapshot();
    own     xid8 := pg_current_xact_id_if_assigned();
begin
    if own is null or own >= pg_snapshot_xmax(current) or not pg_visible_in_snapshot(own, current) then
        return current;
    end if;
    return (
        select format('%s:%s:%s', min(x), pg_snapshot_xmax(current), string_agg(x::text, ',' order by x))::pg_snapshot
          from (select pg_snapshot_xip(current) as x union all select own) in_flight
    );
end
$$;

-- The snapshot in which nothing is visible: a cursor that reads from here takes whatever its window holds.
create or replace function pubsub.origin() returns pg_snapshot
language sql immutable parallel safe
return '3:3:'::pg_snapshot;

-- The fence that goes with it: no transaction was in flight.
create or replace function pubsub.origin_fence() returns bigint
language sql immutable parallel safe
return 3;

-- Writes a cursor's next position: an open window of all that is visible in `boundary` from event `first` on, or no window
-- at all if `first` is null; and after it, whatever is not visible in `boundary`, whatever its id.
--   sequence, fence, boundary, log_end  the log's sequence, a transaction id, a snapshot and the sequence again, taken in
--                                       this order
create or replace function pubsub.place_cursor(
    subscription integer,
    lane         integer,
    seq          bigint,
    first        bigint,
    sequence     bigint,
    fence        bigint,
    boundary     pg_snapshot,
    log_end      bigint
) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
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
            subscription, lane, seq, pubsub.origin(), first - 1, pubsub.origin_fence(),
            boundary, sequence, fence, log_end, first - 1
        );
    end if;
end
$$;

-- Raises PB003 unless the caller's transaction has not written anything yet. Claims and new subscriptions read the
-- sequence first and draw their transaction id second; with an older id the cursor's fence would not hold.
create or replace function pubsub.require_first_in_transaction(what text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if pg_current_xact_id_if_assigned() is not null then
        raise exception using
            errcode = 'PB003',
            message = format('%s must come before every write of its transaction', what);
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception using
            errcode = 'PB003',
            message = format('%s needs isolation level read committed', what);
    end if;
end
$$;

-- The transactions that were in flight at a window's lower boundary and are finished in `s`.
create or replace function pubsub.finished_stragglers(c pg_snapshot, fence bigint, s pg_snapshot) returns xid8[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select array_agg(x)
          from (
              select pg_snapshot_xip(c) as x
              union all
              select g::text::xid8 from generate_series(pg_snapshot_xmax(c)::text::bigint, fence - 1) g
          ) in_flight
         where pg_visible_in_snapshot(x, s)
    );
end
$$;

-- Whether a lane may have something to read: a look without a lock, a transaction id or a write, with which most claims of
-- an idle subscription end.
--   sequence  the log's, read before
create or replace function pubsub.is_ripe(c pubsub.cursors, sequence bigint) returns boolean
language sql stable
return c.window_snapshot is not null
    or c.read_sequence < sequence
    or pubsub.finished_stragglers(c.read_snapshot, c.read_fence, pg_current_snapshot()) is not null;

-- Where the subscriptions stand, or one of them: the newest cursor row of each lane.
--
-- Without JIT, here and below: the planner takes these for large, and compiling them would take a hundred times as long as
-- running them.
create or replace function pubsub.positions(of_subscription integer default null) returns setof pubsub.cursors
language sql stable
set jit = off
set search_path = pg_catalog, pg_temp
begin atomic
    select c.*
      from pubsub.subscriptions s
     cross join lateral generate_series(least(s.lanes, 1), s.lanes) of_lane
     cross join lateral (
         select *
           from pubsub.cursors c
          where c.subscription = s.id and c.lane = of_lane
          order by c.subscription desc, c.lane desc, c.seq desc
          limit 1
     ) c
     where of_subscription is null or s.id = of_subscription;
end;

-- Whether everything in a partition has been claimed.
create or replace function pubsub.is_past(c pubsub.cursors, partition pubsub.partitions) returns boolean
language sql immutable parallel safe
return coalesce(partition.fence <= pg_snapshot_xmin(c.read_snapshot), false)
    or coalesce(
           partition.fence <= pg_snapshot_xmin(c.window_snapshot) and c.window_position >= partition.end_id - 1, false
       );

-- Whether an event that a cursor may not have read (pubsub.unread) has not been claimed. Ids up to `floor` are visible in
-- every snapshot (pubsub.log_floor).
create or replace function pubsub.is_unread(c pubsub.cursors, xid xid8, id bigint, floor bigint) returns boolean
language sql immutable parallel safe
return not pg_visible_in_snapshot(xid, c.read_snapshot)
   and not coalesce(
           id <= c.window_position and (id <= floor or pg_visible_in_snapshot(xid, c.window_snapshot)), false
       );

-- The first event of a lane that is committed and not claimed: no rows, if there is none.
create or replace function pubsub.first_unread(reader pubsub.subscriptions, c pubsub.cursors)
returns table (id bigint, published_at timestamptz)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    floor constant bigint := pubsub.log_floor();
    ahead record;
begin
    select * into ahead from pubsub.unread(c, pg_current_snapshot(), floor);
    return query
    select u.id, u.published_at
      from (
          (
              select d.id, d.published_at
                from pubsub.db_events d
               where d.channel = reader.channel
                 and d.id > ahead.above
                 and pubsub.is_unread(c, d.xid, d.id, floor)
                 and pubsub.lane_of(d.key, d.id, reader.lanes) = c.lane
               order by d.channel, d.id
               limit 1
          )
          union all
          (
              select d.id, d.published_at
                from unnest(ahead.stragglers) straggler
               cross join lateral (
                   select d.*
                     from pubsub.db_events d
                    where d.xid = straggler
                      and d.channel = reader.channel
                      and d.id > ahead.below
                      and d.id <= ahead.above
                      and pubsub.is_unread(c, d.xid, d.id, floor)
                      and pubsub.lane_of(d.key, d.id, reader.lanes) = c.lane
                    order by d.xid, d.channel, d.id
                    limit 1
               ) d
               order by d.id
               limit 1
          )
      ) u
     order by u.id
     limit 1;
end
$$;

-- What a cursor has passed, in the terms of pubsub.replays. While it reads stragglers, those it has read already are left
-- out. No row: it has passed nothing that could be described.
create or replace function pubsub.passed(c pubsub.cursors) returns table (snapshot pg_snapshot, until bigint)
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select c.read_snapshot, null::bigint
     where (c.window_snapshot is null or c.window_position < c.read_sequence)
       and pg_snapshot_xmax(c.read_snapshot) > pg_snapshot_xmax(pubsub.origin())
    union all
    select c.window_snapshot, c.window_position
     where c.window_position >= c.read_sequence;
end;

-- What a cursor may not have read, as far as it is committed in `s`: ids above `above`; and of the transactions
-- `stragglers` the ids from there down to those above `below`.
create or replace function pubsub.unread(
    c         pubsub.cursors,
    s         pg_snapshot,
    floor     bigint,
    out above bigint, out stragglers xid8[], out below bigint
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    later xid8[];
begin
    if c.window_snapshot is null then
        above := c.read_sequence;
        stragglers := pubsub.finished_stragglers(c.read_snapshot, c.read_fence, s);
        below := floor;
    else
        -- What is not visible in the window may have any id above the sequence that was read before its snapshot.
        above := least(greatest(c.read_sequence, c.window_position), c.window_sequence);
        stragglers := case when c.window_position < c.read_sequence then c.window_stragglers end;
        later := pubsub.finished_stragglers(c.window_snapshot, c.window_fence, s);
        below := case when later is null then c.window_position else floor end;
        stragglers := stragglers || later;
    end if;
    if below >= above then
        stragglers := null;
    end if;
end
$$;

-- Ids up to this were published before the log was moved here.
create or replace function pubsub.log_floor() returns bigint
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select coalesce(max(h.floor), 0) from pubsub.home h;
end;

-- The events of a channel in a window: those of `stragglers` with ids above `after` and up to `sequence`, and those above both
-- up to `window_end` that are visible in `upper` and not in `lower`. As pubsub.claim reads them.
create or replace function pubsub.window_events(
    channel    text,
    lower      pg_snapshot,
    sequence   bigint,
    upper      pg_snapshot,
    window_end bigint,
    stragglers xid8[],
    after      bigint,
    floor      bigint
) returns setof pubsub.db_events
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select d.*
      from unnest(stragglers) straggler
      join pubsub.db_events d on d.xid = straggler
     where d.channel = window_events.channel
       and d.id > after
       and d.id <= sequence
    union all
    select d.*
      from pubsub.db_events d
     where d.channel = window_events.channel
       and d.id > greatest(after, sequence)
       and d.id <= window_end
       and (d.id <= floor or pg_visible_in_snapshot(d.xid, upper))
       and not pg_visible_in_snapshot(d.xid, lower);
end;

-- The events of a lane that were not claimed, as far as they are visible in `boundary`: what is left of an open window, and
-- the window that would follow.
create or replace function pubsub.unread_events(place pubsub.cursors, channel text, lanes integer, boundary pg_snapshot)
returns setof pubsub.db_events
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    floor    constant bigint := pubsub.log_floor();
    log_end  constant bigint := pubsub.log_sequence();
    lower    pg_snapshot := place.read_snapshot;
    sequence bigint := place.read_sequence;
    fence    bigint := place.read_fence;
begin
    if place.window_snapshot is not null then
        return query
        select w.*
          from pubsub.window_events(
                   channel, lower, sequence, place.window_snapshot, place.window_end, place.window_stragglers,
                   place.window_position, floor
               ) w
         where pubsub.lane_of(w.key, w.id, lanes) = place.lane;
        lower := place.window_snapshot;
        sequence := place.window_sequence;
        fence := place.window_fence;
    end if;
    return query
    select w.*
      from pubsub.window_events(
               channel, lower, sequence, boundary, log_end, pubsub.finished_stragglers(lower, fence, boundary), floor, floor
           ) w
     where pubsub.lane_of(w.key, w.id, lanes) = place.lane;
end
$$;
