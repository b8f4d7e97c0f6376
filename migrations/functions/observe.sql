-- Observation: the state of everything, without payloads, keys and headers.

-- Counts the events that a subscription has not claimed, up to 10,000 in each lane, and returns when the first of them was
-- published. Leaves out the few events of transactions that were in flight when the subscription last read.
create or replace function pubsub.count_unread(subscription integer) returns table (unread bigint, oldest_unread_at timestamptz)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    return query
    select sum(ahead.events)::bigint, min(ahead.oldest)
      from (
          select s.channel, s.lanes, c.lane, c.read_snapshot, coalesce(c.window_position, c.read_sequence) as position
            from pubsub.subscriptions s
            join pubsub.positions(count_unread.subscription) c on c.subscription = s.id
      ) at
     cross join lateral (
         select count(*) as events, min(e.published_at) as oldest
           from (
               select d.published_at
                 from pubsub.db_events d
                where d.channel = at.channel
                  and d.id > at.position
                  and not pg_visible_in_snapshot(d.xid, at.read_snapshot)
                  and pubsub.lane_of(d.key, d.id, at.lanes) = at.lane
                order by d.channel, d.id
                limit 10000
           ) e
     ) ahead;
end
$$;

-- Counts the events that a subscription has not claimed, by its name: see pubsub.count_unread.
create or replace function pubsub.lag(channel text, subscription text) returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    unread bigint;
begin
    select ahead.unread into unread
      from pubsub.subscriptions s
     cross join lateral pubsub.count_unread(s.id) ahead
     where s.channel = lag.channel and s.name = lag.subscription;
    if not found then
        perform pubsub.refuse_unsubscribed(lag.channel, lag.subscription);
    end if;
    return coalesce(unread, 0);
end
$$;

-- Subscriptions, and how far behind each of them is.
--   lanes            0 if it is unordered
--   unread           events that it has not claimed, and oldest_unread_at: see pubsub.count_unread
--   leased           events under a lease; oldest_lease_at is when the oldest of them was claimed
--   waiting          deliveries of the mailbox that are not leased; the first of them is due at next_due_at
--   overdue          waiting deliveries that are due, without those that are too_new
--   too_new          waiting deliveries that a process has refused because it does not know their version
--   suspects         deliveries of the mailbox whose process has died
create or replace view pubsub.observed_subscriptions as
select s.id,
       s.channel,
       s.name as subscription,
       s.lanes,
       s.subscribed_at,
       s.suspended_at,
       ahead.unread,
       ahead.oldest_unread_at,
       held.leased,
       held.oldest_lease_at,
       mail.waiting,
       mail.overdue,
       mail.next_due_at,
       mail.suspects,
       (select count(*) from pubsub.dead_letters d where d.subscription = s.id) as dead_letters,
       mail.too_new
  from pubsub.subscriptions s
 cross join lateral pubsub.count_unread(s.id) ahead
 cross join lateral (
     select coalesce(sum(cardinality(l.event_ids)), 0) as leased, min(l.claimed_at) as oldest_lease_at
       from pubsub.leases l
      where l.subscription = s.id
 ) held
 cross join lateral (
     select count(*) filter (where m.token is null) as waiting,
            count(*) filter (where m.token is null and m.needs is null and m.due_at <= clock_timestamp()) as overdue,
            min(m.due_at) filter (where m.token is null) as next_due_at,
            count(*) filter (where m.crashes > 0) as suspects,
            count(*) filter (where m.token is null and m.needs is not null) as too_new
       from pubsub.mailbox m
      where m.subscription = s.id
 ) mail;

-- The lanes of ordered subscriptions, and the process that claims from each.
--   parked  deliveries that wait behind an earlier event of their key
create or replace view pubsub.observed_lanes as
select s.channel, s.name as subscription, l.lane, r.process,
       (
           select count(*)
             from pubsub.mailbox m
            where m.subscription = l.subscription and m.lane = l.lane and m.due_at = 'infinity'
       ) as parked
  from pubsub.lanes l
  join pubsub.subscriptions s on s.id = l.subscription
  left join pubsub.runners r on r.subscription = l.subscription and r.process = l.process;

-- Registered processes.
--   silent_for  the time since its last beat
--   absent      whether its session has ended: it is dead, or will be back in a moment
--   grace       how long it may be absent before it is dead, by the time that its own beats take
create or replace view pubsub.observed_processes as
select p.id,
       p.host,
       p.os_pid,
       p.version,
       p.started_at,
       p.beat_at,
       clock_timestamp() - p.beat_at as silent_for,
       p.id = any (a.absent) as absent,
       p.grace,
       (select coalesce(sum(cardinality(l.event_ids)), 0) from pubsub.leases l where l.process = p.id) as leased
  from pubsub.processes p
 cross join pubsub.absent_processes() a;

-- Leases: claimed batches that are not settled.
create or replace view pubsub.observed_leases as
select l.token, s.channel, s.name as subscription, l.process, cardinality(l.event_ids) as events, l.from_mailbox,
       l.claimed_at
  from pubsub.leases l
  join pubsub.subscriptions s on s.id = l.subscription;

-- Deliveries of the mailbox. `last_error` has the handler's words. `needs` is the version that a process must know to claim the
-- delivery, if a process that does not know it has refused the delivery.
create or replace view pubsub.observed_mailbox as
select s.channel, s.name as subscription, m.event_id, m.published_at, m.attempt, m.panics, m.crashes, m.due_at,
       m.token is not null as leased, m.last_error, m.version, m.needs
  from pubsub.mailbox m
  join pubsub.subscriptions s on s.id = m.subscription;

-- Dead letters. `error` has the handler's words.
create or replace view pubsub.observed_dead_letters as
select s.channel, s.name as subscription, d.event_id, d.published_at, d.attempt, d.panics, d.crashes, d.reason, d.error,
       d.died_at
  from pubsub.dead_letters d
  join pubsub.subscriptions s on s.id = d.subscription;

-- Waiter rows: the processes that sleep, and those that have reported that they are awake. Does not work on a standby, which
-- has no unlogged tables.
create or replace view pubsub.observed_waiters as
select s.channel, s.name as subscription, w.process, w.is_awake, w.until
  from pubsub.waiters w
  join pubsub.subscriptions s on s.id = w.subscription;
