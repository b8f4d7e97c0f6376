-- Declaring channels, and subscribing to them.
--
-- Locks: none that matter, functions only.
-- Error codes of class PB are ours and part of the contract (docs/sql-contract.md):
--   PB001 undeclared channel       PB002 payload too large      PB003 not first in its transaction
--   PB004 unknown subscription     PB005 the log was moved here from another cluster
--   PB006 unregistered process     PB007 suspended subscription   PB008 payload of another shape

-- Advisory locks live in the two-integer space, under classes of our own ('psb1', 'psb2', 'psb3' as ASCII).
-- Class of the lock that publishers share, per hash of the channel's name, until they commit.
create function pubsub.publishing_lock_class() returns integer
language sql immutable parallel safe
return 1886609969;

-- Class of the lock that serializes the claims of one lane of one subscription ('psl' and the lane's number).
create function pubsub.claiming_lock_class(lane integer default 0) returns integer
language sql immutable parallel safe
return 1886612480 + lane;

-- Class of the lock, per subscription, that claims share, and that whoever changes the number of lanes wants alone.
create function pubsub.lanes_lock_class() returns integer
language sql immutable parallel safe
return 1886609970;

-- Class of the lock of maintenance that must not run twice at once.
create function pubsub.maintenance_lock_class() returns integer
language sql immutable parallel safe
return 1886609971;

-- How many edits (insert, delete, replace a character) lie between two names. Only for hints: both are short.
create function pubsub.edit_distance(a text, b text) returns integer
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    above integer[];
    here  integer[];
begin
    above := array(select generate_series(0, length(b)));
    for i in 1 .. length(a) loop
        here := array[i];
        for j in 1 .. length(b) loop
            here := here || least(
                above[j + 1] + 1,
                here[j] + 1,
                above[j] + case when substr(a, i, 1) = substr(b, j, 1) then 0 else 1 end
            );
        end loop;
        above := here;
    end loop;
    return above[length(b) + 1];
end
$$;

-- Raises PB001 for a channel that nobody declared, with the nearest declared name as its hint.
create function pubsub.refuse_undeclared(channel text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    nearest text;
begin
    select c.name into nearest
      from pubsub.channels c
     where length(refuse_undeclared.channel) <= 63
     order by pubsub.edit_distance(lower(refuse_undeclared.channel), c.name), c.name
     limit 1;
    raise exception using
        errcode = 'PB001',
        message = format('channel "%s" is not declared', refuse_undeclared.channel),
        hint = coalesce(format('Did you mean "%s"? ', nearest), '')
            || 'A channel is declared by a process that subscribes to it, or by pubsub.declare_channel(name).';
end
$$;

-- Raises PB001 unless a channel is declared.
create function pubsub.require_declared(channel text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select from pubsub.channels c where c.name = require_declared.channel) then
        perform pubsub.refuse_undeclared(channel);
    end if;
end
$$;

-- Raises PB004 for a subscription that nobody has made.
create function pubsub.refuse_unsubscribed(channel text, subscription text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using
        errcode = 'PB004',
        message = format('channel "%s" has no subscription "%s"', channel, subscription);
end
$$;

-- Declares a channel, or brings its description and version up to date. Returns the channel's id. An older binary never
-- lowers the version.
create function pubsub.declare_channel(name text, version integer default 1, description text default '')
returns integer
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    declared pubsub.channels;
begin
    if declare_channel.name !~ '^[a-z0-9][a-z0-9._-]{0,62}$' then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('"%s" cannot be the name of a channel', declare_channel.name),
            hint = 'A name has 1 to 63 characters of a-z 0-9 . _ - and starts with a letter or a digit.';
    end if;
    -- Looked up first, so that the usual start, which changes nothing, writes nothing.
    select * into declared from pubsub.channels c where c.name = declare_channel.name;
    if declared.version >= declare_channel.version and declared.description = declare_channel.description then
        return declared.id;
    end if;
    insert into pubsub.channels as c (name, version, description)
    values (declare_channel.name, declare_channel.version, declare_channel.description)
    on conflict on constraint channels_pkey do update
       set version = greatest(c.version, excluded.version),
           description = excluded.description
    returning c.* into declared;
    return declared.id;
end
$$;

-- The log's sequence: the highest id drawn so far, or 0.
create function pubsub.log_sequence() returns bigint
language sql volatile
return coalesce(pg_sequence_last_value('pubsub.db_events_id_seq'), 0);

-- The current snapshot with our own transaction listed as in flight. pg_current_snapshot() leaves it out, and then events
-- that this transaction publishes after a claim would count as already read.
create function pubsub.own_snapshot() returns pg_snapshot
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    current pg_snapshot := pg_current_snapshot();
    own     xid8 := pg_current_xact_id_if_assigned();
begin
    if own is null or own >= pg_snapshot_xmax(current) or not pg_visible_in_snapshot(own, current) then
        return current;
    end if;
    return (
        select format('%s:%s:%s', min(x), pg_snapshot_xmax(current), string_agg(x::text, ',' order by x))::pg_snapshot
          from (select pg_snapshot_xip(current) as x union all select own) in_flight
    );
end
$$;

-- The snapshot in which nothing is visible: a cursor that reads from here takes whatever its window holds.
create function pubsub.origin() returns pg_snapshot
language sql immutable parallel safe
return '3:3:'::pg_snapshot;

-- The fence that goes with it: no transaction was in flight.
create function pubsub.origin_fence() returns bigint
language sql immutable parallel safe
return 3;

-- Writes a cursor's next position: an open window of all that is visible in `boundary` from event `first` on, or no window
-- at all if `first` is null; and after it, whatever is not visible in `boundary`, whatever its id.
--   sequence, fence, boundary, log_end  the log's sequence, a transaction id, a snapshot and the sequence again, taken in
--                                       this order
create function pubsub.place_cursor(
    subscription integer,
    lane         integer,
    seq          bigint,
    first        bigint,
    sequence     bigint,
    fence        bigint,
    boundary     pg_snapshot,
    log_end      bigint
) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if first is null then
        insert into pubsub.cursors (subscription, lane, seq, read_snapshot, read_sequence, read_fence)
        values (subscription, lane, seq, boundary, sequence, fence);
    else
        insert into pubsub.cursors (
            subscription, lane, seq, read_snapshot, read_sequence, read_fence,
            window_snapshot, window_sequence, window_fence, window_end, window_position
        )
        values (
            subscription, lane, seq, pubsub.origin(), first - 1, pubsub.origin_fence(),
            boundary, sequence, fence, log_end, first - 1
        );
    end if;
end
$$;

-- Raises PB003 unless the caller's transaction has not written anything yet. Claims and new subscriptions read the
-- sequence first and draw their transaction id second; with an older id the cursor's fence would not hold.
create function pubsub.require_first_in_transaction(what text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if pg_current_xact_id_if_assigned() is not null then
        raise exception using
            errcode = 'PB003',
            message = format('%s must come before every write of its transaction', what);
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception using
            errcode = 'PB003',
            message = format('%s needs isolation level read committed', what);
    end if;
end
$$;

-- Whether a process is registered: if not, it left, or was declared dead and may not have noticed yet.
create function pubsub.is_registered(process bigint) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- By processes_beat_idx, from its end: by the primary key it would read all versions of the row. The comparison of rows
    -- leaves the planner no other index.
    return coalesce(
        process = (
            select p.id
              from pubsub.processes p
             where (p.id, p.beat_at) <= (process, 'infinity')
             order by p.id desc, p.beat_at desc
             limit 1
        ),
        false
    );
end
$$;

-- Raises PB006 for a process that is not registered: most likely it was declared dead and has not noticed yet. A lease of
-- its own would belong to nobody, and its events would wait for the janitor. Raises PB005 if the log was moved.
create function pubsub.require_registered(process bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- The first line of pubsub.require_home, to spare each claim the call.
    if current_setting('pubsub.home', true) is distinct from 'pubsub.witness'::regclass::oid::text then
        perform pubsub.require_home();
    end if;
    if not pubsub.is_registered(process) then
        raise exception using
            errcode = 'PB006',
            message = format('process %s is not registered', coalesce(process::text, 'null')),
            hint = 'It may have been declared dead. Register again with pubsub.register_process.';
    end if;
end
$$;

-- Raises PB007 for a subscription that is suspended.
create function pubsub.refuse_suspended(subscription integer) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    suspended pubsub.subscriptions;
begin
    select * into suspended from pubsub.subscriptions s where s.id = refuse_suspended.subscription;
    raise exception using
        errcode = 'PB007',
        message = format(
            'subscription "%s" of channel "%s" is suspended since %s: it had been unread for longer than %s',
            suspended.name, suspended.channel, suspended.suspended_at, suspended.unread_limit
        ),
        hint = format('Bring it back with pubsub.resume(%L, %L).', suspended.channel, suspended.name);
end
$$;

-- Raises unless a claim asks for at least one event.
create function pubsub.require_batch(batch integer) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if coalesce(batch, 0) < 1 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('a claim asks for at least 1 event, not for %s', coalesce(batch::text, 'null'));
    end if;
end
$$;

-- Subscribes, or brings the settings of the subscription up to date. A new subscription starts with the events that
-- commit after it, or with the oldest that the log has. Returns the subscription's id.
--   lanes  0: unordered; otherwise the events of one key are handled in order, and keys side by side in this many lanes.
--          A change comes into force once nothing is leased. Null: as it is.
create function pubsub.subscribe(
    channel        text,
    name           text,
    max_attempts   integer default 20,
    max_panics     integer default 3,
    lanes          integer default null,
    from_beginning boolean default false
) returns integer
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    existing pubsub.subscriptions;
    sequence bigint;
    fence    bigint;
    boundary pg_snapshot;
    new_id   integer;
begin
    select * into existing
      from pubsub.subscriptions s
     where s.channel = subscribe.channel and s.name = subscribe.name;
    if found then
        if (existing.max_attempts, existing.max_panics, coalesce(existing.lanes_wanted, existing.lanes))
            <> (subscribe.max_attempts, subscribe.max_panics, coalesce(subscribe.lanes, existing.lanes_wanted, existing.lanes))
        then
            update pubsub.subscriptions s
               set max_attempts = subscribe.max_attempts,
                   max_panics = subscribe.max_panics,
                   lanes_wanted = nullif(coalesce(subscribe.lanes, s.lanes_wanted, s.lanes), s.lanes)
             where s.id = existing.id;
        end if;
        return existing.id;
    end if;

    perform pubsub.require_first_in_transaction('pubsub.subscribe of a new subscription');
    perform pubsub.require_declared(subscribe.channel);
    if from_beginning then
        perform pubsub.keep_partitions();
    end if;
    -- The order is the proof: sequence, then transaction id, then snapshot.
    sequence := pubsub.log_sequence();
    perform pubsub.require_home();
    fence := pg_current_xact_id()::text::bigint;
    insert into pubsub.subscriptions as s (channel, name, max_attempts, max_panics, lanes)
    values (
        subscribe.channel, subscribe.name, subscribe.max_attempts, subscribe.max_panics, coalesce(subscribe.lanes, 0)
    )
    on conflict on constraint subscriptions_channel_name_key do nothing
    returning s.id into new_id;
    if new_id is null then
        -- Another process subscribed a moment ago; its row and its cursor are the ones.
        return (select s.id from pubsub.subscriptions s where s.channel = subscribe.channel and s.name = subscribe.name);
    end if;
    boundary := pubsub.own_snapshot();
    perform pubsub.open_lanes(
        new_id, coalesce(subscribe.lanes, 0), case when from_beginning then 1 end, sequence, fence, boundary,
        pubsub.log_sequence()
    );
    return new_id;
end
$$;
