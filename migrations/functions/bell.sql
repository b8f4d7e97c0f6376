-- The bell that wakes sleeping subscribers.
--
-- A NOTIFY takes one lock for the whole cluster and holds it over the commit's fsync, so we send none while the
-- subscribers are busy. To make going to sleep exact without it:
--   a publisher      shares the channel's publishing lock until it commits, and only then looks for waiters;
--   a sleeper        writes its waiter row and commits, then tries that lock exclusively.
-- If the sleeper gets it, nobody who looked before the waiter row was visible is still publishing: one more claim finds
-- whatever they committed, and everybody later sees the row. If not, somebody is mid-publish: it claims again soon.
--
-- The channel's own row, which every publisher reads anyway, says until when there may be waiters at all. Whoever writes a
-- waiter row moves that time ahead in the same transaction, so who sees the one sees the other.
--
-- Many processes may sleep on one subscription, and one is enough to read it. So a publisher wakes one, and that one says
-- that it is awake; from then on nobody is rung for, until it sleeps again, by the same protocol: a publisher that has seen
-- it awake holds the lock that it tries. When it has no room for more, it passes the bell on. An ordered subscription, whose
-- lanes belong to different processes, is woken as a whole.
--
-- The topic is `pubsub` for all, and `pubsub_17` for process 17. The payload is the name of a channel; or nothing at all, for
-- all: then the mailbox is worth a look.

-- Rings the bell for those subscriptions of a channel of which somebody sleeps and nobody is awake. Looks for them in a
-- snapshot of its own, so call it after taking the channel's publishing lock.
create or replace function pubsub.ring(channel text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    -- A variable, because an index cannot be searched by a volatile function.
    begun_at constant timestamptz := clock_timestamp();
    reader   record;
    sleeper  bigint;
begin
    -- A two-phase commit cannot PREPARE after a NOTIFY: such a publisher sets pubsub.bell to off, and the subscribers'
    -- poll finds its events.
    if current_setting('pubsub.bell', true) = 'off' then
        return;
    end if;
    -- Under a stricter isolation there is no new snapshot, and the waiter row might be invisible: then ring always.
    if current_setting('transaction_isolation') <> 'read committed' then
        perform pg_notify('pubsub', ring.channel);
        return;
    end if;
    for reader in
        select s.id, s.lanes from pubsub.subscriptions s where s.channel = ring.channel order by s.channel, s.name
    loop
        -- Who fell asleep last: one that hangs does not renew its row. Here and below, the order keeps it on the index,
        -- whatever the statistics say.
        sleeper := (
            select w.process
              from pubsub.waiters w
             where w.subscription = reader.id and not w.is_awake and w.until > begun_at
             order by w.subscription desc, w.is_awake desc, w.until desc
             limit 1
        );
        continue when sleeper is null;
        if reader.lanes > 0 then
            perform pg_notify('pubsub', ring.channel);
            return;
        end if;
        perform from pubsub.waiters w
          where w.subscription = reader.id and w.is_awake and w.until > begun_at
          order by w.subscription, w.is_awake, w.until
          limit 1;
        if not found then
            perform pg_notify('pubsub_' || sleeper, ring.channel);
        end if;
    end loop;
end
$$;

-- First half of going to sleep: writes the waiter row. Must be committed before the second half. Nobody is rung for in the name
-- of a process that is not registered any more: nothing is written for it.
--   ttl  after this the row counts no longer; a sleeper that lives renews it by calling again
create or replace function pubsub.start_waiting(subscription integer, process bigint, ttl interval) returns void
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
    delete from pubsub.waiters w
     where w.subscription = start_waiting.subscription
       and w.process = start_waiting.process
       and w.until > statement_timestamp();
    insert into pubsub.waiters (subscription, process, is_awake, until)
    select s.id, start_waiting.process, false, clock_timestamp() + start_waiting.ttl
      from pubsub.subscriptions s
     where s.id = start_waiting.subscription and pubsub.is_registered(start_waiting.process);
    -- Twice as far as it must be, so that the channel's row is written once per ttl, however many fall asleep.
    update pubsub.channels c
       set asleep_until = clock_timestamp() + 2 * start_waiting.ttl
      from pubsub.subscriptions s
     where s.id = start_waiting.subscription
       and c.name = s.channel
       and c.asleep_until < clock_timestamp() + start_waiting.ttl;
end;

-- Second half of going to sleep: whether nobody is in the middle of publishing on the subscription's channel. True: claim
-- once more, and sleep if nothing comes. False: claim, and ask again soon.
create or replace function pubsub.channel_is_quiet(subscription integer) returns boolean
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
    select pg_try_advisory_xact_lock(hashtext('pubsub.publishing'), hashtext(s.channel))
      from pubsub.subscriptions s
     where s.id = channel_is_quiet.subscription;
end;

-- Awake: takes the waiter row away, and for `ttl` publishers need not ring for the subscription at all; unless the process is not
-- registered. Who has said so must go
-- to sleep by start_waiting and its second half, or pass the bell on by stop_waiting, once it has no room for more events.
create or replace function pubsub.stay_awake(subscription integer, process bigint, ttl interval) returns void
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
    delete from pubsub.waiters w
     where w.subscription = stay_awake.subscription
       and w.process = stay_awake.process
       and w.until > statement_timestamp();
    -- In an ordered one nobody reads for the others.
    insert into pubsub.waiters (subscription, process, is_awake, until)
    select s.id, stay_awake.process, true, clock_timestamp() + stay_awake.ttl
      from pubsub.subscriptions s
     where s.id = stay_awake.subscription and s.lanes = 0 and pubsub.is_registered(stay_awake.process);
end;

-- Whether a process other than this one has said that it is awake.
create or replace function pubsub.another_is_awake(subscription integer, process bigint) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    begun_at constant timestamptz := clock_timestamp();
begin
    return exists (
        select from pubsub.waiters w
         where w.subscription = another_is_awake.subscription
           and w.is_awake
           and w.until > begun_at
           and w.process <> another_is_awake.process
    );
end
$$;

-- Neither asleep nor awake: takes the process's row away, and passes the bell on to another, should it have rung for this one.
-- A row whose time is over counts no longer anyway.
create or replace function pubsub.stop_waiting(subscription integer, process bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from pubsub.waiters w
     where w.subscription = stop_waiting.subscription
       and w.process = stop_waiting.process
       and w.until > statement_timestamp();
    perform pubsub.ring(s.channel) from pubsub.subscriptions s where s.id = stop_waiting.subscription;
end
$$;

-- The same for all subscriptions of a process that is no more.
create or replace function pubsub.leave_watch(process bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    left_behind integer[];
begin
    with gone as (
        delete from pubsub.waiters w where w.process = leave_watch.process returning w.subscription
    )
    select array_agg(distinct g.subscription) into left_behind from gone g;
    perform pubsub.ring(s.channel) from pubsub.subscriptions s where s.id = any (left_behind);
end
$$;

-- Removes waiter rows whose process died without waking up. Returns how many.
create or replace function pubsub.remove_expired_waiters() returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    removed bigint;
begin
    delete from pubsub.waiters w where w.until < clock_timestamp();
    get diagnostics removed = row_count;
    return removed;
end
$$;
