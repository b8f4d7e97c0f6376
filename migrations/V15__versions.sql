-- Versions of payloads: with what shape each was declared, and events that are newer than those whom they reach.
--
-- What:  pubsub.channel_versions; what is claimed from the mailbox by a process that knows versions up to some.
-- Locks: none that matter, a new table and functions.
--
-- An event whose version a process does not know is not for it, and for no attempt to count: it goes to the mailbox (action
-- too_new of pubsub.settle), where `needs` keeps it from all who know less. They neither claim it nor look at it, for it is
-- in an index of its own (docs/decisions/0020-versions.md).

-- The shape of each version of a channel's payload, as it was declared last.
--   fingerprint  of the shape: equal shapes have equal ones
create table pubsub.channel_versions (
    channel     text collate "C" not null,
    version     integer not null,
    fingerprint bigint not null,
    declared_at timestamptz not null default clock_timestamp(),
    constraint channel_versions_pkey primary key (channel, version),
    constraint channel_versions_channel_fkey foreign key (channel) references pubsub.channels (name)
);

-- The newest of all versions: what a process knows that says nothing.
create function pubsub.any_version() returns integer
language sql immutable parallel safe
return 2147483647;

-- Says with what shape a process knows a version of a channel. Returns when it was declared with another shape, if that
-- was the last time; otherwise null. It is not an error: whoever adds an optional field makes another shape of it.
create function pubsub.declare_version(channel text, version integer, fingerprint bigint) returns timestamptz
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    declared pubsub.channel_versions;
begin
    select * into declared
      from pubsub.channel_versions v
     where v.channel = declare_version.channel and v.version = declare_version.version;
    if declared.fingerprint = declare_version.fingerprint then
        return null;
    end if;
    perform pubsub.require_declared(channel);
    insert into pubsub.channel_versions (channel, version, fingerprint)
    values (declare_version.channel, declare_version.version, declare_version.fingerprint)
    on conflict on constraint channel_versions_pkey do update
       set fingerprint = excluded.fingerprint,
           declared_at = excluded.declared_at;
    return declared.declared_at;
end
$$;

-- The versions up to `version` that deliveries of a lane's mailbox need, and that wait; in order. A step along the index
-- for each, however many deliveries there are.
create function pubsub.needs_of_lane(subscription integer, lane integer, version integer) returns integer[]
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
create function pubsub.due_of_version(subscription integer, lane integer, needs integer, batch integer, suspect boolean)
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
create function pubsub.due_time_of_version(subscription integer, lane integer, needs integer, suspect boolean)
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
create function pubsub.due_for(subscription integer, lane integer, batch integer, suspect boolean, version integer)
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

-- The lanes of an ordered subscription that are not the process's, and in which something waits that it knows and their
-- own process does not.
create function pubsub.lanes_to_take(subscription integer, process bigint, version integer) returns integer[]
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
create function pubsub.take_lanes(subscription integer, lanes integer, process bigint, version integer) returns boolean
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

-- How long until the earliest waiting delivery of each given subscription is due, suspects apart; negative when it is
-- overdue, null when there is none. Subscriptions with an empty mailbox are left out.
--   process  of ordered subscriptions, only its lanes count, and those that it will take over
--   knows    newest version that the caller knows, of each of the subscriptions; what is newer does not count. Null: any
create function pubsub.next_due(subscriptions integer[], process bigint default null, knows integer[] default null)
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
