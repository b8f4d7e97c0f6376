-- Observation: the state of everything, without payloads, keys and headers.

-- Counts the events that a subscription has not claimed, up to `most` in each lane, and returns when the first of them was
-- published. Null counts for each subscription. Leaves out the few events of transactions that were in flight when the
-- subscription last read.
--
-- The estimate of rows is too low on purpose: with more, the server would compile the queries of observers, which takes longer
-- than they do.
create or replace function pubsub.count_unread(subscription integer, most integer default 10000)
returns table (unread bigint, oldest_unread_at timestamptz, id integer)
language sql stable rows 10 set jit = off set enable_bitmapscan = off set search_path = pg_catalog, pg_temp begin atomic
    select sum(ahead.events)::bigint, min(ahead.oldest), s.id
      from pubsub.positions(count_unread.subscription) c
      join pubsub.subscriptions s on s.id = c.subscription
     cross join lateral (
         select count(*) as events, min(e.published_at) as oldest
           from (
               select d.published_at from pubsub.db_events d
                where d.channel = s.channel and d.id > coalesce(c.window_position, c.read_sequence)
                  and not pg_visible_in_snapshot(d.xid, c.read_snapshot) and pubsub.lane_of(d.key, d.id, s.lanes) = c.lane
                order by d.channel, d.id limit count_unread.most
           ) e
     ) ahead
     group by s.id;
end;

-- Counts the events that a subscription has not claimed, by its name: see pubsub.count_unread.
create or replace function pubsub.lag(channel text, subscription text) returns bigint
language sql stable set search_path = pg_catalog, pg_temp begin atomic
    select coalesce(sum(u.unread), 0)::bigint
      from pubsub.count_unread((pubsub.subscription_of(lag.channel, lag.subscription)).id) u;
end;

-- Subscriptions, and how far behind each of them is.
--   lanes            0 if it is unordered
--   unread           events that it has not claimed, up to 1,000 in each lane, and oldest_unread_at: see pubsub.count_unread
--   leased           events under a lease; oldest_lease_at is when the oldest of them was claimed
--   waiting          deliveries of the mailbox that are not leased; the first of them is due at next_due_at
--   overdue          waiting deliveries that are due, without those that are too_new
--   too_new          waiting deliveries that a process has refused because it does not know their version
--   suspects         deliveries of the mailbox whose process has died
create or replace view pubsub.observed_subscriptions as
select s.id, s.channel, s.name as subscription, s.lanes, s.subscribed_at, s.suspended_at, ahead.unread,
       ahead.oldest_unread_at, coalesce(held.leased, 0) as leased, held.oldest_lease_at, mail.waiting, mail.overdue,
       mail.next_due_at, mail.suspects,
       (select count(*) from pubsub.dead_letters d where d.subscription = s.id) as dead_letters, mail.too_new
  from pubsub.subscriptions s
  join pubsub.count_unread(null, 1000) ahead on ahead.id = s.id
  left join (
     select l.subscription, sum(cardinality(l.event_ids)) as leased, min(l.claimed_at) as oldest_lease_at
       from pubsub.leases l
      group by l.subscription
 ) held on held.subscription = s.id
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
select s.channel, s.name as subscription, l.lane, r.process, coalesce(behind.parked, 0) as parked
  from pubsub.lanes l
  join pubsub.subscriptions s on s.id = l.subscription
  left join pubsub.runners r on r.subscription = l.subscription and r.process = l.process
  left join (
      select m.subscription, m.lane, count(*) as parked from pubsub.mailbox m where m.due_at = 'infinity'
       group by m.subscription, m.lane
  ) behind on behind.subscription = l.subscription and behind.lane = l.lane;

-- Registered processes.
--   silent_for  the time since its last beat
--   absent      whether its session has ended: it is dead, or will be back in a moment
--   grace       how long it may be absent before it is dead, by the time that its own beats take
create or replace view pubsub.observed_processes as
select p.id, p.host, p.os_pid, p.version, p.started_at, p.beat_at, clock_timestamp() - p.beat_at as silent_for,
       p.id = any ((select a.absent from pubsub.absent_processes() a)::bigint[]) as absent, p.grace,
       coalesce(held.leased, 0) as leased
  from pubsub.current_processes p
  left join (
     select l.process, sum(cardinality(l.event_ids)) as leased from pubsub.leases l group by l.process
 ) held on held.process = p.id;

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
