-- The bell, which wakes sleeping subscribers.
--
-- A NOTIFY takes one lock of the whole cluster and holds it over the commit's fsync. So publishers send none while the
-- subscribers are busy. The following protocol lets a subscriber go to sleep without missing an event:
--   a publisher  shares the channel's publishing lock until it commits, and only then looks for waiter rows
--   a sleeper    writes its waiter row and commits, and then tries that lock exclusively
-- If the sleeper gets the lock, every publisher that looked for rows before this one was visible has finished. One more claim
-- finds their events, and every later publisher sees the row. If the sleeper does not get the lock, a publisher is at work, and
-- the sleeper claims again soon.
--
-- Several processes may sleep on one subscription, and one of them is enough to read it. So a publisher wakes one, and that
-- one reports that it is awake. From then on publishers do not ring, until it sleeps again by the same protocol: a publisher
-- that has seen it awake holds the lock that it tries to take. A process that has no room for more events passes the bell
-- on. The lanes of an ordered subscription belong to different processes, so all of them are woken. So are all processes of a
-- channel with many subscriptions, because a publisher cannot look at each.
--
-- The topic is `pubsub` for all processes, and `pubsub_17` for process 17. The payload is the name of a channel. An empty
-- payload goes to all: the mailbox may have something due.

-- Rings for those subscriptions of a channel for which a process sleeps and none is awake. Reads the waiter rows in a
-- snapshot of its own, so the caller takes the channel's publishing lock first.
create or replace function pubsub.ring_bell(channel text) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    -- A channel with more subscriptions than this has one bell for all.
    most_readers constant integer := 8;
    -- A variable, because no index can be searched by a volatile function.
    begun_at     constant timestamptz := clock_timestamp();
    reader       record;
    sleeper      bigint;
begin
    -- A transaction that has sent a NOTIFY cannot be prepared for a two-phase commit. Such a publisher sets pubsub.bell to
    -- off, and the subscribers' poll finds its events.
    if current_setting('pubsub.bell', true) = 'off' then
        return;
    end if;
    -- A stricter isolation takes no new snapshot, and the waiter row may be invisible: always ring.
    if current_setting('transaction_isolation') <> 'read committed' then
        perform pg_notify('pubsub', ring_bell.channel);
        return;
    end if;
    if exists (select from pubsub.subscriptions s where s.channel = ring_bell.channel offset most_readers) then
        perform pg_notify('pubsub', ring_bell.channel)
          where exists (
              select from pubsub.waiters w where w.channel = ring_bell.channel and not w.is_awake and w.until > begun_at
          );
        return;
    end if;
    for reader in
        select s.id, s.lanes from pubsub.subscriptions s where s.channel = ring_bell.channel order by s.channel, s.name
    loop
        -- The process that fell asleep last is rung for, because a process that hangs does not renew its row. The order, here
        -- and below, keeps the query on the index whatever the statistics are.
        sleeper := (
            select w.process from pubsub.waiters w
             where w.subscription = reader.id and not w.is_awake and w.until > begun_at
             order by w.subscription desc, w.until desc limit 1
        );
        continue when sleeper is null;
        if reader.lanes > 0 then
            perform pg_notify('pubsub', ring_bell.channel);
            return;
        end if;
        perform from pubsub.waiters w where w.subscription = reader.id and w.is_awake and w.until > begun_at
          order by w.subscription, w.until limit 1;
        if not found then
            perform pg_notify('pubsub_' || sleeper, ring_bell.channel);
        end if;
    end loop;
end
$$;

-- The first half of going to sleep: writes or renews the waiter row. It must be committed before the second half. Writes
-- nothing for a process that is not registered.
--   ttl  how long the row counts
create or replace function pubsub.start_waiting(subscription integer, process bigint, ttl interval) returns void
language sql volatile set search_path = pg_catalog, pg_temp begin atomic
    delete from pubsub.waiters w
     where w.subscription = start_waiting.subscription and w.until > statement_timestamp()
       and w.process = start_waiting.process;
    insert into pubsub.waiters (subscription, process, channel, is_awake, until)
    select s.id, start_waiting.process, s.channel, false, clock_timestamp() + start_waiting.ttl
      from pubsub.subscriptions s
      join pubsub.registrations r on r.process = start_waiting.process
     where s.id = start_waiting.subscription;
end;

-- Polls the log for the subscriptions of a process: returns those that may have something to read, in case their bell was lost, and
-- those whose claim would be refused. Returns as not unread those of `renewals` whose waiter row shows the process as asleep: the
-- row counts for `ttl` from now. A row that somebody has locked, perhaps to remove it, is left. Without renewals it writes nothing.
create or replace function pubsub.poll(
    subscriptions integer[], process bigint, renewals integer[] default '{}', ttl interval default '10 seconds'
) returns table (subscription integer, is_unread boolean)
language plpgsql volatile set jit = off set plan_cache_mode = force_generic_plan set search_path = pg_catalog, pg_temp as $$
declare
    begun_at constant timestamptz := clock_timestamp();
    sequence constant bigint := pubsub.log_sequence();
begin
    is_unread := false;
    foreach subscription in array renewals loop
        perform from pubsub.waiters w
          where w.subscription = poll.subscription and w.process = poll.process and not w.is_awake and w.until > begun_at
          order by w.subscription, w.until limit 1 for update skip locked;
        continue when not found;
        -- Changed in place: whoever removes the row at this moment removes the renewed one.
        update pubsub.waiters w set until = greatest(w.until, begun_at + ttl)
         where w.subscription = poll.subscription and w.process = poll.process and not w.is_awake and w.until > begun_at;
        return next;
    end loop;
    return query
    select asked.id, true
      from unnest(subscriptions) asked (id)
      left join lateral pubsub.claim_context(asked.id, poll.process) reader on true
     where case
               when reader.channel is null or reader.suspended_at is not null or reader.is_changing then true
               when reader.lanes = 0 then pubsub.ready_lanes(array[reader.place], reader.channel, 0, sequence) <> '{}'
               else (
                   -- A lane that the process should take is taken by a claim.
                   select bool_or(l.owner is distinct from poll.process)
                       or pubsub.ready_lanes(coalesce(array_agg(place), '{}'), reader.channel, reader.lanes, sequence) <> '{}'
                     from pubsub.lanes_for(asked.id, poll.process, null) l
                    cross join lateral (
                        select c from pubsub.cursors c where c.subscription = asked.id and c.lane = l.lane
                         order by c.subscription desc, c.lane desc, c.seq desc limit 1
                    ) of_lane (place)
               ) is true
           end;
end
$$;

-- The second half of going to sleep. True if no publisher is at work on the subscription's channel: claim once more, and
-- sleep if nothing comes. False: claim, and ask again soon.
--
-- The lock is released in the same expression, because publishers wait for it. Nothing can interrupt the expression.
create or replace function pubsub.no_publisher_at_work(subscription integer) returns boolean
language sql volatile set search_path = pg_catalog, pg_temp begin atomic
    select case
               when pg_try_advisory_lock(hashtext('pubsub.publishing'), hashtext(s.channel))
               then pg_advisory_unlock(hashtext('pubsub.publishing'), hashtext(s.channel))
               else false
           end
      from pubsub.subscriptions s
     where s.id = no_publisher_at_work.subscription;
end;

-- Reports that a process is awake. Removes its waiter row. For `ttl` publishers ring for no other process of the subscription
-- either. The process must then either go to sleep by both halves, or call stop_waiting once it has no room for more
-- events. Writes nothing for a process that is not registered.
create or replace function pubsub.report_awake(subscription integer, process bigint, ttl interval) returns void
language sql volatile set search_path = pg_catalog, pg_temp begin atomic
    delete from pubsub.waiters w
     where w.subscription = report_awake.subscription and w.until > statement_timestamp() and w.process = report_awake.process;
    -- In an ordered subscription no process reads for the others.
    insert into pubsub.waiters (subscription, process, channel, is_awake, until)
    select s.id, report_awake.process, s.channel, true, clock_timestamp() + report_awake.ttl
      from pubsub.subscriptions s
      join pubsub.registrations r on r.process = report_awake.process
     where s.id = report_awake.subscription and s.lanes = 0;
end;

-- Removes the process's waiter row, and passes the bell on to another process, in case it has rung for this one. A null
-- subscription is for a process that may be dead: all those on which it is awake, or another process waits too. If it lives, it
-- still sleeps where nobody else does.
create or replace function pubsub.stop_waiting(subscription integer, process bigint) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    if subscription is null then
        perform pubsub.stop_waiting(w.subscription, w.process)
           from pubsub.waiters w
          where w.process = stop_waiting.process and w.until > statement_timestamp()
            and (w.is_awake or exists (
                    select from pubsub.waiters o
                     where o.subscription = w.subscription and o.until > statement_timestamp() and o.process <> w.process
                ));
        return;
    end if;
    -- Older rows count no longer anyway.
    delete from pubsub.waiters w
     where w.subscription = stop_waiting.subscription and w.until > statement_timestamp() and w.process = stop_waiting.process;
    perform pubsub.ring_bell(s.channel) from pubsub.subscriptions s where s.id = stop_waiting.subscription;
end
$$;
