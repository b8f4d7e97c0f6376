-- Publishing: the trigger behind every insert into the log, and pubsub.publish.

-- Raises PB002 for a payload over its channel's limit.
create or replace function pubsub.refuse_too_large(channel text, bytes bigint, max_bytes integer) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using
        errcode = 'PB002',
        message = format(
            'a payload of %s bytes is over the limit of %s bytes of channel "%s"', bytes, max_bytes, channel
        ),
        hint = 'Publish a reference to the data instead, or raise pubsub.channels.max_payload_bytes.';
end
$$;

-- Raises what a check constraint of this name would: `version` below 1, `headers` that are not an object, or a `key` that is
-- too long for an index (1,024 bytes).
create or replace function pubsub.refuse_malformed(violated text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using
        errcode = 'check_violation',
        message = format('new row for relation "db_events" violates check constraint "%s"', violated),
        schema = 'pubsub',
        table = 'db_events',
        constraint = violated;
end
$$;

-- After an insert into the log: refuses what must not be published, and rings the bell.
-- Per statement, not per row: a bulk insert pays it once. But most statements publish one event with nothing the matter:
-- that case comes first, and asks two plain scans (docs/decisions/0014-publish-trigger.md).
create or replace function pubsub.after_publish() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    published record;
    declared  record;
    too_large bigint;
    locked    boolean;
begin
    select e.channel,
           pg_column_size(e.payload) as size,
           e.version >= 1
               and (e.headers is null or jsonb_typeof(e.headers) = 'object')
               and (e.key is null or octet_length(e.key) <= 1024)
               and not exists (select from new_events offset 1) as is_plain
      into published
      from new_events e;
    if published.is_plain then
        -- An assignment, because it costs a fraction of a `perform`.
        locked := pg_advisory_xact_lock_shared(hashtext('pubsub.publishing'), hashtext(published.channel)) is null;
        -- A new statement after the lock, so a new snapshot, unless the isolation is stricter.
        -- Stored sizes are cheap to ask for but compressed, at most 255-fold: a small one is surely below the limit. No
        -- size is small enough on a strict channel.
        select c.asleep_until > clock_timestamp() as may_have_waiters
          into declared
          from pubsub.channels c
         where c.name = published.channel and published.size <= c.plain_bytes;
        if found then
            if declared.may_have_waiters or current_setting('transaction_isolation') <> 'read committed' then
                perform pubsub.ring(published.channel);
            end if;
            return null;
        end if;
    end if;

    -- A closer look, channel by channel, in a fixed order.
    for published in
        select n.*, c.id, c.max_payload_bytes, c.strict as is_strict
          from (
              select e.channel,
                     max(pg_column_size(e.payload)) as size,
                     min(e.version) as version,
                     max(octet_length(e.key)) as key_bytes,
                     bool_or(jsonb_typeof(e.headers) <> 'object') as has_other_headers
                from new_events e
               group by e.channel
          ) n
          left join pubsub.channels c on c.name = n.channel
         order by c.id
    loop
        if published.id is null then
            perform pubsub.refuse_undeclared(published.channel);
        elsif published.version < 1 then
            perform pubsub.refuse_malformed('db_events_version_check');
        elsif published.has_other_headers then
            perform pubsub.refuse_malformed('db_events_headers_check');
        elsif published.key_bytes > 1024 then
            perform pubsub.refuse_malformed('db_events_key_check');
        elsif published.size > published.max_payload_bytes / 256 then
            select octet_length(e.payload::text) into too_large
              from new_events e
             where e.channel = published.channel
               and octet_length(e.payload::text) > published.max_payload_bytes
             limit 1;
            if found then
                perform pubsub.refuse_too_large(published.channel, too_large, published.max_payload_bytes);
            end if;
        end if;
        if published.is_strict then
            perform pubsub.require_shape(e.channel, e.version, e.payload)
               from new_events e
              where e.channel = published.channel;
        end if;
        locked := pg_advisory_xact_lock_shared(hashtext('pubsub.publishing'), hashtext(published.channel)) is null;
        perform pubsub.ring(published.channel);
    end loop;
    return null;
end
$$;

-- Not replaced when it is there: that would wait for publishers, and keep new ones waiting.
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
    channel text,
    payload jsonb,
    key     text default null,
    headers jsonb default null,
    version integer default 1
) returns bigint
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
    insert into pubsub.db_events (channel, key, payload, headers, version)
    values (publish.channel, publish.key, publish.payload, publish.headers, publish.version)
    returning id;
end;
