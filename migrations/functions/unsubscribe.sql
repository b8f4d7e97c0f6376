-- Removing subscriptions and channels. Both functions remove everything, or raise and change nothing.

-- Removes a subscription. Processes that run it get PB004 from then on. Returns what was removed with it: events that it had
-- not read (counted up to 10,000 in each lane), events under a lease, other deliveries of its mailbox, and dead letters. Waits up
-- to ten seconds until nothing of it is being claimed, settled or taken over, or raises lock_not_available (55P03).
--   force  whether to remove the subscription although a process runs it or it has something left to deliver; otherwise this
--          raises PB009
create or replace function pubsub.unsubscribe(channel text, name text, force boolean default false)
returns table (unread bigint, leased bigint, waiting bigint, dead_letters bigint)
language plpgsql volatile set lock_timeout = '1s' set search_path = pg_catalog, pg_temp as $$
declare
    give_up_at constant timestamptz := clock_timestamp() + interval '10 seconds';
    removed    integer;
    processes  bigint;
begin
    perform pubsub.require_read_committed('pubsub.unsubscribe', comes_first => false);
    loop
        begin
            removed := (pubsub.subscription_of(channel, name)).id;
            -- The locks of claims.
            perform pg_advisory_xact_lock(hashtext('pubsub.lanes'), removed), pg_advisory_xact_lock(hashtext('pubsub.claiming'), removed);
            perform from pubsub.leases l where l.subscription = removed for update nowait;
            -- Another session may have removed it before this one had the locks.
            exit when (pubsub.subscription_of(channel, name)).id = removed;
        exception when lock_not_available then
            -- A lease is being settled or taken over, perhaps by a session that waits for the locks above. The end of this
            -- block has released them.
            if clock_timestamp() > give_up_at then
                raise;
            end if;
            perform pg_sleep(0.02);
        end;
    end loop;
    perform set_config('lock_timeout', '10s', true);
    unread := (select u.unread from pubsub.count_unread(removed) u);
    leased := (select coalesce(sum(cardinality(l.event_ids)), 0) from pubsub.leases l where l.subscription = removed);
    waiting := (select count(*) from pubsub.mailbox m where m.subscription = removed and m.token is null);
    dead_letters := (select count(*) from pubsub.dead_letters d where d.subscription = removed);
    select count(distinct p.process) into processes
      from (
          select r.process from pubsub.runners r where r.subscription = removed
          union all
          select l.process from pubsub.leases l where l.subscription = removed
          union all
          select w.process from pubsub.waiters w where w.subscription = removed and w.until > clock_timestamp()
      ) p;
    if force is not true and processes + unread + leased + waiting + dead_letters > 0 then
        raise exception using errcode = 'PB009', constraint = 'PB009',
            message = format('subscription "%s" of channel "%s" is in use', name, channel),
            detail = format(
                'Processes that run it: %s. Events: %s unread, %s leased, %s in the mailbox, %s dead letters.',
                processes, unread, leased, waiting, dead_letters
            ), hint = 'Stop its processes. To discard its events, pass force => true.';
    end if;
    delete from pubsub.waiters w where w.subscription = removed;
    delete from pubsub.runners r where r.subscription = removed;
    delete from pubsub.lanes l where l.subscription = removed;
    delete from pubsub.settled s using pubsub.leases l where l.token = s.token and l.subscription = removed;
    delete from pubsub.leases l where l.subscription = removed;
    delete from pubsub.mailbox m where m.subscription = removed;
    delete from pubsub.dead_letters d where d.subscription = removed;
    delete from pubsub.replays r where r.subscription = removed;
    delete from pubsub.cursors c where c.subscription = removed;
    delete from pubsub.subscriptions s where s.id = removed;
    return next;
end
$$;

-- Removes a channel with its events, deduplication keys and schemas. Returns how many subscriptions and events were removed
-- with it. Waits for publishers that are at work; later ones get PB001.
--   force  whether to remove its subscriptions as well, with all that they have left to deliver: PB009 else, if it has any
create or replace function pubsub.drop_channel(channel text, force boolean default false)
returns table (subscriptions bigint, events bigint)
language plpgsql volatile set lock_timeout = '10s' set search_path = pg_catalog, pg_temp as $$
declare
    subscription text;
begin
    perform pubsub.require_read_committed('pubsub.drop_channel', comes_first => false);
    -- The second round has the lock. The first one keeps a call that is refused from making publishers wait.
    for round in 1..2 loop
        perform pg_advisory_xact_lock(hashtext('pubsub.publishing'), hashtext(channel)) where round = 2;
        perform pubsub.require_declared(channel);
        if force is not true and exists (select from pubsub.subscriptions s where s.channel = drop_channel.channel) then
            raise exception using errcode = 'PB009', constraint = 'PB009', message = format('channel "%s" has subscriptions', channel),
                hint = 'Remove them with pubsub.unsubscribe(channel, name), or together with the channel: force => true.';
        end if;
    end loop;
    subscriptions := 0;
    for subscription in select s.name from pubsub.subscriptions s where s.channel = drop_channel.channel loop
        begin
            perform pubsub.unsubscribe(channel, subscription, true);
            subscriptions := subscriptions + 1;
        exception when sqlstate 'PB004' then
            -- Another session has removed it meanwhile.
            null;
        end;
    end loop;
    delete from pubsub.db_events e where e.channel = drop_channel.channel;
    get diagnostics events = row_count;
    delete from pubsub.dedupe_keys d using pubsub.channels c where d.channel = c.id and c.name = drop_channel.channel;
    delete from pubsub.channel_versions v where v.channel = drop_channel.channel;
    delete from pubsub.channels c where c.name = drop_channel.channel;
    return next;
end
$$;
