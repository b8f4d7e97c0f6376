-- Claiming from the mailbox: deliveries with a state of their own, once they are due.
--
-- Locks: none that matter, functions only.

-- Claims up to `batch` due deliveries of a subscription's mailbox for a process, each with its attempt already counted.
-- `for update skip locked` lets several processes claim side by side; ordered by due_at, so that a retry does not jump
-- ahead of deliveries that were due before it. Of an ordered subscription: from the lanes that are the process's, and of
-- each key the first only.
--
-- Suspects, deliveries whose process died, are left alone unless `suspect` asks for one: then it comes alone, and the
-- caller should handle nothing else of the subscription beside it. So whatever dies with it again is to blame.
--   begins   as for pubsub.claim
--   knows    newest version of the payload that the caller knows: what is newer is left to others. Null: any
create function pubsub.claim_mailbox(
    subscription integer,
    process      bigint,
    batch        integer,
    suspect      boolean default false,
    begins       integer default null,
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
    perform pg_advisory_xact_lock_shared(pubsub.lanes_lock_class(), subscription);
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
            insert into pubsub.leases (subscription, lane, process, event_ids, from_mailbox, begins)
            values (claim_mailbox.subscription, this_lane, claim_mailbox.process, due, true, claim_mailbox.begins)
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
create function pubsub.due_of_lane(subscription integer, lane integer, batch integer, suspect boolean) returns bigint[]
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
