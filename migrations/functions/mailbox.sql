-- Claiming from the mailbox: deliveries with a state of their own, once they are due.

-- Claims up to `batch` due deliveries of a subscription's mailbox for a process, each with its attempt already counted.
-- `for update skip locked` lets several processes claim side by side; ordered by due_at, so that a retry does not jump
-- ahead of deliveries that were due before it. Of an ordered subscription: from the lanes that are the process's, and of
-- each key the first only.
--
-- Suspects, deliveries whose process died, are left alone unless `suspect` asks for one: then it comes alone, and the
-- caller should handle nothing else of the subscription beside it. So whatever dies with it again is to blame.
--   start_limit  as for pubsub.claim
--   knows    newest version of the payload that the caller knows: what is newer is left to others. Null: any
create or replace function pubsub.claim_mailbox(
    subscription integer,
    process      bigint,
    batch        integer,
    suspect      boolean default false,
    start_limit  integer default null,
    knows        integer default null
)
returns table (
    token        bigint,
    id           bigint,
    key          text,
    payload      jsonb,
    headers      jsonb,
    version      integer,
    published_at timestamptz,
    attempt      integer,
    panics       integer,
    crashes      integer,
    replay       boolean
)
language plpgsql volatile
set plan_cache_mode = force_generic_plan
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    of_lanes  integer;
    this_lane integer;
    due       bigint[];
    missing   integer := case when suspect then 1 else batch end;
begin
    perform pubsub.require_batch(batch);
    perform pg_advisory_xact_lock_shared(hashtext('pubsub.lanes'), subscription);
    select s.lanes into of_lanes
      from pubsub.subscriptions s
     where s.id = claim_mailbox.subscription and s.lanes_wanted is null;
    if not found then
        return;
    end if;

    -- It has taken lanes over: without a claim, so that whoever waits for their rows does not wait for those of a lane.
    if of_lanes > 0 and pubsub.take_lanes(subscription, of_lanes, process, claim_mailbox.knows) then
        return;
    end if;

    foreach this_lane in array pubsub.lanes_of(subscription, of_lanes, process) loop
        exit when missing = 0;
        -- Lane 0 needs neither the look before nor the lock: its rows' own locks are enough.
        continue when this_lane > 0
            and (
                pubsub.due_for(subscription, this_lane, 1, suspect, claim_mailbox.knows) = '{}'
                or not pubsub.enter_lane(subscription, this_lane, process)
            );
        due := pubsub.due_for(subscription, this_lane, missing, suspect, claim_mailbox.knows);
        continue when due = '{}';
        perform pubsub.require_registered(process);
        missing := missing - cardinality(due);
        return query
        with lease as (
            insert into pubsub.leases (subscription, lane, process, event_ids, from_mailbox, start_limit)
            values (claim_mailbox.subscription, this_lane, claim_mailbox.process, due, true, claim_mailbox.start_limit)
            returning leases.token
        ),
        claimed as (
            update pubsub.mailbox m
               set token = lease.token,
                   attempt = m.attempt + 1
              from lease
             where m.subscription = claim_mailbox.subscription
               and m.event_id = any (due)
            returning m.*
        )
        select c.token, c.event_id, c.key, c.payload, c.headers, c.version, c.published_at, c.attempt, c.panics,
               c.crashes, c.replay
          from claimed c
         order by c.due_at, c.event_id;
    end loop;
end
$$;

-- Locks up to `batch` due deliveries of a lane's mailbox, or suspects, and returns their events, in the order in which they
-- fell due. Those that need a version are apart (pubsub.due_of_version).
create or replace function pubsub.due_of_lane(subscription integer, lane integer, batch integer, suspect boolean) returns bigint[]
language plpgsql volatile
set plan_cache_mode = force_generic_plan
set search_path = pg_catalog, pg_temp
as $$
declare
    -- A variable, because the index cannot be searched by a volatile function.
    due_by constant timestamptz := clock_timestamp();
begin
    -- Two statements, not one with a condition: each stays on its own partial index.
    if suspect then
        return array(
            select m.event_id
              from pubsub.mailbox m
             where m.subscription = due_of_lane.subscription
               and m.lane = due_of_lane.lane
               and m.token is null
               and m.crashes > 0
               and m.needs is null
               and m.due_at <= due_by
               and (m.lane = 0 or m.key is null or m.event_id = pubsub.first_of_key(m.subscription, m.key))
             order by m.subscription, m.lane, m.due_at, m.event_id
             limit due_of_lane.batch
               for update skip locked
        );
    end if;
    return array(
        select m.event_id
          from pubsub.mailbox m
         where m.subscription = due_of_lane.subscription
           and m.lane = due_of_lane.lane
           and m.token is null
           and m.crashes = 0
           and m.needs is null
           and m.due_at <= due_by
           and (m.lane = 0 or m.key is null or m.event_id = pubsub.first_of_key(m.subscription, m.key))
         order by m.subscription, m.lane, m.due_at, m.event_id
         limit due_of_lane.batch
           for update skip locked
    );
end
$$;

-- The versions up to `version` that deliveries of a lane's mailbox need, and that wait; in order. A step along the index
-- for each, however many deliveries there are.
create or replace function pubsub.needs_of_lane(subscription integer, lane integer, version integer) returns integer[]
language plpgsql stable
set plan_cache_mode = force_generic_plan
set search_path = pg_catalog, pg_temp
as $$
declare
    known   constant integer := coalesce(version, pubsub.any_version());
    waiting integer[] := '{}';
    one     integer := 0;
begin
    loop
        select m.needs into one
          from pubsub.mailbox m
         where m.subscription = needs_of_lane.subscription
           and m.lane = needs_of_lane.lane
           and m.token is null
           and m.needs is not null
           and m.needs > one
           and m.needs <= known
         order by m.subscription, m.lane, m.needs
         limit 1;
        exit when not found;
        waiting := waiting || one;
    end loop;
    return waiting;
end
$$;

-- As pubsub.due_of_lane, of the deliveries that need this version.
create or replace function pubsub.due_of_version(subscription integer, lane integer, needs integer, batch integer, suspect boolean)
returns bigint[]
language plpgsql volatile
set plan_cache_mode = force_generic_plan
set search_path = pg_catalog, pg_temp
as $$
declare
    -- A variable, because the index cannot be searched by a volatile function.
    due_by constant timestamptz := clock_timestamp();
begin
    return array(
        select m.event_id
          from pubsub.mailbox m
         where m.subscription = due_of_version.subscription
           and m.lane = due_of_version.lane
           and m.token is null
           and m.needs is not null
           and m.needs = due_of_version.needs
           and (m.crashes > 0) = suspect
           and m.due_at <= due_by
           and (m.lane = 0 or m.key is null or m.event_id = pubsub.first_of_key(m.subscription, m.key))
         order by m.subscription, m.lane, m.needs, (m.crashes > 0), m.due_at, m.event_id
         limit due_of_version.batch
           for update skip locked
    );
end
$$;

-- When the first of them is due, or null.
create or replace function pubsub.due_time_of_version(subscription integer, lane integer, needs integer, suspect boolean)
returns timestamptz
language plpgsql stable
set plan_cache_mode = force_generic_plan
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select m.due_at
          from pubsub.mailbox m
         where m.subscription = due_time_of_version.subscription
           and m.lane = due_time_of_version.lane
           and m.token is null
           and m.needs is not null
           and m.needs = due_time_of_version.needs
           and (m.crashes > 0) = suspect
           and m.due_at < 'infinity'
           and (m.lane = 0 or m.key is null or m.event_id = pubsub.first_of_key(m.subscription, m.key))
         order by m.subscription, m.lane, m.needs, (m.crashes > 0), m.due_at, m.event_id
         limit 1
    );
end
$$;

-- Locks up to `batch` due deliveries of a lane's mailbox, or suspects, for one who knows versions up to `version`, and
-- returns their events. What turns out to be newer needs its version from now on.
create or replace function pubsub.due_for(subscription integer, lane integer, batch integer, suspect boolean, version integer)
returns bigint[]
language plpgsql volatile
set plan_cache_mode = force_generic_plan
set search_path = pg_catalog, pg_temp
as $$
declare
    -- How often a whole batch may turn out to be newer; the rest is left to the next claim.
    most_rounds constant integer := 20;
    known       constant integer := coalesce(version, pubsub.any_version());
    due         bigint[];
    newer       bigint[];
    needed      integer;
begin
    for attempt in 1 .. most_rounds loop
        due := pubsub.due_of_lane(subscription, lane, batch, suspect);
        exit when due = '{}' or known = pubsub.any_version();
        with refused as (
            update pubsub.mailbox m
               set needs = m.version
             where m.subscription = due_for.subscription
               and m.event_id = any (due)
               and m.version > known
            returning m.event_id
        )
        select array_agg(r.event_id) into newer from refused r;
        exit when newer is null;
        due := array(select d.id from unnest(due) with ordinality d (id, place) where d.id <> all (newer) order by d.place);
        exit when due <> '{}';
    end loop;
    foreach needed in array pubsub.needs_of_lane(subscription, lane, version) loop
        exit when cardinality(due) >= batch;
        due := due || pubsub.due_of_version(subscription, lane, needed, batch - cardinality(due), suspect);
    end loop;
    return due;
end
$$;

-- How long until the earliest waiting delivery of each given subscription is due, suspects apart; negative when it is
-- overdue, null when there is none. Subscriptions with an empty mailbox are left out.
--   process  of ordered subscriptions, only its lanes count, and those that it will take over
--   knows    newest version that the caller knows, of each of the subscriptions; what is newer does not count. Null: any
create or replace function pubsub.next_due(subscriptions integer[], process bigint default null, knows integer[] default null)
returns table (subscription integer, due_in interval, suspect_due_in interval)
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
    select s.id,
           least(min(ordinary.due_at), min(newer.due_at)) - clock_timestamp(),
           least(min(suspect.due_at), min(newer.suspect_due_at)) - clock_timestamp()
      from unnest(next_due.subscriptions, next_due.knows) asked (id, version)
      join pubsub.subscriptions s on s.id = asked.id
     cross join lateral unnest(
         pubsub.lanes_of(s.id, s.lanes, next_due.process)
         || case when s.lanes > 0 and next_due.process is not null then pubsub.lanes_to_take(s.id, next_due.process, asked.version) end
     ) lane
      left join lateral (
          select m.due_at
            from pubsub.mailbox m
           where m.subscription = s.id
             and m.lane = lane
             and m.token is null
             and m.crashes = 0
             and m.needs is null
             and m.due_at < 'infinity'
             and (m.lane = 0 or m.key is null or m.event_id = pubsub.first_of_key(m.subscription, m.key))
           order by m.subscription, m.lane, m.due_at, m.event_id
           limit 1
      ) ordinary on true
      left join lateral (
          select m.due_at
            from pubsub.mailbox m
           where m.subscription = s.id
             and m.lane = lane
             and m.token is null
             and m.crashes > 0
             and m.needs is null
             and m.due_at < 'infinity'
             and (m.lane = 0 or m.key is null or m.event_id = pubsub.first_of_key(m.subscription, m.key))
           order by m.subscription, m.lane, m.due_at, m.event_id
           limit 1
      ) suspect on true
     cross join lateral (
         select min(pubsub.due_time_of_version(s.id, lane, needed, false)) as due_at,
                min(pubsub.due_time_of_version(s.id, lane, needed, true)) as suspect_due_at
           from unnest(pubsub.needs_of_lane(s.id, lane, asked.version)) needed
     ) newer
     group by s.id
    having coalesce(min(ordinary.due_at), min(suspect.due_at), min(newer.due_at), min(newer.suspect_due_at)) is not null;
end;
