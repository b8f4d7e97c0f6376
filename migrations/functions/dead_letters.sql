-- Dead letters: listing them, putting them back into the mailbox, and deleting them.

-- Puts dead letters of a subscription back into its mailbox, with their attempts reset and due now: all of them, or only the
-- named one; at most `batch` in one call, in the order of event ids. Returns how many. An event that is not a dead letter is not counted.
--   died_before  leaves out those that died later. Repeated calls with the same time put each back once, however soon it dies again
--   reason       leaves out those with another reason
create or replace function pubsub.redrive(
    channel text, subscription text, event_id bigint default null, batch integer default 1000,
    died_before timestamptz default null, reason text default null
) returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    reader   pubsub.subscriptions;
    redriven bigint[];
begin
    if coalesce(batch, 0) < 1 then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('a redrive asks for at least 1 dead letter, not for %s', coalesce(batch::text, 'null'));
    end if;
    perform pg_advisory_xact_lock_shared(hashtext('pubsub.lanes'), (pubsub.subscription_of(channel, subscription)).id);
    reader := pubsub.subscription_of(channel, subscription);
    -- It parks. These locks are taken before the rows: a settlement holds one while it waits for a dead letter of the same event.
    perform pg_advisory_xact_lock(hashtext('pubsub.claiming') + l, reader.id) from generate_series(1, reader.lanes) l;
    with chosen as (
        select d.event_id from pubsub.dead_letters d
         where d.subscription = reader.id and (redrive.event_id is null or d.event_id = redrive.event_id)
           and (died_before is null or d.died_at < died_before) and (redrive.reason is null or d.reason = redrive.reason)
         order by d.subscription, d.event_id limit redrive.batch for update skip locked
    ),
    risen as (
        delete from pubsub.dead_letters d
         where d.subscription = reader.id and d.event_id = any (array(select c.event_id from chosen c))
        returning d.*
    ),
    put as (
        insert into pubsub.mailbox as m (
            subscription, lane, event_id, channel, key, payload, headers, version, published_at, attempt, panics,
            crashes, due_at, last_error, replay
        )
        select r.subscription, pubsub.lane_of(r.key, r.event_id, reader.lanes), r.event_id, r.channel, r.key, r.payload,
               r.headers, r.version, r.published_at, 0, 0, 0, clock_timestamp(), r.error, r.replay
          from risen r
        -- After a seek an event may have failed again since it became a dead letter. One that waits in the mailbox is delivered
        -- once for both. One that is leased from the mailbox is not delivered again.
        on conflict on constraint mailbox_pkey do update
           set attempt = 0, panics = 0, crashes = 0, due_at = least(m.due_at, excluded.due_at)
         where m.token is null
    )
    select array_agg(r.event_id) into redriven from risen r;
    if redriven is null then
        return 0;
    end if;
    perform pubsub.park(reader.id, redriven, null) where reader.lanes > 0;
    perform pg_notify('pubsub', '');
    return cardinality(redriven);
end
$$;

-- Deletes dead letters of a subscription: all of them, or only the named one; at most `batch` in one call, in the order of event
-- ids. Returns how many. `died_before` and `reason` are as for pubsub.redrive.
create or replace function pubsub.purge_dead_letters(
    channel text, subscription text, event_id bigint default null, batch integer default 1000,
    died_before timestamptz default null, reason text default null
) returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    reader constant integer := (pubsub.subscription_of(channel, subscription)).id;
    purged bigint;
begin
    if coalesce(batch, 0) < 1 then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('a purge asks for at least 1 dead letter, not for %s', coalesce(batch::text, 'null'));
    end if;
    delete from pubsub.dead_letters d
     where d.subscription = reader and d.event_id = any (array(
               select e.event_id from pubsub.dead_letters e
                where e.subscription = reader
                  and (purge_dead_letters.event_id is null or e.event_id = purge_dead_letters.event_id)
                  and (died_before is null or e.died_at < died_before)
                  and (purge_dead_letters.reason is null or e.reason = purge_dead_letters.reason)
                order by e.subscription, e.event_id limit purge_dead_letters.batch for update skip locked
           ));
    get diagnostics purged = row_count;
    return purged;
end
$$;

-- Dead letters of a subscription with event ids above `after`, at most `batch`, in their order. `died_before` and `reason` are as for
-- pubsub.redrive.
create or replace function pubsub.list_dead_letters(
    channel text, subscription text, after bigint default 0, batch integer default 100,
    died_before timestamptz default null, reason text default null
) returns table (
    event_id bigint, key text, payload jsonb, headers jsonb, version integer, published_at timestamptz, attempt integer,
    panics integer, crashes integer, reason text, error text, died_at timestamptz
)
language sql stable set search_path = pg_catalog, pg_temp begin atomic
    select d.event_id, d.key, d.payload, d.headers, d.version, d.published_at, d.attempt, d.panics, d.crashes, d.reason,
           d.error, d.died_at
      from pubsub.dead_letters d
     where d.subscription = (pubsub.subscription_of(list_dead_letters.channel, list_dead_letters.subscription)).id
       and d.event_id > list_dead_letters.after
       and (list_dead_letters.died_before is null or d.died_at < list_dead_letters.died_before)
       and (list_dead_letters.reason is null or d.reason = list_dead_letters.reason)
     order by d.subscription, d.event_id limit list_dead_letters.batch;
end;
