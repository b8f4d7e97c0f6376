-- Deduplication keys: an event is not published again if one with the same deduplication key was published on its channel
-- lately.
--
-- The log has no unique key of its own, because it is partitioned by id. So the row of the deduplication key is written first,
-- in the publisher's transaction, with the id that the event will have. Another publisher of the same key waits at the unique
-- key until that transaction ends. Then there is a row, and the event is a duplicate, or there is none.
--
-- Under REPEATABLE READ and SERIALIZABLE a duplicate that was committed after the snapshot is a serialization failure.

-- Publishes one event in the caller's transaction and returns its id. If an event with this deduplication key was published on
-- the channel within the channel's window, it is a duplicate: nothing is published, and the id is that of the earlier event.
-- Waits for a transaction that is publishing the same key. Without a deduplication key it always publishes.
create or replace function pubsub.publish_once(
    channel text, payload jsonb, dedupe text, key text default null, headers jsonb default null,
    version integer default 1, fingerprint bigint default null, out id bigint, out is_duplicate boolean
)
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    target integer;
    since  timestamptz;
begin
    is_duplicate := false;
    if dedupe is not null then
        -- The lock that the trigger takes: the channel is not dropped between this look at it and the insert.
        perform pubsub.wait_to_publish(publish_once.channel, current_setting('lock_timeout'));
        select c.id, coalesce(clock_timestamp() - c.dedupe_window, '-infinity') into target, since
          from pubsub.channels c
         where c.name = publish_once.channel;
        if not found then
            perform pubsub.require_declared(publish_once.channel);
        end if;
        -- This query takes no lock, so a duplicate of a committed event does not wait.
        select d.event_id into id from pubsub.dedupe_keys d
         where d.channel = target and d.key = publish_once.dedupe and d.published_at > since;
        is_duplicate := found;
    end if;
    if dedupe is not null and not is_duplicate then
        -- A transaction id before an event id, as in every insert into the log (V1__tables.sql).
        perform pg_current_xact_id();
        insert into pubsub.dedupe_keys as d (channel, key, event_id)
        values (target, publish_once.dedupe, nextval('pubsub.db_events_id_seq'))
        on conflict on constraint dedupe_keys_pkey do update
           set event_id = excluded.event_id, published_at = excluded.published_at
         where d.published_at <= since
        returning d.event_id into id;
        is_duplicate := not found;
        if is_duplicate then
            -- It was committed after the look-up. The conflict has locked its row.
            select d.event_id into id from pubsub.dedupe_keys d where d.channel = target and d.key = publish_once.dedupe;
        end if;
    end if;
    if not is_duplicate then
        insert into pubsub.db_events as e (xid, id, channel, key, payload, headers, version, fingerprint)
        values (
            pg_current_xact_id(), coalesce(publish_once.id, nextval('pubsub.db_events_id_seq')), publish_once.channel,
            publish_once.key, publish_once.payload, publish_once.headers, publish_once.version, publish_once.fingerprint
        )
        returning e.id into id;
    end if;
end
$$;

-- Publishes many events of one channel in the caller's transaction, each as pubsub.publish_once does. Of those with the same
-- deduplication key it publishes the first. Returns how many it published.
--   dedupes, keys  those of the payload at the same place. Null, or nothing at that place, is none
--
-- The deduplication keys are written in their order, so that two calls at once do not wait for each other in a circle. The ids
-- are drawn before, in the order of the payloads, which is their order in the log.
create or replace function pubsub.publish_all_once(
    channel text, payloads jsonb[], dedupes text[], keys text[] default null, headers jsonb default null,
    version integer default 1, fingerprint bigint default null
) returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    target    record;
    xid       xid8;
    published bigint;
begin
    if cardinality(dedupes) > cardinality(payloads) or cardinality(keys) > cardinality(payloads) then
        raise exception using errcode = 'invalid_parameter_value', message = 'there are more keys than payloads';
    end if;
    perform pubsub.wait_to_publish(publish_all_once.channel, current_setting('lock_timeout'));
    select c.id, coalesce(clock_timestamp() - c.dedupe_window, '-infinity') as since into target from pubsub.channels c
     where c.name = publish_all_once.channel;
    if not found then
        perform pubsub.require_declared(publish_all_once.channel);
    end if;
    xid := pg_current_xact_id();
    with given as (
        select g.place, g.payload, g.dedupe, g.key, row_number() over (partition by g.dedupe order by g.place) as nth
          from unnest(payloads, dedupes, keys) with ordinality g (payload, dedupe, key, place)
    ),
    -- The limit keeps the look-up on the index, whatever the statistics say.
    fresh as (
        select g.place, g.payload, g.dedupe, g.key
          from given g
          left join lateral (
              select true as is_known from pubsub.dedupe_keys d
               where d.channel = target.id and d.key = g.dedupe and d.published_at > target.since
               limit 1
          ) known on true
         where (g.dedupe is null or g.nth = 1) and known.is_known is null
         order by g.place
    ),
    drawn as materialized (select f.*, nextval('pubsub.db_events_id_seq') as id from fresh f),
    noted as (
        insert into pubsub.dedupe_keys as d (channel, key, event_id) select target.id, n.dedupe, n.id from drawn n
         where n.dedupe is not null
         order by n.dedupe
        on conflict on constraint dedupe_keys_pkey do update
           set event_id = excluded.event_id, published_at = excluded.published_at
         where d.published_at <= target.since
        returning d.event_id
    )
    insert into pubsub.db_events (xid, id, channel, key, payload, headers, version, fingerprint)
    select xid, n.id, publish_all_once.channel, n.key, n.payload, publish_all_once.headers, publish_all_once.version,
           publish_all_once.fingerprint
      from drawn n
     -- Behind an `or` this is hashed, whatever number of rows the planner expects. A join might be a loop.
     where n.dedupe is null or n.id in (select w.event_id from noted w)
     order by n.place;
    get diagnostics published = row_count;
    return published;
end
$$;

-- Sets for how long after an event of a channel the same deduplication key is a duplicate of it. Null is without limit: such
-- keys are never removed. The window also applies to earlier keys that are not removed yet.
create or replace function pubsub.set_dedupe_window(channel text, dedupe_window interval) returns void
language sql volatile set search_path = pg_catalog, pg_temp begin atomic
    select pubsub.require_declared(set_dedupe_window.channel);
    update pubsub.channels c set dedupe_window = set_dedupe_window.dedupe_window
     where c.name = set_dedupe_window.channel and c.dedupe_window is distinct from set_dedupe_window.dedupe_window;
end;

-- Removes up to `batch` deduplication keys whose channel's window is over. Skips keys that a publisher has locked. Returns how
-- many.
create or replace function pubsub.forget_dedupe_keys(batch integer default 10000) returns bigint
language sql volatile set search_path = pg_catalog, pg_temp begin atomic
    with forgotten as (
        delete from pubsub.dedupe_keys d
         where d.ctid = any (array(
                   select e.ctid
                     from pubsub.channels c
                    cross join lateral (
                        select e.ctid from pubsub.dedupe_keys e
                         where e.channel = c.id and e.published_at <= statement_timestamp() - c.dedupe_window
                         order by e.channel, e.published_at limit batch for update skip locked
                    ) e
                    limit batch
               ))
        returning 1
    )
    select count(*) from forgotten;
end;
