-- Parking: deliveries that wait in the mailbox behind an earlier event of their key. Only the first event of a key is ever due, in
-- whatever order they got there.
--
-- A function that parks or unparks holds the lane's claiming lock. lanes.sql explains why this keeps the order of a key.

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
    -- A search for no key would read the whole index. Not by `strict`: from that the planner concludes that the partial index
    -- on keys would do for the callers, too.
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

-- Parks those of the given events of an ordered subscription's mailbox that are due and have an earlier one of their key before
-- them. Likewise the next event of its key behind each of them, which may have been the first. And makes the first event of each
-- given key due, if it was parked: what it waited for has left the mailbox. Events that are leased are left alone. An index of
-- those that are not has everything that waits: hence the comparison that no index can answer.
create or replace function pubsub.park(subscription integer, event_ids bigint[], freed_keys text[]) returns void
-- A generic plan that was made while the mailbox was small reads all of it once it is large.
language plpgsql volatile set plan_cache_mode = force_custom_plan set search_path = pg_catalog, pg_temp as $$
begin
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
