-- Moving a subscription in the log: back, to read past events again, or ahead.
--
-- A seek writes the subscription's next position, under the lock of its claims. Like a claim it reads the sequence, draws
-- a transaction id and takes a snapshot, and what it writes is a window of what that snapshot shows from the given event
-- on, and the snapshot as the boundary behind it. So of all that was committed before the seek, exactly the events from
-- the position on are delivered; and whatever commits later is delivered too, whatever its id or time.
--
-- Leases go on and are settled as before, and the mailbox and the dead letters stay as they are: an event that is there
-- and also ahead of the new position is delivered for both.

-- Whether a subscription had read past an event when it was last moved back.
create or replace function pubsub.is_replay(subscription integer, lane integer, xid xid8, id bigint) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (
        select from pubsub.replays r
         where r.subscription = is_replay.subscription
           and r.lane = is_replay.lane
           and pubsub.is_behind(is_replay.xid, is_replay.id, r.snapshot, r.until, pubsub.log_floor())
    );
end
$$;

-- How far behind the first of a channel's events since a given time there may be one of an earlier time: publishers draw
-- the id first and look at the clock second, and clocks are set.
create or replace function pubsub.clock_slack() returns interval
language sql immutable parallel safe
return interval '1 minute';

-- The first event of a channel that was published at `since` or later, or null. Reads the log from its end backwards, so
-- that it costs what it finds.
create or replace function pubsub.first_event_since(channel text, since timestamptz) returns bigint
language plpgsql stable
set plan_cache_mode = force_generic_plan
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    older bigint;
begin
    select d.id into older
      from pubsub.db_events d
     where d.channel = first_event_since.channel
       and d.published_at < first_event_since.since - pubsub.clock_slack()
     order by d.channel desc, d.id desc
     limit 1;
    return (
        select d.id
          from pubsub.db_events d
         where d.channel = first_event_since.channel
           and d.id > coalesce(older, 0)
           and d.published_at >= first_event_since.since
         order by d.channel, d.id
         limit 1
    );
end
$$;

-- Until the end of the transaction, no partition leaves the log; waits while one does. For who is to read again what
-- everybody has read.
create or replace function pubsub.keep_partitions() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_advisory_xact_lock_shared(hashtext('pubsub.maintenance'), 2);
end
$$;

-- How many events of a lane would be read again, and how many would not be read, if it were moved to event `first`; null is
-- the end of the log.
create or replace function pubsub.count_seek(of_subscription pubsub.subscriptions, place pubsub.cursors, first bigint)
returns table (replayed bigint, skipped bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    floor    constant bigint := pubsub.log_floor();
    behind   record;
    ahead    record;
begin
    select * into behind from pubsub.passed(place);
    select * into ahead from pubsub.unread(place, pg_current_snapshot(), floor);
    select count(*) into replayed
      from pubsub.db_events d
     where d.channel = of_subscription.channel
       and d.id >= count_seek.first
       and pubsub.lane_of(d.key, d.id, of_subscription.lanes) = place.lane
       and pubsub.is_behind(d.xid, d.id, behind.snapshot, behind.until, floor);
    select count(*) into skipped
      from pubsub.db_events d
     where d.channel = of_subscription.channel
       and d.id > ahead.above
       and pubsub.lane_of(d.key, d.id, of_subscription.lanes) = place.lane
       and (count_seek.first is null or d.id < count_seek.first)
       and not pubsub.is_behind(d.xid, d.id, behind.snapshot, behind.until, floor);
    select skipped + count(*) into skipped
      from unnest(ahead.stragglers) straggler
      join pubsub.db_events d on d.xid = straggler
     where d.channel = of_subscription.channel
       and d.id > ahead.below
       and d.id <= ahead.above
       and pubsub.lane_of(d.key, d.id, of_subscription.lanes) = place.lane
       and (count_seek.first is null or d.id < count_seek.first);
    return next;
end
$$;

-- Moves a subscription to event `first`, or to the first event since a time, or, if both are null, to the end of the log.
-- Returns how many events it will read again, and how many it will not read. `dry_run` only counts.
--
-- Must come first in a READ COMMITTED transaction (PB003), unless it is a dry run. What is published and claimed while it
-- runs may be delivered twice.
create or replace function pubsub.seek(channel text, subscription text, first bigint, since timestamptz, dry_run boolean)
returns table (replayed bigint, skipped bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    of_subscription pubsub.subscriptions;
    target   bigint := first;
    sequence bigint;
    fence    bigint;
    boundary pg_snapshot;
    log_end  bigint;
    position pubsub.cursors;
    counted  record;
begin
    select * into of_subscription
      from pubsub.subscriptions s
     where s.channel = seek.channel and s.name = seek.subscription;
    if not found then
        perform pubsub.refuse_unsubscribed(seek.channel, seek.subscription);
    end if;
    if not dry_run then
        -- The order is the proof, as in pubsub.claim; and all of it before the log is searched, so that whatever the
        -- search could not see comes later.
        perform pubsub.require_first_in_transaction('pubsub.seek');
        perform pubsub.keep_partitions();
        sequence := pubsub.log_sequence();
        perform pubsub.require_home();
        fence := pg_current_xact_id()::text::bigint;
        boundary := pubsub.own_snapshot();
        log_end := pubsub.log_sequence();
        perform pg_advisory_xact_lock_shared(hashtext('pubsub.lanes'), of_subscription.id);
        select * into of_subscription from pubsub.subscriptions s where s.id = of_subscription.id;
    end if;
    if since is not null then
        target := pubsub.first_event_since(channel, since);
    end if;
    replayed := 0;
    skipped := 0;
    for position in
        select c.* from pubsub.positions(of_subscription.id) c order by c.lane
    loop
        select * into counted from pubsub.count_seek(of_subscription, position, target);
        replayed := replayed + counted.replayed;
        skipped := skipped + counted.skipped;
    end loop;
    if dry_run then
        return next;
        return;
    end if;
    -- Apart from the counting, which may take long: nobody claims from a lane while its lock is held.
    for position in
        select c.* from pubsub.positions(of_subscription.id) c order by c.lane
    loop
        perform pg_advisory_xact_lock(hashtext('pubsub.claiming') + position.lane, of_subscription.id);
        select * into position
          from pubsub.cursors c
         where c.subscription = of_subscription.id and c.lane = position.lane
         order by c.subscription desc, c.lane desc, c.seq desc
         limit 1;
        -- One that is moved again while it still reads a window of an earlier seek keeps the farther mark.
        insert into pubsub.replays as r (subscription, lane, snapshot, until)
        select of_subscription.id, position.lane, p.snapshot, p.until from pubsub.passed(position) p
        on conflict on constraint replays_pkey do update
           set snapshot = excluded.snapshot,
               until = excluded.until
         where pg_snapshot_xmax(position.read_snapshot) > pg_snapshot_xmax(pubsub.none_visible())
            or r.until < excluded.until;
        perform pubsub.place_cursor(
            of_subscription.id, position.lane, position.seq + 1, target, sequence, fence, boundary, log_end
        );
    end loop;
    perform pg_notify('pubsub', channel);
    return next;
end
$$;

-- Raises unless a seek was told where to.
create or replace function pubsub.require_target(what text, given boolean) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if not given then
        raise exception using errcode = 'invalid_parameter_value', message = format('%s needs to know where to', what);
    end if;
end
$$;

-- Moves a subscription to an event: that one and all after it are delivered, again or for the first time.
create or replace function pubsub.seek_to_event(channel text, subscription text, event bigint, dry_run boolean default false)
returns table (replayed bigint, skipped bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pubsub.require_target('pubsub.seek_to_event', event is not null);
    return query select * from pubsub.seek(channel, subscription, greatest(event, 1), null, dry_run);
end
$$;

-- Moves a subscription to the first event that was published at `since` or later, by the database's clock.
create or replace function pubsub.seek_to_time(channel text, subscription text, since timestamptz, dry_run boolean default false)
returns table (replayed bigint, skipped bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pubsub.require_target('pubsub.seek_to_time', since is not null);
    return query select * from pubsub.seek(channel, subscription, null, since, dry_run);
end
$$;

-- Moves a subscription to the oldest event that the log still has.
create or replace function pubsub.seek_to_beginning(channel text, subscription text, dry_run boolean default false)
returns table (replayed bigint, skipped bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return query select * from pubsub.seek(channel, subscription, 1, null, dry_run);
end
$$;

-- Moves a subscription to the end of the log: what it has not read yet is not delivered.
create or replace function pubsub.seek_to_now(channel text, subscription text, dry_run boolean default false)
returns table (replayed bigint, skipped bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return query select * from pubsub.seek(channel, subscription, null, null, dry_run);
end
$$;
