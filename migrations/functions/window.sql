-- Windows: the part of the log between two boundaries, and what a cursor has not read yet.
--
-- These are the only definitions of what lies in a window. Why such windows lose nothing and read nothing twice is explained in
-- claim.sql. A bare `return` and a body in SQL without settings are inlined by the planner: they cost no call.
--
-- Parameters that several of them have:
--   lower, upper  a window's boundaries: it holds what is visible in `upper` and not in `lower`
--   floor         ids up to this are visible in every upper boundary: they were published before the log was moved here, and
--                 their transaction ids say nothing (pubsub.log_floor)

-- Whether an event is visible in a snapshot and has an id up to `until`; null is no limit. False without a snapshot.
create or replace function pubsub.is_behind(xid xid8, id bigint, snapshot pg_snapshot, until bigint, floor bigint) returns boolean
language sql immutable parallel safe
return snapshot is not null
   and (id <= floor or pg_visible_in_snapshot(xid, snapshot)) and (until is null or id <= until);

-- Whether an event has not been claimed at a cursor's position. Only for the events that pubsub.unread describes: it does not
-- look at what lies behind them.
create or replace function pubsub.is_unread(c pubsub.cursors, xid xid8, id bigint, floor bigint) returns boolean
language sql immutable parallel safe
return not pg_visible_in_snapshot(xid, c.read_snapshot)
   and not pubsub.is_behind(xid, id, c.window_snapshot, c.window_position, floor);

-- The transactions that were in flight at a boundary, have ended in `upper`, and have published on the channel.
--   fence  the transaction id that was drawn before `lower` was taken
create or replace function pubsub.finished_stragglers(channel text, lower pg_snapshot, fence bigint, upper pg_snapshot)
returns xid8[]
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    ended xid8[];
    last  xid8 := (pg_snapshot_xmax(lower)::text::bigint - 1)::text::xid8;
    next  xid8;
    stop  xid8;
begin
    -- Nothing was in flight: not worth a query.
    if pg_snapshot_xmin(lower) = pg_snapshot_xmax(lower) and pg_snapshot_xmax(lower)::text::bigint >= fence then
        return null;
    end if;
    ended := array(select x from pg_snapshot_xip(lower) x);
    -- Between the boundary's xmax and its fence there may be the ids of a million subtransactions. The log's index leads from
    -- one transaction that has published to the next, past those that are still in flight.
    for stop in
        select x from pg_snapshot_xip(upper) x where x > last and x::text::bigint < fence
        union all
        select fence::text::xid8
    loop
        loop
            select d.xid into next from pubsub.db_events d where d.xid > last and d.xid < stop
             order by d.xid, d.channel, d.id limit 1;
            exit when not found;
            ended := ended || next;
            last := next;
        end loop;
        last := stop;
    end loop;
    return (
        select array_agg(x)
          from unnest(ended) x
         cross join lateral (
             select from pubsub.db_events d where d.xid = x and d.channel = finished_stragglers.channel
              order by d.xid, d.channel, d.id limit 1
         ) d
         where pg_visible_in_snapshot(x, upper)
    );
end
$$;

-- Opens the window that follows a position.
--   sequence, fence  the log's sequence, and a transaction id that was drawn after it was read
--   is_foreign       whether another cluster has written the position
create or replace function pubsub.open_window(
    c pubsub.cursors, channel text, sequence bigint, fence bigint, floor bigint, is_foreign boolean
) returns pubsub.cursors
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    c.window_snapshot := pubsub.own_snapshot();
    c.window_sequence := sequence;
    c.window_fence := fence;
    c.window_end := pubsub.log_sequence();
    if is_foreign or pg_snapshot_xmax(c.window_snapshot) < pg_snapshot_xmax(c.read_snapshot)
        or c.window_end < c.read_sequence and pg_snapshot_xmax(c.read_snapshot) > pg_snapshot_xmax(pubsub.none_visible())
    then
        raise exception using errcode = 'PB005', constraint = 'PB005',
            message = format('another cluster has written where subscription %s last read', c.subscription),
            detail = 'The database was restored or replicated into this one; reading on would skip events.',
            hint = 'Run pubsub::admin::rebase, or "select pubsub.rebase()".';
    end if;
    c.window_stragglers := pubsub.finished_stragglers(channel, c.read_snapshot, c.read_fence, c.window_snapshot);
    -- An event below the floor has the transaction id of another cluster: it is no straggler.
    c.window_position := case when c.window_stragglers is null then c.read_sequence else floor end;
    return c;
end
$$;

-- The next events of a lane that stragglers published, up to `most`, in id order: those with ids above `after` and up to `stop`.
-- It is a call, because most windows have no stragglers, and then nothing of it is prepared.
create or replace function pubsub.straggler_events(
    channel text, lanes integer, lane integer, stragglers xid8[], after bigint, stop bigint, most integer
) returns setof pubsub.db_events
language plpgsql stable rows 1 set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select d.*
      from unnest(stragglers) straggler
     cross join lateral (
         select d.* from pubsub.db_events d
          where d.xid = straggler and d.channel = straggler_events.channel and d.id > after and d.id <= stop
            and (lanes = 0 or pubsub.lane_of(d.key, d.id, lanes) = lane)
          order by d.xid, d.channel, d.id limit most
     ) d
     order by d.id limit most;
end
$$;

-- The next events of a lane in its window, up to `most`, in id order: first those of the stragglers, then those of the range.
--   stragglers  of their events, those with ids above `after` and up to `start`
--   start       the range's ids are above this and above `after`, up to `stop`
create or replace function pubsub.window_events(
    channel text, lanes integer, lane integer, lower pg_snapshot, upper pg_snapshot, stragglers xid8[], after bigint,
    start bigint, stop bigint, floor bigint, most integer
) returns setof pubsub.db_events
language sql stable begin atomic
    select e.*
      from (
          (
              select s.* from pubsub.straggler_events(channel, lanes, lane, stragglers, after, start, most) s
               where stragglers is not null
          )
          union all
          (
              select d.* from pubsub.db_events d
               where d.channel = window_events.channel and d.id > greatest(after, start) and d.id <= stop
                 and (d.id <= floor or pg_visible_in_snapshot(d.xid, upper))
                 and not pg_visible_in_snapshot(d.xid, lower)
                 and (lanes = 0 or pubsub.lane_of(d.key, d.id, lanes) = lane)
               order by d.channel, d.id limit most
          )
      ) e
     order by e.id limit most;
end;

-- The ids at which a cursor's unread events are, as far as they are committed in `upper`: those above `above`; and of the
-- transactions `stragglers` those from there down to above `below`.
create or replace function pubsub.unread(
    c pubsub.cursors, channel text, upper pg_snapshot, floor bigint, out above bigint, out stragglers xid8[], out below bigint
)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    later xid8[];
begin
    if c.window_snapshot is null then
        above := c.read_sequence;
        stragglers := pubsub.finished_stragglers(channel, c.read_snapshot, c.read_fence, upper);
        below := floor;
    else
        -- An event that is not visible in the window may have any id above the sequence that was read before its snapshot.
        above := least(greatest(c.read_sequence, c.window_position), c.window_sequence);
        stragglers := case when c.window_position < c.read_sequence then c.window_stragglers end;
        later := pubsub.finished_stragglers(channel, c.window_snapshot, c.window_fence, upper);
        below := case when later is null then c.window_position else floor end;
        stragglers := stragglers || later;
    end if;
    if below >= above then
        stragglers := null;
    end if;
end
$$;

-- The events of a lane that have not been claimed, as far as they are committed in `upper`. In no order; up to `most` of the
-- range and as many of the stragglers, the first ones; null is all of them.
create or replace function pubsub.unread_events(
    c pubsub.cursors, channel text, lanes integer, upper pg_snapshot, floor bigint, most bigint default null
) returns setof pubsub.db_events
language sql stable begin atomic
    select e.*
      from pubsub.unread(c, channel, upper, floor) u
     cross join lateral (
         (
             select d.* from pubsub.db_events d
              where d.channel = unread_events.channel and d.id > u.above
                and (d.id <= floor or pg_visible_in_snapshot(d.xid, upper))
                and pubsub.is_unread(c, d.xid, d.id, floor) and pubsub.lane_of(d.key, d.id, lanes) = c.lane
              order by d.channel, d.id limit most
         )
         union all
         (
             select d.*
               from unnest(u.stragglers) straggler
              cross join lateral (
                  select d.* from pubsub.db_events d
                   where d.xid = straggler and d.channel = unread_events.channel and d.id > u.below and d.id <= u.above
                     and pubsub.is_unread(c, d.xid, d.id, floor) and pubsub.lane_of(d.key, d.id, lanes) = c.lane
                   order by d.xid, d.channel, d.id limit most
              ) d
              order by d.id limit most
         )
     ) e;
end;
