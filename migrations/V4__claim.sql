-- Claiming: the next events of the log under a lease.
--
-- Locks: none that matter, functions only.
--
-- Why it loses nothing and reads nothing twice. Ids are drawn before their transactions commit, so "everything after the
-- highest id I have seen" would skip late committers. Instead a subscription reads windows: a window is the set of events
-- visible in a snapshot S and not in the one before, C. Its boundary is taken in this order:
--   1. read the log's sequence, 2. draw a transaction id (the fence), 3. take the snapshot.
-- db_events.xid is assigned before db_events.id is drawn, so an event of a transaction with xid >= fence has an id above
-- the sequence read in step 1. Hence a window has two parts, both read in id order:
--   the range       ids above C's sequence, up to the sequence read after S: one forward scan of the primary key,
--   the stragglers  ids up to C's sequence, of the few transactions that were in flight at C: those listed in C, and
--                   those between C's xmax and C's fence (xmax is the latest *finished* id plus one, so an in-flight
--                   transaction may lie above it).
-- A backlog of any size is one window, read forward in batches. Events of one key come in publish order as long as their
-- publishers serialize on the key: id order inside a window, commit order between windows.

-- The transactions that were in flight at a window's lower boundary and are finished in `s`.
create function pubsub.finished_stragglers(c pg_snapshot, fence bigint, s pg_snapshot) returns xid8[]
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select array_agg(x)
      from (
          select pg_snapshot_xip(c) as x
          union all
          select g::text::xid8 from generate_series(pg_snapshot_xmax(c)::text::bigint, fence - 1) g
      ) in_flight
     where pg_visible_in_snapshot(x, s);
end;

-- Claims up to `batch` of the next events of a subscription for a process: returns them in the order to handle them, each
-- with the token of their common lease. No rows: there is nothing to read now.
--
--   begins  the caller's promise to begin an event only once fewer than this many of those that it has claimed for the
--           subscription before it are not settled. When it dies, the others have not begun: they are handed out again as
--           if they had never been claimed. Null promises nothing, and then all of them are suspects.
--
-- Must come first in a READ COMMITTED transaction (PB003). Claims of one subscription wait for each other. Losing the
-- commit of a claim only makes its events come again, so the caller may commit it asynchronously.
create function pubsub.claim(subscription integer, process bigint, batch integer, begins integer default null)
returns table (
    token        bigint,
    id           bigint,
    key          text,
    payload      jsonb,
    headers      jsonb,
    version      integer,
    published_at timestamptz
)
language plpgsql volatile
-- A custom plan per call would cost more than the claim itself; the generic one is right at every size (stays on the
-- primary key and on db_events_xid_idx).
set plan_cache_mode = force_generic_plan
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    -- Rows of `cursors` kept behind the position, and how often older ones are removed.
    trim_every constant integer := 64;
    trim_reach constant integer := 192;
    of_channel text;
    position   pubsub.cursors;
    sequence   bigint;
    fence      bigint;
    claimed    integer;
    opened     boolean := false;
begin
    perform pubsub.require_batch(batch);
    perform pubsub.require_first_in_transaction('pubsub.claim');
    select s.channel into of_channel from pubsub.subscriptions s where s.id = claim.subscription;
    if not found then
        raise exception using errcode = 'PB004', message = format('subscription %s does not exist', claim.subscription);
    end if;

    -- A look without a lock, a transaction id or a write: most claims of an idle subscription end here.
    select * into position from pubsub.cursors c
     where c.subscription = claim.subscription order by c.subscription desc, c.seq desc limit 1;
    if position.window_snapshot is null
       and position.read_sequence = pubsub.log_sequence()
       and pubsub.finished_stragglers(position.read_snapshot, position.read_fence, pg_current_snapshot()) is null
    then
        return;
    end if;

    perform pubsub.require_registered(process);
    sequence := pubsub.log_sequence();
    fence := pg_current_xact_id()::text::bigint;
    perform pg_advisory_xact_lock(pubsub.claiming_lock_class(), claim.subscription);
    select * into position from pubsub.cursors c
     where c.subscription = claim.subscription order by c.subscription desc, c.seq desc limit 1;

    -- Twice at most: an open window that ended on a batch's last event yields nothing, and the next one is tried.
    for attempt in 1 .. 2 loop
        if position.window_snapshot is null then
            position.window_snapshot := pubsub.own_snapshot();
            position.window_sequence := sequence;
            position.window_fence := fence;
            position.window_end := pubsub.log_sequence();
            if pg_snapshot_xmax(position.window_snapshot) < pg_snapshot_xmax(position.read_snapshot) then
                raise exception using
                    errcode = 'PB005',
                    message = format('transaction ids went backwards since subscription %s last read', claim.subscription),
                    detail = 'The database was probably restored into another cluster; reading on would skip events.';
            end if;
            position.window_stragglers := pubsub.finished_stragglers(
                position.read_snapshot, position.read_fence, position.window_snapshot
            );
            position.window_position := case
                when position.window_stragglers is null then position.read_sequence
                else 0
            end;
            opened := true;
        end if;

        return query
        with events as materialized (
            select e.*
              from (
                  (
                      select e.id, e.key, e.payload, e.headers, e.version, e.published_at
                        from unnest(position.window_stragglers) straggler
                       cross join lateral (
                           select d.*
                             from pubsub.db_events d
                            where d.xid = straggler
                              and d.channel = of_channel
                              and d.id > position.window_position
                              and d.id <= position.read_sequence
                            order by d.xid, d.channel, d.id
                            limit claim.batch
                       ) e
                       order by e.id
                       limit claim.batch
                  )
                  union all
                  (
                      select d.id, d.key, d.payload, d.headers, d.version, d.published_at
                        from pubsub.db_events d
                       where d.channel = of_channel
                         and d.id > greatest(position.window_position, position.read_sequence)
                         and d.id <= position.window_end
                         and pg_visible_in_snapshot(d.xid, position.window_snapshot)
                         and not pg_visible_in_snapshot(d.xid, position.read_snapshot)
                       order by d.channel, d.id
                       limit claim.batch
                  )
              ) e
             order by e.id
             limit claim.batch
        ),
        batch_taken as materialized (
            select count(*) as size, max(e.id) as last_id, array_agg(e.id order by e.id) as event_ids from events e
        ),
        lease as (
            insert into pubsub.leases (subscription, process, event_ids, from_mailbox, begins)
            select claim.subscription, claim.process, b.event_ids, false, claim.begins from batch_taken b where b.size > 0
            returning leases.token
        ),
        advance as (
            insert into pubsub.cursors
            select claim.subscription,
                   position.seq + 1,
                   -- A batch that is not full ends its window, and the window's boundary becomes the new lower one.
                   case when ends then position.window_snapshot else position.read_snapshot end,
                   case when ends then position.window_sequence else position.read_sequence end,
                   case when ends then position.window_fence else position.read_fence end,
                   case when ends then null else position.window_snapshot end,
                   case when ends then null else position.window_sequence end,
                   case when ends then null else position.window_fence end,
                   case when ends then null else position.window_end end,
                   case when ends or b.last_id >= position.read_sequence then null else position.window_stragglers end,
                   case when ends then null else b.last_id end
              from batch_taken b
             cross join lateral (select b.size < claim.batch as ends) e
             -- A window that was opened only now and holds nothing is not worth a row.
             where b.size > 0 or not opened or position.window_stragglers is not null
        )
        select lease.token, e.id, e.key, e.payload, e.headers, e.version, e.published_at
          from lease, events e
         order by e.id;

        get diagnostics claimed = row_count;
        if position.seq % trim_every = 0 then
            delete from pubsub.cursors c
             where c.subscription = claim.subscription
               and c.seq between position.seq - trim_reach and position.seq - trim_every;
        end if;
        if claimed > 0 or opened then
            return;
        end if;
        position.seq := position.seq + 1;
        position.read_snapshot := position.window_snapshot;
        position.read_sequence := position.window_sequence;
        position.read_fence := position.window_fence;
        position.window_snapshot := null;
    end loop;
end
$$;

-- Claims up to `batch` due deliveries of a subscription's mailbox for a process, each with its attempt already counted.
-- `for update skip locked` lets several processes claim side by side; ordered by due_at, so that a retry does not jump
-- ahead of deliveries that were due before it.
--
-- Suspects, deliveries whose process died, are left alone unless `suspect` asks for one: then it comes alone, and the
-- caller should handle nothing else of the subscription beside it. So whatever dies with it again is to blame.
--   begins  as for pubsub.claim
create function pubsub.claim_mailbox(
    subscription integer,
    process      bigint,
    batch        integer,
    suspect      boolean default false,
    begins       integer default null
)
returns table (
    token        bigint,
    id           bigint,
    key          text,
    payload      jsonb,
    headers      jsonb,
    version      integer,
    published_at timestamptz,
    attempt      integer,
    panics       integer,
    crashes      integer
)
language plpgsql volatile
set plan_cache_mode = force_generic_plan
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    -- A variable, because the index cannot be searched by a volatile function.
    due_by constant timestamptz := clock_timestamp();
    due    bigint[];
begin
    perform pubsub.require_batch(batch);
    -- Two statements, not one with a condition: each stays on its own partial index.
    if suspect then
        due := array(
            select m.event_id
              from pubsub.mailbox m
             where m.subscription = claim_mailbox.subscription
               and m.token is null
               and m.crashes > 0
               and m.due_at <= due_by
             order by m.subscription, m.due_at, m.event_id
             limit 1
               for update skip locked
        );
    else
        due := array(
            select m.event_id
              from pubsub.mailbox m
             where m.subscription = claim_mailbox.subscription
               and m.token is null
               and m.crashes = 0
               and m.due_at <= due_by
             order by m.subscription, m.due_at, m.event_id
             limit claim_mailbox.batch
               for update skip locked
        );
    end if;
    if due = '{}' then
        return;
    end if;
    perform pubsub.require_registered(process);
    return query
    with lease as (
        insert into pubsub.leases (subscription, process, event_ids, from_mailbox, begins)
        values (claim_mailbox.subscription, claim_mailbox.process, due, true, claim_mailbox.begins)
        returning leases.token
    ),
    claimed as (
        update pubsub.mailbox m
           set token = lease.token,
               attempt = m.attempt + 1
          from lease
         where m.subscription = claim_mailbox.subscription
           and m.event_id = any (due)
        returning m.*
    )
    select c.token, c.event_id, c.key, c.payload, c.headers, c.version, c.published_at, c.attempt, c.panics,
           c.crashes
      from claimed c
     order by c.due_at, c.event_id;
end
$$;

-- How long until the earliest waiting delivery of each given subscription is due, suspects apart; negative when it is
-- overdue, null when there is none. Subscriptions with an empty mailbox are left out.
create function pubsub.next_due(subscriptions integer[])
returns table (subscription integer, due_in interval, suspect_due_in interval)
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
    select wanted.id, ordinary.due_at - clock_timestamp(), suspect.due_at - clock_timestamp()
      from unnest(subscriptions) wanted (id)
      left join lateral (
          select m.due_at
            from pubsub.mailbox m
           where m.subscription = wanted.id
             and m.token is null
             and m.crashes = 0
           order by m.subscription, m.due_at, m.event_id
           limit 1
      ) ordinary on true
      left join lateral (
          select m.due_at
            from pubsub.mailbox m
           where m.subscription = wanted.id
             and m.token is null
             and m.crashes > 0
           order by m.subscription, m.due_at, m.event_id
           limit 1
      ) suspect on true
     where ordinary.due_at is not null or suspect.due_at is not null;
end;
