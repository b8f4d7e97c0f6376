-- Claiming from the mailbox: deliveries with a state of their own, once they are due.

-- Locks up to `batch` due deliveries of a lane's mailbox, or suspects, for a process that knows versions up to `knows`, and
-- returns their ids, by needed version and then as they fell due. A delivery that turns out to be newer needs its version from now on.
-- What is left of the batch is shared among them: each brings those that are parked behind it, up to the first that somebody else has,
-- has a time of its own, has failed, is newer, or is a suspect if the others are not. These come last, by id. One that has failed brings
-- none: it may fail again. A suspect brings those that died with it.
--   room   no more of them once they have so many bytes; afterwards what is left of it
--   alike  of suspects, only those of the same dead process that have died and been tried as often as this one
--   among  how many lanes share what is left for parked ones
create or replace function pubsub.lock_due(
    subscription integer, lane integer, batch integer, suspect boolean, knows integer, inout room bigint, out due bigint[],
    alike pubsub.mailbox default null, among integer default 1
)
language plpgsql volatile set plan_cache_mode = force_generic_plan set search_path = pg_catalog, pg_temp as $$
declare
    -- How often a whole batch may turn out to be newer; the rest is left to the next claim.
    most_rounds constant integer := 20;
    -- Variables, because a volatile function cannot be searched for in an index.
    due_from constant timestamptz := coalesce(alike.due_at, '-infinity');
    -- The orphans of one process fall due within moments.
    due_by   constant timestamptz := least(alike.due_at + interval '1 second', clock_timestamp());
    more     bigint[];
    newer    bigint[];
    needed   integer;
    taken    bigint;
    -- How many parked ones each due one may bring, and the bytes that are kept for the other lanes.
    share    integer;
    rest     bigint;
    first    record;
    parked   bigint[] := '{}';
begin
    due := '{}';
    foreach needed in array pubsub.needs_of_lane(subscription, lane, knows) loop
        for attempt in 1 .. most_rounds loop
            with locked as (
                select m.event_id, pubsub.bytes_of(m.payload, m.headers) as bytes from pubsub.mailbox m
                 where m.subscription = lock_due.subscription and m.lane = lock_due.lane and m.token is null
                   and coalesce(m.needs, 0) = needed and (m.crashes > 0) = suspect
                   and m.due_at between due_from and due_by
                   and (alike.crashes is null or (m.crashes, m.attempt, m.orphaned_by) = (alike.crashes, alike.attempt, alike.orphaned_by))
                   and (m.lane = 0 or m.key is null or m.event_id = pubsub.first_of_key(m.subscription, m.key))
                 order by m.subscription, m.lane, coalesce(m.needs, 0), (m.crashes > 0), m.due_at, m.event_id
                 limit batch - cardinality(due)
                   for update skip locked
            )
            select coalesce(array_agg(l.event_id), '{}'), max(l.upto) into more, taken
              from (select l.*, sum(l.bytes) over (rows unbounded preceding) as upto from locked l) l
             where l.upto - l.bytes < room;
            newer := null;
            if needed = 0 and more <> '{}' and knows is not null then
                with refused as (
                    update pubsub.mailbox m set needs = m.version
                     where m.subscription = lock_due.subscription and m.event_id = any (more) and m.version > knows
                    returning m.event_id
                )
                select array_agg(r.event_id) into newer from refused r;
            end if;
            due := due || array(
                select d.id from unnest(more) with ordinality d (id, place) where newer is null or d.id <> all (newer) order by d.place
            );
            room := room - case when newer is null or due <> '{}' then coalesce(taken, 0) else 0 end;
            exit when newer is null or due <> '{}';
        end loop;
        exit when cardinality(due) >= batch or room <= 0;
    end loop;
    share := (batch - cardinality(due)) / nullif(cardinality(due) * among, 0);
    rest := room - room / among;
    for first in
        select m.event_id, m.key from unnest(due) d (id)
         cross join lateral (select * from pubsub.mailbox m where m.subscription = lock_due.subscription and m.event_id = d.id limit 1) m
         where lock_due.lane > 0 and share > 0 and (suspect or m.attempt = 0)
    loop
        for behind in 1 .. share loop
            first.event_id := pubsub.first_of_key(subscription, first.key, first.event_id);
            -- `coalesce`, because `m.token is null` would let the planner read all waiting deliveries.
            select pubsub.bytes_of(m.payload, m.headers) into taken from pubsub.mailbox m
             where m.subscription = lock_due.subscription and m.event_id = first.event_id and coalesce(m.token, 0) = 0
               and m.due_at = 'infinity' and (m.crashes > 0) = suspect and coalesce(m.version <= knows, true)
               and (not suspect and m.attempt = 0 or (m.crashes, m.attempt, m.orphaned_by) = (alike.crashes, alike.attempt, alike.orphaned_by))
               for update skip locked;
            exit when not found or room <= rest;
            parked := parked || first.event_id;
            room := room - taken;
        end loop;
    end loop;
    due := due || array(select id from unnest(parked) id order by id);
end
$$;

-- Claims up to `batch` due deliveries of a subscription's mailbox for a process, and no more of them once they have `bytes`, each
-- with its attempt already counted.
-- `for update skip locked` lets several processes claim side by side. Deliveries come in the order in which they fell due, so
-- that a retry does not overtake. Of an ordered subscription they come from the lanes of the process, and of each key from the first on.
--
-- Suspects, deliveries whose process died, are left alone unless `suspect` asks for them. Then those of one dead process come
-- together while they have died once and the next death makes none of them a dead letter. Any other suspect comes alone, and
-- for up to 5 s no other subscription gets suspects in that process. The caller should handle nothing else of the subscription beside
-- them. So a delivery that dies alone is to blame.
--   start_limit  as for pubsub.claim
--   knows        the newest version of the payload that the caller knows: newer ones are left to others. Null is any
--   known        as for pubsub.enter_lane
create or replace function pubsub.claim_mailbox(
    subscription integer, process bigint, batch integer, suspect boolean default false,
    start_limit integer default null, knows integer default null, bytes bigint default 4194304, known bigint[] default null
) returns table (
    token bigint, id bigint, key text, payload jsonb, headers jsonb, version integer, published_at timestamptz,
    attempt integer, panics integer, crashes integer, replay boolean
)
language plpgsql volatile set plan_cache_mode = force_generic_plan set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    reader    record;
    due_lanes integer[];
    this_lane integer;
    due       bigint[];
    alike     pubsub.mailbox;
    missing   integer := batch;
    room      bigint := greatest(coalesce(bytes, 4194304), 1);
    -- A variable, because a volatile function cannot be searched for in an index.
    asked_at  constant timestamptz := clock_timestamp();
begin
    if coalesce(batch, 0) < 1 then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('a claim asks for at least 1 event, not for %s', coalesce(batch::text, 'null'));
    end if;
    perform pg_advisory_xact_lock_shared(hashtext('pubsub.lanes'), subscription);
    select s.lanes, s.lanes_wanted, s.max_crashes, s.max_attempts into reader from pubsub.subscriptions s where s.id = claim_mailbox.subscription;
    if not found then
        raise exception using errcode = 'PB004', constraint = 'PB004', message = format('subscription %s does not exist', subscription);
    elsif reader.lanes_wanted is not null then
        return;
    end if;
    perform pubsub.require_read_committed('an ordered subscription', comes_first => false) where reader.lanes > 0;
    -- Lane 0 is neither asked before nor locked: its rows' own locks are enough. Asking locks no row: a settlement that has the
    -- lane may wait for that row.
    due_lanes := array(
        select l.lane
          from unnest(pubsub.take_lanes(subscription, reader.lanes, process, coalesce(knows, 2147483647))) with ordinality l (lane, place)
         where l.lane = 0 or exists (
                   select from unnest(pubsub.needs_of_lane(subscription, l.lane, claim_mailbox.knows)) needed
                    cross join lateral (
                        select from pubsub.mailbox m
                         where m.subscription = claim_mailbox.subscription and m.lane = l.lane and m.token is null
                           and coalesce(m.needs, 0) = needed and (m.crashes > 0) = suspect and m.due_at <= asked_at
                         order by m.subscription, m.lane, coalesce(m.needs, 0), (m.crashes > 0), m.due_at, m.event_id limit 1
                    ) due
               )
         order by l.place
    );
    for place in 1 .. cardinality(due_lanes) loop
        exit when missing = 0 or room <= 0;
        this_lane := due_lanes[place];
        continue when this_lane > 0 and not pubsub.enter_lane(subscription, this_lane, process, known => known);
        if suspect and alike.event_id is null then
            due := (pubsub.lock_due(subscription, this_lane, 1, suspect, claim_mailbox.knows, room)).due;
            select * into alike from pubsub.mailbox m
             where m.subscription = claim_mailbox.subscription and m.event_id = due[1] and m.orphaned_by is not null
               and m.crashes = 1 and reader.max_crashes > 2 and reader.max_attempts > m.attempt + 1;
            -- All subscriptions of a process share its death. So while one must not die again, no other has suspects there.
            perform pg_advisory_xact_lock(hashtext('pubsub.suspects'), hashint8(process)) where due <> '{}';
            exit when due <> '{}' and exists (
                select from pubsub.leases l
                  join pubsub.subscriptions s on s.id = l.subscription
                  join pubsub.mailbox m on m.subscription = l.subscription and m.event_id = any (l.event_ids)
                 where l.process = claim_mailbox.process and s.id <> claim_mailbox.subscription and m.crashes > 0
                   and l.claimed_at between clock_timestamp() - interval '5 seconds' and clock_timestamp()
                   and (alike.event_id is null or m.crashes > 1 or s.max_crashes < 3 or m.attempt >= s.max_attempts)
            );
        end if;
        if not suspect or alike.event_id is not null then
            select l.room, l.due into room, due
              from pubsub.lock_due(
                       subscription, this_lane, missing, suspect, claim_mailbox.knows, room, alike, cardinality(due_lanes) - place + 1
                   ) l;
        end if;
        continue when due = '{}';
        perform pubsub.require_registered(process);
        missing := case when suspect and alike.event_id is null then 0 else missing - cardinality(due) end;
        return query
        with lease as (
            insert into pubsub.leases (subscription, lane, process, event_ids, from_mailbox, start_limit)
            values (claim_mailbox.subscription, this_lane, claim_mailbox.process, due, true, claim_mailbox.start_limit)
            returning leases.token
        ),
        claimed as (
            update pubsub.mailbox m set token = lease.token, attempt = m.attempt + 1
              from lease
             where m.subscription = claim_mailbox.subscription and m.event_id = any (due)
            returning m.*
        )
        select c.token, c.event_id, c.key, c.payload, c.headers, c.version, c.published_at, c.attempt, c.panics,
               c.crashes, c.replay
          from unnest(due) with ordinality d (id, place) join claimed c on c.event_id = d.id order by d.place;
    end loop;
end
$$;

-- How long until the earliest waiting delivery of each given subscription is due, suspects apart. Negative when it is overdue, null
-- when there is none. Subscriptions with an empty mailbox are left out.
--   process  of ordered subscriptions, only its lanes count, and those that it will take
--   knows    the newest version that the caller knows, of each of the subscriptions: newer ones do not count. Null is any
create or replace function pubsub.next_due(
    subscriptions integer[], process bigint default null, knows integer[] default null
) returns table (subscription integer, due_in interval, suspect_due_in interval)
language sql volatile set search_path = pg_catalog, pg_temp begin atomic
    -- Other processes take no lanes from one that knows more.
    update pubsub.runners r set version = coalesce(asked.version, 2147483647)
      from unnest(next_due.subscriptions, next_due.knows) asked (id, version)
     where r.subscription = asked.id and r.process = next_due.process
       and r.version is distinct from coalesce(asked.version, 2147483647);
    select s.id,
           min(first.due_at) filter (where not suspect) - clock_timestamp(),
           min(first.due_at) filter (where suspect) - clock_timestamp()
      from unnest(next_due.subscriptions, next_due.knows) asked (id, version)
      join pubsub.subscriptions s on s.id = asked.id
     cross join lateral (
         select 0 as lane where s.lanes = 0
         union all
         select l.lane from pubsub.lanes_for(s.id, next_due.process, coalesce(asked.version, 2147483647)) l
          where s.lanes > 0 and next_due.process is not null
     ) of_lane
     cross join lateral unnest(pubsub.needs_of_lane(s.id, of_lane.lane, asked.version)) needed
     cross join unnest('{false,true}'::boolean[]) suspect
     cross join lateral (
         select m.due_at from pubsub.mailbox m
          where m.subscription = s.id and m.lane = of_lane.lane and m.token is null and coalesce(m.needs, 0) = needed
            and (m.crashes > 0) = suspect and m.due_at < 'infinity'
            and (m.lane = 0 or m.key is null or m.event_id = pubsub.first_of_key(m.subscription, m.key))
          order by m.subscription, m.lane, coalesce(m.needs, 0), (m.crashes > 0), m.due_at, m.event_id limit 1
     ) first
     -- Usually nothing waits, and then nothing else is asked.
     where (select m.lane from pubsub.mailbox m where m.subscription = s.id and m.lane = of_lane.lane and m.token is null
             order by m.subscription, m.lane, coalesce(m.needs, 0) limit 1) is not null
     group by s.id;
end;
