-- Lanes: how an ordered subscription handles the events of one key one after another, across processes.
--
-- Every key belongs to a lane, and every lane has a cursor. Three rules make the order, whatever dies in between:
--   1. While a process holds a lease of a lane, no other process claims from that lane (pubsub.claim, claim_mailbox).
--   2. An event whose key has anything in the mailbox goes there as well when it is read, behind it: it is parked.
--   3. Of the events of one key in the mailbox only the first is given out.
-- What parks and unparks holds the lane's claiming lock, so that neither misses the other; whoever takes several takes them
-- in order. Inside one process its dispatcher sees to the order of what it holds: it begins an event only after the earlier ones of
-- its key are done, and gives the later ones back when one is not.
--
-- Which process claims from which lane (pubsub.lanes) only spreads the work, and may be wrong at any time.
--
-- What is called for every claim is plpgsql, however short: a function in SQL is planned anew for every statement that calls
-- it, which costs more than the claim.

-- The lane of an event, of `lanes`; 0 in an unordered subscription. Events without a key are in no order.
create or replace function pubsub.lane_of(key text, id bigint, lanes integer) returns integer
language sql immutable parallel safe
return case
    when lanes = 0 then 0
    else 1 + abs(hashtextextended(coalesce(key, id::text), 0) % lanes)::integer
end;

-- The lanes that a process may claim from, of a subscription with `lanes`; in order.
create or replace function pubsub.lanes_of(subscription integer, lanes integer, process bigint) returns integer[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if lanes = 0 then
        return '{0}';
    end if;
    return array(
        select l.lane
          from pubsub.lanes l
         where l.subscription = lanes_of.subscription and l.process = lanes_of.process
         order by l.lane
    );
end
$$;

-- Before a process claims from an ordered subscription, or from one that is to become ordered or not: it takes its share of
-- the lanes, and a change of their number is made if it can be. False: it cannot be yet, and until then nobody may claim.
--   sequence  the log's, read before the transaction had an id
create or replace function pubsub.prepare_lanes(subscription integer, process bigint, sequence bigint) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    ready constant boolean := not exists (
        select from pubsub.subscriptions s where s.id = subscription and s.lanes_wanted is not null
    );
begin
    if not exists (
        select from pubsub.runners r where r.subscription = prepare_lanes.subscription and r.process = prepare_lanes.process
    ) then
        perform pubsub.require_registered(process);
        perform pubsub.start_running(subscription, process);
    end if;
    return ready or pubsub.change_lanes(subscription, sequence);
end
$$;

-- Opens the lanes of a subscription at a position of the log; the arguments are those of pubsub.place_cursor.
create or replace function pubsub.open_lanes(
    subscription integer,
    lanes        integer,
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
    perform pubsub.place_cursor(subscription, lane, 1, first, sequence, fence, boundary, log_end)
       from generate_series(least(lanes, 1), lanes) lane;
    insert into pubsub.lanes (subscription, lane)
    select open_lanes.subscription, lane from generate_series(1, lanes) lane;
end
$$;

-- Takes the claiming lock of a lane, and says whether a process may claim from it: nobody else holds a lease of it, and until
-- the end of the transaction nobody will. Lane 0 is everybody's.
create or replace function pubsub.enter_lane(subscription integer, lane integer, process bigint) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_advisory_xact_lock(hashtext('pubsub.claiming') + lane, subscription);
    -- A new statement after the lock, so a new snapshot.
    return lane = 0 or not exists (
        select
          from pubsub.leases l
         where l.subscription = enter_lane.subscription
           and l.lane = enter_lane.lane
           and l.lane > 0
           and l.process <> enter_lane.process
    );
end
$$;

-- The lanes of a process that may have something to read, in order, so that two claims never wait for each other. If they are
-- more than the events that are asked for, any of them, so that none starves.
create or replace function pubsub.ripe_lanes(subscription integer, lanes integer, process bigint, batch integer, sequence bigint)
returns integer[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(
        select r.lane
          from (
              select l.lane
                from unnest(pubsub.lanes_of(subscription, lanes, process)) l (lane)
               cross join lateral (
                   select *
                     from pubsub.cursors c
                    where c.subscription = ripe_lanes.subscription and c.lane = l.lane
                    order by c.subscription desc, c.lane desc, c.seq desc
                    limit 1
               ) c
               where pubsub.is_ready(c, sequence)
               order by random()
               limit batch
          ) r
         order by r.lane
    );
end
$$;

-- A process runs an ordered subscription from now on: it gets its share of the lanes. Claiming does this by itself.
create or replace function pubsub.start_running(subscription integer, process bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into pubsub.runners (subscription, process)
    values (start_running.subscription, start_running.process)
    on conflict do nothing;
    perform pubsub.rebalance(subscription);
end
$$;

-- A process stops running a subscription: its lanes go to the others, each as soon as nothing is leased of it.
create or replace function pubsub.stop_running(subscription integer, process bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from pubsub.runners r where r.subscription = stop_running.subscription and r.process = stop_running.process;
    if found then
        perform pubsub.rebalance(subscription);
    end if;
end
$$;

-- The same for all of its subscriptions.
create or replace function pubsub.stop_running_all(process bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    running integer;
begin
    for running in
        select r.subscription from pubsub.runners r where r.process = stop_running_all.process order by r.subscription
    loop
        perform pubsub.stop_running(running, process);
    end loop;
end
$$;

-- Spreads the lanes of an ordered subscription over the processes that run it, moving as few as it can, and wakes them if
-- any has moved.
create or replace function pubsub.rebalance(subscription integer) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    moved boolean;
begin
    -- The row's lock: one at a time.
    perform from pubsub.subscriptions s where s.id = rebalance.subscription for no key update;
    with runner as (
        select r.process, row_number() over (order by r.process) as rank, count(*) over () as runners
          from pubsub.runners r
         where r.subscription = rebalance.subscription
    ),
    lane as (
        select l.lane, l.process, row_number() over (partition by l.process order by l.lane) as rank, count(*) over () as lanes
          from pubsub.lanes l
         where l.subscription = rebalance.subscription
    ),
    share as (
        select r.process, n.lanes / r.runners + case when r.rank <= n.lanes % r.runners then 1 else 0 end as size
          from runner r
         cross join (select count(*) as lanes from lane) n
    ),
    kept as (
        select l.lane, l.process from lane l join share s on s.process = l.process and l.rank <= s.size
    ),
    -- A place for each lane that a runner is short of, and a lane for each place.
    place as (
        select s.process, row_number() over (order by n, s.process) as rank
          from share s
         cross join lateral generate_series(
             1 + (select count(*) from kept k where k.process = s.process), s.size
         ) n
    ),
    free as (
        select l.lane, row_number() over (order by l.lane) as rank
          from lane l
         where l.lane not in (select k.lane from kept k)
    ),
    assigned as (
        update pubsub.lanes l
           set process = p.process
          from free f
          left join place p on p.rank = f.rank
         where l.subscription = rebalance.subscription
           and l.lane = f.lane
           and l.process is distinct from p.process
        returning l.process
    )
    select exists (select from assigned a where a.process is not null) into moved;
    if moved then
        perform pg_notify('pubsub', s.channel) from pubsub.subscriptions s where s.id = rebalance.subscription;
    end if;
end
$$;

-- Changes the number of lanes to `lanes_wanted`, if nothing of the subscription is leased; else it returns false, and
-- nothing may be claimed until it is. What has not been read goes to the mailbox, which keeps each key in order, and every
-- lane starts anew behind it. `sequence` was read before the caller's transaction had an id.
create or replace function pubsub.change_lanes(subscription integer, sequence bigint) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    of_subscription pubsub.subscriptions;
    fence           constant bigint := pg_current_xact_id()::text::bigint;
    boundary        pg_snapshot;
    position        pubsub.cursors;
begin
    -- What has not been read can only be told where the log is at home.
    perform pubsub.require_recognized();
    -- Claims from lane 0 hold that lane's lock, all others the lock of the lanes.
    if not pg_try_advisory_xact_lock(hashtext('pubsub.lanes'), subscription)
        or not pg_try_advisory_xact_lock(hashtext('pubsub.claiming'), subscription)
    then
        return false;
    end if;
    select * into of_subscription from pubsub.subscriptions s where s.id = change_lanes.subscription for no key update;
    if of_subscription.lanes_wanted is null then
        return true;
    end if;
    if of_subscription.suspended_at is not null then
        return false;
    end if;
    if exists (select from pubsub.leases l where l.subscription = change_lanes.subscription) then
        return false;
    end if;
    boundary := pubsub.own_snapshot();
    for position in
        select c.* from pubsub.positions(subscription) c order by c.lane
    loop
        insert into pubsub.mailbox (
            subscription, lane, event_id, channel, key, payload, headers, version, published_at, attempt, panics, crashes,
            due_at, replay
        )
        select position.subscription, position.lane, u.id, u.channel, u.key, u.payload, u.headers, u.version,
               u.published_at, 0, 0, 0, clock_timestamp(),
               pubsub.is_replay(position.subscription, position.lane, u.xid, u.id)
          from pubsub.unread_events(
                   position, of_subscription.channel, of_subscription.lanes, boundary, pubsub.log_floor()
               ) u
        on conflict on constraint mailbox_pkey do nothing;
    end loop;
    delete from pubsub.cursors c where c.subscription = change_lanes.subscription;
    delete from pubsub.lanes l where l.subscription = change_lanes.subscription;
    delete from pubsub.replays r where r.subscription = change_lanes.subscription;
    update pubsub.subscriptions s set lanes = s.lanes_wanted, lanes_wanted = null where s.id = change_lanes.subscription;
    perform pubsub.open_lanes(
        subscription, of_subscription.lanes_wanted, null, sequence, fence, boundary, pubsub.log_sequence()
    );
    update pubsub.mailbox m
       set lane = pubsub.lane_of(m.key, m.event_id, of_subscription.lanes_wanted),
           due_at = case when m.due_at = 'infinity' then clock_timestamp() else m.due_at end
     where m.subscription = change_lanes.subscription;
    perform pubsub.park(
        subscription, array(select m.event_id from pubsub.mailbox m where m.subscription = change_lanes.subscription)
    );
    perform pubsub.rebalance(subscription);
    return true;
end
$$;

-- The lanes of an ordered subscription that are not the process's, and in which something waits that it knows and their
-- own process does not.
create or replace function pubsub.lanes_to_take(subscription integer, process bigint, version integer) returns integer[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- One step along the index: mostly nothing needs a version.
    perform
       from pubsub.mailbox m
      where m.subscription = lanes_to_take.subscription and m.token is null and m.needs is not null
      order by m.subscription, m.lane, m.needs
      limit 1;
    if not found then
        return '{}';
    end if;
    return array(
        select l.lane
          from pubsub.lanes l
          left join pubsub.runners r on r.subscription = l.subscription and r.process = l.process
         where l.subscription = lanes_to_take.subscription
           and l.process is distinct from lanes_to_take.process
           -- One that has not said what it knows counts as old.
           and coalesce(r.version, 0) < any (pubsub.needs_of_lane(l.subscription, l.lane, lanes_to_take.version))
         order by l.lane
    );
end
$$;

-- Gives a process those lanes, so that the old one claims from them no more. Returns whether it got any: it can claim
-- from each as soon as nothing is leased of it. Says what it knows, so that nobody takes them from it.
create or replace function pubsub.take_lanes(subscription integer, lanes integer, process bigint, version integer) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    known constant integer := coalesce(version, pubsub.any_version());
begin
    update pubsub.runners r
       set version = known
     where r.subscription = take_lanes.subscription
       and r.process = take_lanes.process
       and r.version is distinct from known;
    -- One that does not run the subscription could not leave them behind.
    if pubsub.lanes_to_take(subscription, process, version) = '{}'
        or not exists (
            select from pubsub.runners r where r.subscription = take_lanes.subscription and r.process = take_lanes.process
        )
    then
        return false;
    end if;
    -- As in pubsub.rebalance: one at a time.
    perform from pubsub.subscriptions s where s.id = take_lanes.subscription for no key update;
    update pubsub.lanes l
       set process = take_lanes.process
     where l.subscription = take_lanes.subscription
       and l.lane = any (pubsub.lanes_to_take(take_lanes.subscription, take_lanes.process, take_lanes.version));
    if not found then
        return false;
    end if;
    perform pg_notify('pubsub', '');
    return true;
end
$$;
