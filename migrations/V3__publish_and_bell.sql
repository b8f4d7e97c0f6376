-- Publishing, and the bell that wakes sleeping subscribers.
--
-- What:  the trigger behind every insert into the log, pubsub.publish, and the two halves of going to sleep.
-- Locks: none that matter, the log is empty or the trigger new.
--
-- A NOTIFY takes one lock for the whole cluster and holds it over the commit's fsync, so we send none while the
-- subscribers are busy. To make going to sleep exact without it:
--   a publisher      shares the channel's publishing lock until it commits, and only then looks for waiters;
--   a sleeper        writes its waiter row and commits, then tries that lock exclusively.
-- If the sleeper gets it, nobody who looked before the waiter row was visible is still publishing: one more claim finds
-- whatever they committed, and everybody later sees the row. If not, somebody is mid-publish: it claims again soon.
--
-- The topic is `pubsub`. Its payload is a channel's name, or nothing at all: then the mailbox is worth a look.

-- After an insert into the log: refuses what must not be published, and rings the bell.
-- Per statement, not per row: a bulk insert pays it once.
create function pubsub.after_publish() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    published record;
    too_large bigint;
begin
    for published in
        select n.channel, n.largest, c.id, c.max_payload_bytes
          from (
              select p.channel, max(pg_column_size(p.payload)) as largest
                from new_events p
               group by p.channel
          ) n
          left join pubsub.channels c on c.name = n.channel
         order by c.id
    loop
        if published.id is null then
            perform pubsub.refuse_undeclared(published.channel);
        end if;
        -- Stored sizes are cheap to ask for but compressed, at most 255-fold. Only a payload that could be over the
        -- limit is written out to be measured.
        if published.largest > published.max_payload_bytes / 256 then
            select octet_length(p.payload::text) into too_large
              from new_events p
             where p.channel = published.channel
               and octet_length(p.payload::text) > published.max_payload_bytes
             limit 1;
            if found then
                raise exception using
                    errcode = 'PB002',
                    message = format(
                        'a payload of %s bytes is over the limit of %s bytes of channel "%s"',
                        too_large, published.max_payload_bytes, published.channel
                    ),
                    hint = 'Publish a reference to the data instead, or raise pubsub.channels.max_payload_bytes.';
            end if;
        end if;

        perform pg_advisory_xact_lock_shared(pubsub.publishing_lock_class(), published.id);
        -- A two-phase commit cannot PREPARE after a NOTIFY: such a publisher sets pubsub.bell to off, and the
        -- subscribers' poll finds its events.
        if current_setting('pubsub.bell', true) = 'off' then
            continue;
        end if;
        -- A new statement after the lock, so a new snapshot; under a stricter isolation there is none, and the waiter
        -- row might be invisible: then ring always.
        if current_setting('transaction_isolation') <> 'read committed' then
            perform pg_notify('pubsub', published.channel);
        elsif exists (
            select from pubsub.waiters w where w.channel = published.id and w.until > clock_timestamp()
        ) then
            perform pg_notify('pubsub', published.channel);
        end if;
    end loop;
    return null;
end
$$;

create trigger after_publish
after insert on pubsub.db_events
referencing new table as new_events
for each statement execute function pubsub.after_publish();

-- Publishes one event in the caller's transaction and returns its id.
create function pubsub.publish(
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

-- First half of going to sleep: writes the waiter row. Must be committed before the second half.
--   ttl  after this the row counts no longer; a sleeper that lives renews it by calling again
create function pubsub.start_waiting(subscription integer, process bigint, ttl interval) returns void
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
    insert into pubsub.waiters as w (channel, subscription, process, until)
    select c.id, s.id, start_waiting.process, clock_timestamp() + start_waiting.ttl
      from pubsub.subscriptions s
      join pubsub.channels c on c.name = s.channel
     where s.id = start_waiting.subscription
    on conflict on constraint waiters_pkey do update set until = excluded.until;
end;

-- Second half of going to sleep: whether nobody is in the middle of publishing on the subscription's channel. True: claim
-- once more, and sleep if nothing comes. False: claim, and ask again soon.
create function pubsub.channel_is_quiet(subscription integer) returns boolean
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
    select pg_try_advisory_xact_lock(pubsub.publishing_lock_class(), c.id)
      from pubsub.subscriptions s
      join pubsub.channels c on c.name = s.channel
     where s.id = channel_is_quiet.subscription;
end;

-- Waking up: publishers need not ring any more.
create function pubsub.stop_waiting(subscription integer, process bigint) returns void
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
    delete from pubsub.waiters w
     where w.channel = (
               select c.id
                 from pubsub.subscriptions s
                 join pubsub.channels c on c.name = s.channel
                where s.id = stop_waiting.subscription
           )
       and w.subscription = stop_waiting.subscription
       and w.process = stop_waiting.process;
end;
