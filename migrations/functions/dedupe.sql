-- Dedupe keys: an event whose key was published on its channel a short while ago is not published again.
--
-- The log cannot have a unique key of its own: it is partitioned by id. So the key's row is written first, with the id that
-- the event is to have, in the publisher's transaction. Whoever publishes the same key at the same time waits at the unique
-- key until that transaction is over: then either there is a row, and the event is a duplicate, or there is none.
--
-- Under REPEATABLE READ and SERIALIZABLE a duplicate that was committed after the snapshot is a serialization failure.

-- From which time on a key published on a channel counts. Raises PB001 for a channel that nobody declared.
create or replace function pubsub.dedupe_since(channel text, out channel_id integer, out since timestamptz)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    select c.id, coalesce(clock_timestamp() - c.dedupe_window, '-infinity')
      into channel_id, since
      from pubsub.channels c
     where c.name = dedupe_since.channel;
    if not found then
        perform pubsub.refuse_undeclared(dedupe_since.channel);
    end if;
end
$$;

-- Publishes one event in the caller's transaction and returns its id; or publishes nothing, and returns the id of the first,
-- if an event with this dedupe key was published on the channel within the channel's window. Null: publishes in any case.
-- Waits for a transaction that is publishing the same key.
create or replace function pubsub.publish_once(
    channel     text,
    payload     jsonb,
    dedupe      text,
    key         text default null,
    headers     jsonb default null,
    version     integer default 1,
    fingerprint bigint default null
) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    target pubsub.dedupe_keys;
    since  timestamptz;
    xid    xid8;
begin
    if dedupe is null then
        insert into pubsub.db_events (channel, key, payload, headers, version, fingerprint)
        values (
            publish_once.channel, publish_once.key, publish_once.payload, publish_once.headers, publish_once.version,
            publish_once.fingerprint
        )
        returning id into target.event_id;
        return target.event_id;
    end if;
    select s.channel_id, s.since into target.channel, since from pubsub.dedupe_since(publish_once.channel) s;
    -- Looked up first: this takes no lock, so duplicates of what is committed wait for nobody.
    select d.event_id into target.event_id
      from pubsub.dedupe_keys d
     where d.channel = target.channel and d.key = publish_once.dedupe and d.published_at > since;
    if found then
        return target.event_id;
    end if;
    -- A transaction id before an event id, as in every insert into the log (V1__tables.sql).
    xid := pg_current_xact_id();
    insert into pubsub.dedupe_keys as d (channel, key, event_id)
    values (target.channel, publish_once.dedupe, nextval('pubsub.db_events_id_seq'))
    on conflict on constraint dedupe_keys_pkey do update
       set event_id = excluded.event_id,
           published_at = excluded.published_at
     where d.published_at <= since
    returning d.event_id into target.event_id;
    if not found then
        -- Committed since we looked; the conflict has locked it.
        return (
            select d.event_id
              from pubsub.dedupe_keys d
             where d.channel = target.channel and d.key = publish_once.dedupe
        );
    end if;
    insert into pubsub.db_events (xid, id, channel, key, payload, headers, version, fingerprint)
    values (
        xid, target.event_id, publish_once.channel, publish_once.key, publish_once.payload, publish_once.headers,
        publish_once.version, publish_once.fingerprint
    );
    return target.event_id;
end
$$;

-- Publishes many events of one channel in the caller's transaction, each as pubsub.publish_once does; of those with the same
-- dedupe key only the first. Returns how many it published.
--   dedupes, keys  of the payload at the same place; null, or missing at the end: none
--
-- The keys are written in their order, so that two calls at once do not wait for each other in a circle. The ids are drawn
-- before, in the order of the payloads, which is the order of the log.
create or replace function pubsub.publish_all_once(
    channel     text,
    payloads    jsonb[],
    dedupes     text[],
    keys        text[] default null,
    headers     jsonb default null,
    version     integer default 1,
    fingerprint bigint default null
) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    target    record;
    xid       xid8;
    published bigint;
begin
    if cardinality(dedupes) > cardinality(payloads) or cardinality(keys) > cardinality(payloads) then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'there are more keys than payloads';
    end if;
    select * into target from pubsub.dedupe_since(publish_all_once.channel);
    xid := pg_current_xact_id();
    with given as (
        select g.place, g.payload, g.dedupe, g.key,
               row_number() over (partition by g.dedupe order by g.place) as nth
          from unnest(payloads, dedupes, keys) with ordinality g (payload, dedupe, key, place)
    ),
    -- The limit keeps the look on the index, whatever the statistics say.
    fresh as (
        select g.place, g.payload, g.dedupe, g.key
          from given g
          left join lateral (
              select true as is_known
                from pubsub.dedupe_keys d
               where d.channel = target.channel_id and d.key = g.dedupe and d.published_at > target.since
               limit 1
          ) known on true
         where (g.dedupe is null or g.nth = 1)
           and known.is_known is null
         order by g.place
    ),
    drawn as materialized (
        select f.*, nextval('pubsub.db_events_id_seq') as id from fresh f
    ),
    noted as (
        insert into pubsub.dedupe_keys as d (channel, key, event_id)
        select target.channel_id, n.dedupe, n.id
          from drawn n
         where n.dedupe is not null
         order by n.dedupe
        on conflict on constraint dedupe_keys_pkey do update
           set event_id = excluded.event_id,
               published_at = excluded.published_at
         where d.published_at <= target.since
        returning d.event_id
    )
    insert into pubsub.db_events (xid, id, channel, key, payload, headers, version, fingerprint)
    select xid, n.id, publish_all_once.channel, n.key, n.payload, publish_all_once.headers, publish_all_once.version,
           publish_all_once.fingerprint
      from drawn n
     -- Behind an `or` this is hashed, whatever the planner believes of the number of rows; a join might be a loop.
     where n.dedupe is null or n.id in (select w.event_id from noted w)
     order by n.place;
    get diagnostics published = row_count;
    return published;
end
$$;

-- For how long after an event of a channel the same dedupe key is a duplicate of it; null: for ever, and its keys are never
-- trimmed. It holds for the keys that were published before, too, as far as they are still there.
create or replace function pubsub.set_dedupe_window(channel text, dedupe_window interval) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if dedupe_window <= interval '0' then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('a dedupe window is longer than 0, not %s', dedupe_window);
    end if;
    update pubsub.channels c
       set dedupe_window = set_dedupe_window.dedupe_window
     where c.name = set_dedupe_window.channel
       and c.dedupe_window is distinct from set_dedupe_window.dedupe_window;
    if not found then
        perform pubsub.require_declared(set_dedupe_window.channel);
    end if;
end
$$;

-- Removes dedupe keys whose channel's window is over, at most `batch`; what a publisher has locked is left for the next time.
-- Returns how many.
create or replace function pubsub.forget_dedupe_keys(batch integer default 10000) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    -- A variable, because an index cannot be searched by a volatile function.
    now_here constant timestamptz := clock_timestamp();
    of_channel record;
    removed    bigint;
    total      bigint := 0;
begin
    for of_channel in
        select c.id, now_here - c.dedupe_window as since from pubsub.channels c where c.dedupe_window is not null
    loop
        delete from pubsub.dedupe_keys d
         where d.ctid = any (array(
                   select e.ctid
                     from pubsub.dedupe_keys e
                    where e.channel = of_channel.id and e.published_at <= of_channel.since
                    order by e.channel, e.published_at
                    limit batch - total
                      for update skip locked
               ));
        get diagnostics removed = row_count;
        total := total + removed;
        exit when total >= batch;
    end loop;
    return total;
end
$$;
