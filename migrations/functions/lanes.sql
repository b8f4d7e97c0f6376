-- Lanes: the events of one key one after another, across processes.
--
-- Every key belongs to a lane, and every lane has a cursor. Three rules make the order, whatever dies in between:
--   1. While a process holds a lease of a lane, no other process claims from that lane (pubsub.claim, claim_mailbox), nor does that
--      process while it may not know of the lease.
--   2. An event whose key has anything in the mailbox goes there as well when it is read, behind it: it is parked.
--   3. Of the events of one key in the mailbox, the first is handed out first. Some that follow may come with it, in the same lease.
-- A function that parks or unparks holds the lane's claiming lock, so that neither misses the other; one that takes several of
-- these locks takes them in order, but pubsub.reclaim does so for one dead process after another: PostgreSQL ends a deadlock, and the
-- next call goes on. Inside a process its dispatcher keeps the order of what it holds: it starts an event only after the earlier ones
-- of its key are done. If one is not done, it returns the later ones to the mailbox.
--
-- The table pubsub.lanes assigns lanes to processes. It only spreads the work, and may be wrong at any time. A process takes
-- the lanes that it should have when it claims, without waiting for another process.
--
-- Functions that every claim calls are in plpgsql, however short: a function in SQL that is not inlined is planned again for
-- every statement that calls it, which costs more than the claim.

-- The lane of an event, of `lanes`; 0 in an unordered subscription. Events without a key are in no order.
create or replace function pubsub.lane_of(key text, id bigint, lanes integer) returns integer
language sql immutable parallel safe
return case when lanes = 0 then 0 else 1 + abs(hashtextextended(coalesce(key, id::text), 0) % lanes)::integer end;

-- The versions that deliveries of a lane's mailbox need and that wait, up to `knows`, in order; 0 is none. One step along the
-- index for each, however many deliveries there are.
create or replace function pubsub.needs_of_lane(subscription integer, lane integer, knows integer) returns integer[]
language plpgsql stable set plan_cache_mode = force_generic_plan set search_path = pg_catalog, pg_temp as $$
declare
    waiting integer[] := '{}';
    last    integer := -1;
begin
    loop
        select coalesce(m.needs, 0) into last from pubsub.mailbox m
         where m.subscription = needs_of_lane.subscription and m.lane = needs_of_lane.lane and m.token is null
           and coalesce(m.needs, 0) > last and coalesce(m.needs, 0) <= coalesce(knows, 2147483647)
         order by m.subscription, m.lane, coalesce(m.needs, 0) limit 1;
        exit when not found;
        waiting := waiting || last;
    end loop;
    return waiting;
end
$$;

-- The lanes of an ordered subscription that a process owns, and those that it should take:
--   nobody's lanes, until it has its share,
--   lanes of a process that has at least two more of them, and knows no newer version of the channel's payload,
--   lanes in which something waits that needs a version up to `knows`, and whose process does not know that one. A process
--   that has not said what it knows counts as one that knows none.
--   owner  the process that owns the lane and still runs the subscription; size is how many it owns
create or replace function pubsub.lanes_for(subscription integer, process bigint, knows integer)
returns table (lane integer, owner bigint, size bigint)
language sql stable begin atomic
    select l.lane, l.owner, l.size
      from (
          select l.lane, r.process as owner, r.version, count(*) over (partition by r.process) as size,
                 count(*) filter (where r.process = lanes_for.process) over () as own_size, count(*) over () as lanes
            from pubsub.lanes l
            left join pubsub.runners r on r.subscription = l.subscription and r.process = l.process
           where l.subscription = lanes_for.subscription
      ) l
     where l.owner = lanes_for.process
        or l.owner is null
           and l.own_size * (select count(*) from pubsub.runners r where r.subscription = lanes_for.subscription) < l.lanes
        or l.owner is not null
           and l.size >= l.own_size + 2 and coalesce((
                   select least(l.version, c.version) <= r.version
                     from pubsub.runners r
                     join pubsub.subscriptions s on s.id = r.subscription
                     join pubsub.channels c on c.name = s.channel
                    where r.subscription = lanes_for.subscription and r.process = lanes_for.process
               ), true)
        or lanes_for.knows > coalesce(l.version, 0)
           and coalesce(l.version, 0) < any (pubsub.needs_of_lane(lanes_for.subscription, l.lane, lanes_for.knows));
end;

-- Takes for a process the lanes that it should have, and returns its lanes, in order. For an unordered subscription that is
-- lane 0. The caller shares the lock of the lanes.
--   knows  the newest version of the payload that the process knows; null: it has not said
create or replace function pubsub.take_lanes(subscription integer, lanes integer, process bigint, knows integer)
returns integer[]
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    own    integer[];
    wanted integer;
begin
    if lanes = 0 then
        return '{0}';
    end if;
    perform from pubsub.runners r
      where r.subscription = take_lanes.subscription and r.process = take_lanes.process
        and (knows is null or r.version = knows);
    if not found then
        perform pubsub.require_registered(process);
        insert into pubsub.runners as r (subscription, process, version)
        values (take_lanes.subscription, take_lanes.process, knows)
        on conflict on constraint runners_pkey do update
           set version = coalesce(excluded.version, r.version);
    end if;
    loop
        select array_agg(l.lane order by l.lane) filter (where l.owner = take_lanes.process),
               count(*) filter (where l.owner is distinct from take_lanes.process)
          into own, wanted
          from pubsub.lanes_for(subscription, process, knows) l;
        -- One process at a time. One that does not get the lock asks again with its next claim.
        exit when wanted = 0 or not pg_try_advisory_xact_lock(hashtext('pubsub.taking'), subscription);
        update pubsub.lanes l set process = take_lanes.process
         where l.subscription = take_lanes.subscription and l.lane = (
               select f.lane from pubsub.lanes_for(take_lanes.subscription, take_lanes.process, take_lanes.knows) f
                where f.owner is distinct from take_lanes.process order by f.owner is not null, f.size desc, f.lane desc
                limit 1
           );
        exit when not found;
    end loop;
    return coalesce(own, '{}');
end
$$;

-- Takes the claiming lock of a lane of an ordered subscription, and returns whether a process may claim from it: nobody else holds
-- a lease of it, nor does the process itself one that it does not know. Until the end of the transaction nobody gets one.
--   waits  whether to wait for the lock. A caller that has the lock of a higher lane does not wait, so that two callers never wait
--          for each other
--   known  the leases that the process knows. After a lost answer it may have others: nothing is claimed from their lanes until they
--          are returned to the mailbox, or an event would overtake them. Null: it knows all
create or replace function pubsub.enter_lane(
    subscription integer, lane integer, process bigint, waits boolean default true, known bigint[] default null
) returns boolean
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    if waits then
        perform pg_advisory_xact_lock(hashtext('pubsub.claiming') + lane, subscription);
    elsif not pg_try_advisory_xact_lock(hashtext('pubsub.claiming') + lane, subscription) then
        return false;
    end if;
    -- This statement comes after the lock, so its snapshot is newer than the lock.
    return not exists (
        select from pubsub.leases l
         where l.subscription = enter_lane.subscription and l.lane = enter_lane.lane and l.lane > 0
           -- Those that have ended before are not looked at, because an old snapshot may keep them.
           and l.token >= (
                   select c.oldest_lease from pubsub.cursors c
                    where c.subscription = enter_lane.subscription and c.lane = enter_lane.lane
                    order by c.subscription desc, c.lane desc, c.seq desc limit 1
               )
           and (l.process <> enter_lane.process or l.token <> all (array_remove(known, null)))
    );
end
$$;

-- A process stops running a subscription: the others take its lanes, and claim from each as soon as nothing is leased of it. Null
-- is all of its subscriptions.
create or replace function pubsub.stop_running(subscription integer, process bigint) returns void
language sql volatile set search_path = pg_catalog, pg_temp begin atomic
    with stopped as (
        delete from pubsub.runners r
         where r.process = stop_running.process
           and (stop_running.subscription is null or r.subscription = stop_running.subscription)
        returning r.subscription
    )
    select pg_notify('pubsub', s.channel) from pubsub.subscriptions s
     where s.id in (select t.subscription from stopped t);
end;

-- Changes the number of lanes to `lanes_wanted`, if nothing of the subscription is leased. Otherwise it returns false, and nothing
-- may be claimed until it has changed. The unread events go to the mailbox, which keeps each key in order, and every lane starts
-- behind them.
--   sequence  the log's sequence, read before the caller's transaction had an id
create or replace function pubsub.change_lanes(subscription integer, sequence bigint) returns boolean
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    of_subscription pubsub.subscriptions;
    fence           constant bigint := pg_current_xact_id()::text::bigint;
    floor           constant bigint := pubsub.log_floor();
    boundary        pg_snapshot;
    place           record;
    position        pubsub.cursors;
begin
    -- Transaction ids tell what is unread only where the log was written.
    perform pubsub.require_recognized();
    -- A claim from lane 0 holds that lane's lock, any other the lock of the lanes.
    if not pg_try_advisory_xact_lock(hashtext('pubsub.lanes'), subscription)
        or not pg_try_advisory_xact_lock(hashtext('pubsub.claiming'), subscription)
    then
        return false;
    end if;
    select * into of_subscription from pubsub.subscriptions s where s.id = change_lanes.subscription for no key update;
    if of_subscription.lanes_wanted is null then
        return true;
    end if;
    if of_subscription.suspended_at is not null
        or exists (select from pubsub.leases l where l.subscription = change_lanes.subscription)
    then
        return false;
    end if;
    boundary := pubsub.own_snapshot();
    for place in
        select c as at, pubsub.is_foreign(c.writer, c.xmin) as is_foreign
          from pubsub.positions(subscription) p
          join pubsub.cursors c on (c.subscription, c.lane, c.seq) = (p.subscription, p.lane, p.seq)
         order by c.lane
    loop
        position := place.at;
        -- Refuses a position that another cluster has written.
        perform pubsub.open_window(position, of_subscription.channel, sequence, fence, floor, place.is_foreign);
        insert into pubsub.mailbox (
            subscription, lane, event_id, channel, key, payload, headers, version, published_at, attempt, panics, crashes,
            due_at, replay
        )
        select position.subscription, position.lane, u.id, u.channel, u.key, u.payload, u.headers, u.version,
               u.published_at, 0, 0, 0, clock_timestamp(),
               exists (
                   select from pubsub.replays r where (r.subscription, r.lane) = (position.subscription, position.lane)
                      and pubsub.is_behind(u.xid, u.id, r.snapshot, r.until, floor)
               )
          from pubsub.unread_events(position, of_subscription.channel, of_subscription.lanes, boundary, floor) u
        on conflict on constraint mailbox_pkey do nothing;
    end loop;
    delete from pubsub.cursors c where c.subscription = change_lanes.subscription;
    delete from pubsub.lanes l where l.subscription = change_lanes.subscription;
    delete from pubsub.replays r where r.subscription = change_lanes.subscription;
    update pubsub.subscriptions s set lanes = s.lanes_wanted, lanes_wanted = null where s.id = change_lanes.subscription;
    perform pubsub.place_cursor(subscription, lane, 1, null, sequence, fence, boundary, pubsub.log_sequence())
       from generate_series(least(of_subscription.lanes_wanted, 1), of_subscription.lanes_wanted) lane;
    insert into pubsub.lanes (subscription, lane)
    select change_lanes.subscription, lane from generate_series(1, of_subscription.lanes_wanted) lane;
    update pubsub.mailbox m
       set lane = pubsub.lane_of(m.key, m.event_id, of_subscription.lanes_wanted),
           due_at = case when m.due_at = 'infinity' then clock_timestamp() else m.due_at end
     where m.subscription = change_lanes.subscription;
    perform pubsub.park(
        subscription, array(select m.event_id from pubsub.mailbox m where m.subscription = change_lanes.subscription), null
    );
    perform pg_notify('pubsub', of_subscription.channel);
    return true;
end
$$;

