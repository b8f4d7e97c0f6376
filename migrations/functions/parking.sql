-- Parking: deliveries that wait in the mailbox behind an earlier event of their key. A claim begins with the first
-- event of a key. The later ones are parked, in whatever order they got there, except one that waits for a retry: it keeps its time,
-- and is not claimed before the first. Those parked right behind a first that has not failed may come with it, in one lease
-- (pubsub.lock_due).
--
-- A function that parks or unparks holds the lane's claiming lock, and is called in a READ COMMITTED transaction (PB003). lanes.sql explains why this keeps the order of a key.

-- The first event of a key in the mailbox of an ordered subscription, or the first with an id above `after`, or null.
--
-- The comparison of rows leaves the planner no index but the one on keys. With equalities, any index on the subscription would
-- give the order too, and be read to its end.
create or replace function pubsub.first_of_key(subscription integer, key text, after bigint default -9223372036854775808)
returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    first record;
begin
    -- A null key would make it read the whole index. It is not `strict`, because the planner would then take the partial index
    -- on keys for the callers as well.
    if key is null then
        return null;
    end if;
    select m.subscription, m.key, m.event_id into first from pubsub.mailbox m
     where (m.subscription, m.key, m.event_id) > (first_of_key.subscription, first_of_key.key, first_of_key.after) and m.lane > 0
       and m.key is not null
     order by m.subscription, m.key, m.event_id limit 1;
    return case when first.subscription = subscription and first.key = key then first.event_id end;
end
$$;

-- Parks the given events of an ordered subscription's mailbox that are due and not the first of their key, and also the event that
-- follows each in its key, which may have been the first. Makes the first event of each freed key due if it was parked. Leaves leased
-- events alone. `m.token is null` would let the planner read all waiting deliveries; `coalesce` does not.
create or replace function pubsub.park(subscription integer, event_ids bigint[], freed_keys text[]) returns void
-- A generic plan that was made while the mailbox was small reads all of it once it is large.
language plpgsql volatile set plan_cache_mode = force_custom_plan set search_path = pg_catalog, pg_temp as $$
begin
    -- A snapshot that is older than the lane's lock would miss what was parked meanwhile, which nobody would free.
    perform pubsub.require_read_committed('an ordered subscription', comes_first => false);
    if cardinality(event_ids) > 0 then
        update pubsub.mailbox m set due_at = 'infinity'
         where m.subscription = park.subscription and m.lane > 0 and coalesce(m.token, 0) = 0 and m.due_at <= clock_timestamp()
           and m.event_id = any (park.event_ids || array(
                   select pubsub.first_of_key(g.subscription, g.key, g.event_id) from pubsub.mailbox g
                    where g.subscription = park.subscription and g.event_id = any (park.event_ids) and g.lane > 0
               ))
           and pubsub.first_of_key(m.subscription, m.key) < m.event_id;
    end if;
    if cardinality(freed_keys) > 0 then
        update pubsub.mailbox m set due_at = clock_timestamp()
         where m.subscription = park.subscription
           and m.event_id = any (array(select pubsub.first_of_key(park.subscription, k) from unnest(freed_keys) k))
           and coalesce(m.token, 0) = 0 and m.due_at = 'infinity';
    end if;
end
$$;
