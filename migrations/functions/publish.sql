-- Publishing: the trigger behind every insert into the log, and pubsub.publish.

-- Raises the error of an event that must not be published.
--   violated  the constraint that it violates; null: none
--   bytes     the length of its payload and headers together, and of its headers: they are over the limit `most`
create or replace function pubsub.refuse_event(channel text, violated text, bytes integer[], most integer) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    perform pubsub.require_declared(channel);
    if violated is not null then
        raise exception using errcode = 'check_violation', schema = 'pubsub', table = 'db_events',
            constraint = violated,
            message = format('new row for relation "db_events" violates check constraint "%s"', violated);
    end if;
    raise exception using errcode = 'PB002', constraint = 'PB002',
        message = format('a payload of %s bytes%s is over the limit of %s bytes of channel "%s"', bytes[1] - bytes[2],
            case when bytes[2] > 0 then format(' with headers of %s bytes', bytes[2]) else '' end, most, channel
        ), hint = 'Publish a reference to the data instead, or raise pubsub.channels.max_payload_bytes.';
end
$$;

-- Takes the publishing lock of a channel in shared mode, within the caller's lock_timeout, or 10 s if he has none. Says who is in the
-- way: any role that may connect can take an advisory lock.
create or replace function pubsub.wait_to_publish(channel text, patience text) returns void
language plpgsql volatile set lock_timeout = '10s' set search_path = pg_catalog, pg_temp as $$
begin
    if pg_try_advisory_xact_lock_shared(hashtext('pubsub.publishing'), hashtext(channel)) then
        return;
    elsif patience <> '0' then
        perform set_config('lock_timeout', patience, true);
    end if;
    begin
        perform pg_advisory_xact_lock_shared(hashtext('pubsub.publishing'), hashtext(channel));
    exception when lock_not_available then
        raise exception using errcode = 'lock_not_available', message = regexp_replace(format('channel "%s" is locked by %s', channel, (
            select string_agg(format('session %s of role "%s"', l.pid, a.usename), ', ')
              from pg_locks l
              left join pg_stat_activity a on a.pid = l.pid
             where l.locktype = 'advisory' and l.granted and l.mode = 'ExclusiveLock' and l.objsubid = 2
               and l.database = (select d.oid from pg_database d where d.datname = current_database())
               and (l.classid::bigint, l.objid::bigint)
                   = (hashtext('pubsub.publishing') & 4294967295, hashtext(channel) & 4294967295)
        )), '[\u0001-\u001f\u007f-\u009f]', '?', 'g');
    end;
end
$$;

-- The trigger after an insert into the log. Refuses events that must not be published, and rings the bell.
--
-- It runs once per statement, so that a bulk insert pays for it once. Most statements publish one event that needs no full
-- check. That case comes first, and costs two plain scans (docs/decisions/0014-publish-trigger.md).
create or replace function pubsub.after_publish() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    published record;
    declared  record;
    begun_at  constant timestamptz := clock_timestamp();
begin
    select e.channel,
           octet_length(e.payload::text) + coalesce(octet_length(e.headers::text), 0) as bytes,
           e.version >= 1
               and (e.headers is null or jsonb_typeof(e.headers) = 'object')
               and (e.key is null or octet_length(e.key) <= 1024)
               and not exists (select from new_events offset 1) as is_plain
      into published from new_events e;
    if published.is_plain then
        if not pg_try_advisory_xact_lock_shared(hashtext('pubsub.publishing'), hashtext(published.channel)) then
            perform pubsub.wait_to_publish(published.channel, current_setting('lock_timeout'));
        end if;
        -- This statement comes after the lock, so its snapshot is newer than the lock, unless the isolation is stricter: then the
        -- full check follows. The size is that of the text, because the stored size says nothing: a number of a hundred thousand
        -- digits takes a few bytes. On a strict channel no size is small enough.
        select exists (
                   select from pubsub.waiters w where w.channel = published.channel and not w.is_awake and w.until > begun_at
               ) as has_sleepers into declared
          from pubsub.channels c where c.name = published.channel and published.bytes <= c.plain_bytes;
        if found and current_setting('transaction_isolation') = 'read committed' then
            if declared.has_sleepers then
                perform pubsub.ring_bell(published.channel);
            end if;
            return null;
        end if;
    end if;

    -- The locks come before the channels are read, because pubsub.drop_channel may hold them.
    perform pubsub.wait_to_publish(n.channel, current_setting('lock_timeout'))
       from (select distinct e.channel from new_events e order by e.channel) n;
    if current_setting('transaction_isolation') <> 'read committed' then
        -- The snapshot may be older than the locks. A channel that was dropped since then is a serialization failure.
        perform from pubsub.channels c where c.name in (select e.channel from new_events e) for key share of c;
    end if;

    -- The full check, channel by channel, in a fixed order. It raises the errors that check constraints of the log would raise,
    -- because the server would parse constraints again for every statement.
    for published in
        select n.*, c.id, c.max_payload_bytes, c.strict as is_strict
          from (
              select e.channel,
                     max(array[octet_length(e.payload::text) + h.bytes, h.bytes]) as bytes,
                     case
                         when min(e.version) < 1 then 'db_events_version_check'
                         when bool_or(jsonb_typeof(e.headers) <> 'object') then 'db_events_headers_check'
                         when max(octet_length(e.key)) > 1024 then 'db_events_key_check'
                     end as violated
                from new_events e
               cross join lateral (select coalesce(octet_length(e.headers::text), 0) as bytes) h
               group by e.channel
          ) n
          left join pubsub.channels c on c.name = n.channel
         order by c.id
    loop
        if published.id is null or published.violated is not null or published.bytes[1] > published.max_payload_bytes then
            perform pubsub.refuse_event(published.channel, published.violated, published.bytes, published.max_payload_bytes);
        end if;
        if published.is_strict then
            perform pubsub.require_shape(e.channel, e.version, e.payload)
               from new_events e
              where e.channel = published.channel;
        end if;
        if current_setting('transaction_isolation') <> 'read committed' or exists (
            select from pubsub.waiters w where w.channel = published.channel and not w.is_awake and w.until > begun_at
        ) then
            perform pubsub.ring_bell(published.channel);
        end if;
    end loop;
    return null;
end
$$;

-- An existing trigger is not replaced, because that would wait for publishers and make new ones wait.
do $$
begin
    if not exists (
        select from pg_trigger t where t.tgrelid = 'pubsub.db_events'::regclass and t.tgname = 'after_publish'
    ) then
        create trigger after_publish
        after insert on pubsub.db_events
        referencing new table as new_events
        for each statement execute function pubsub.after_publish();
    end if;
end
$$;

-- Publishes one event in the caller's transaction and returns its id.
create or replace function pubsub.publish(
    channel text, payload jsonb, key text default null, headers jsonb default null, version integer default 1
) returns bigint
language sql volatile set search_path = pg_catalog, pg_temp begin atomic
    insert into pubsub.db_events (channel, key, payload, headers, version)
    values (publish.channel, publish.key, publish.payload, publish.headers, publish.version)
    returning id;
end;
