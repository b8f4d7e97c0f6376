-- Channels and subscriptions: declaring and creating them. unsubscribe.sql removes them.
--
-- The advisory locks of this schema live in the two-integer space. Their first numbers are hashes of their names:
--   pubsub.publishing + hash of the channel's name  publishers share it until they commit (bell.sql)
--   pubsub.claiming plus the lane + subscription    serializes the claims of one lane
--   pubsub.lanes + subscription                     claims share it; a change of the number of lanes needs it alone
--   pubsub.maintenance + a number                   maintenance that must not run twice at once
--
-- The error codes of class PB belong to this schema and are part of the contract (docs/sql-contract.md).

-- Raises PB001 unless a channel is declared. The hint names a channel whose name begins alike: one of the two neighbours in
-- the alphabet, because that takes two steps along the index however many channels there are.
create or replace function pubsub.require_declared(channel text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    wanted  constant text := lower(left(channel, 63)) collate "C";
    nearest text;
begin
    if exists (select from pubsub.channels c where c.name = require_declared.channel) then
        return;
    end if;
    select n.name into nearest
      from (
          (select c.name from pubsub.channels c where c.name <= wanted order by c.name desc limit 1)
          union all
          (select c.name from pubsub.channels c where c.name > wanted order by c.name limit 1)
      ) n
     cross join lateral (
         select count(*) as letters from generate_series(1, length(n.name)) l where left(n.name, l) = left(wanted, l)
     ) alike
     where alike.letters > 0
     order by alike.letters desc limit 1;
    raise exception using errcode = 'PB001', constraint = 'PB001',
        message = regexp_replace(format('channel "%s" is not declared', channel), '[\u0001-\u001f\u007f-\u009f]', '?', 'g'),
        hint = coalesce('Did you mean "' || nearest || '"? ', '')
            || 'A channel is declared by a process that subscribes to it, or by pubsub.declare_channel(name).';
end
$$;

-- The subscription of a name. Raises PB004 if there is none.
create or replace function pubsub.subscription_of(channel text, name text) returns pubsub.subscriptions
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    named pubsub.subscriptions;
begin
    select * into named from pubsub.subscriptions s where s.channel = subscription_of.channel and s.name = subscription_of.name;
    if not found then
        raise exception using errcode = 'PB004', constraint = 'PB004',
            message = regexp_replace(format('channel "%s" has no subscription "%s"', channel, name), '[\u0001-\u001f\u007f-\u009f]', '?', 'g');
    end if;
    return named;
end
$$;

-- Declares a channel, or updates its description and version. Never lowers the version, so that an older process does not
-- undo what a newer one has declared. Returns the channel's id.
create or replace function pubsub.declare_channel(name text, version integer default 1, description text default '')
returns integer
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    declared pubsub.channels;
begin
    if declare_channel.name !~ '^[a-z0-9][a-z0-9._-]{0,62}$' then
        raise exception using errcode = 'invalid_parameter_value',
            message = regexp_replace(format('"%s" cannot be the name of a channel', name), '[\u0001-\u001f\u007f-\u009f]', '?', 'g'),
            hint = 'A name has 1 to 63 characters of a-z 0-9 . _ - and starts with a letter or a digit.';
    end if;
    -- The row is read first, because every process declares its channels when it starts, and usually nothing has changed.
    select * into declared from pubsub.channels c where c.name = declare_channel.name;
    if declared.version >= declare_channel.version and declared.description = declare_channel.description then
        return declared.id;
    end if;
    insert into pubsub.channels as c (name, version, description)
    values (declare_channel.name, declare_channel.version, declare_channel.description)
    on conflict on constraint channels_pkey do update
       set version = greatest(c.version, excluded.version), description = excluded.description
    returning c.* into declared;
    return declared.id;
end
$$;

-- Subscribes, or updates the settings of the subscription. A new subscription starts with the events that commit after it,
-- or with the oldest event of the log. Returns the subscription's id.
--   lanes  0: unordered. Otherwise the events of one key are handled in order, and keys side by side in this many lanes.
--          A change takes effect once nothing is leased. Null: unchanged
create or replace function pubsub.subscribe(
    channel text, name text, max_attempts integer default 20, max_panics integer default 3, lanes integer default null,
    from_beginning boolean default false, max_crashes integer default 3
) returns integer
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    existing pubsub.subscriptions;
    wanted   integer;
    sequence bigint;
    fence    bigint;
    boundary pg_snapshot;
    new_id   integer;
begin
    select * into existing from pubsub.subscriptions s where s.channel = subscribe.channel and s.name = subscribe.name;
    if found then
        wanted := coalesce(subscribe.lanes, existing.lanes_wanted, existing.lanes);
        if (existing.max_attempts, existing.max_panics, existing.max_crashes, coalesce(existing.lanes_wanted, existing.lanes))
            <> (subscribe.max_attempts, subscribe.max_panics, subscribe.max_crashes, wanted)
        then
            update pubsub.subscriptions s
               set max_attempts = subscribe.max_attempts, max_panics = subscribe.max_panics,
                   max_crashes = subscribe.max_crashes, lanes_wanted = nullif(wanted, s.lanes)
             where s.id = existing.id;
        end if;
        return existing.id;
    end if;

    perform pubsub.require_read_committed('pubsub.subscribe of a new subscription');
    perform pubsub.require_declared(subscribe.channel);
    perform pubsub.keep_partitions() where from_beginning;
    -- The cursor's proof needs this order: sequence, then transaction id, then snapshot.
    sequence := pubsub.log_sequence();
    perform pubsub.require_recognized();
    fence := pg_current_xact_id()::text::bigint;
    insert into pubsub.subscriptions as s (channel, name, max_attempts, max_panics, max_crashes, lanes)
    values (
        subscribe.channel, subscribe.name, subscribe.max_attempts, subscribe.max_panics, subscribe.max_crashes,
        coalesce(subscribe.lanes, 0)
    )
    on conflict on constraint subscriptions_channel_name_key do nothing
    returning s.id into new_id;
    if new_id is null then
        -- Another process has subscribed meanwhile. Its row and its cursor count.
        return (select s.id from pubsub.subscriptions s where s.channel = subscribe.channel and s.name = subscribe.name);
    end if;
    boundary := pubsub.own_snapshot();
    lanes := coalesce(lanes, 0);
    perform pubsub.place_cursor(
                new_id, lane, 1, case when from_beginning then 1 end, sequence, fence, boundary, pubsub.log_sequence()
            )
       from generate_series(least(lanes, 1), lanes) lane;
    insert into pubsub.lanes (subscription, lane) select new_id, lane from generate_series(1, lanes) lane;
    return new_id;
end
$$;
