-- Claiming: the next events of the log under a lease.
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

-- Raises unless a claim asks for at least one event.
create or replace function pubsub.require_batch(batch integer) returns void
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

-- Claims up to `batch` of the next events of a subscription for a process: returns them in the order to handle them, those
-- of a lane with the token of their common lease. No rows: there is nothing to read now.
--   begins  the caller's promise to begin an event only once fewer than this many of those that it has claimed for the
--           subscription before it are not settled. When it dies, the others have not begun: they are handed out again as
--           if they had never been claimed. Null promises nothing, and then all of them are suspects.
--   polling  the caller sleeps, and looks in case its bell was lost: nothing is claimed if somebody else is awake or claims at
--           this moment, who will find what there is
--   replay  the subscription had read past the event before, and was moved back
--
-- Must come first in a READ COMMITTED transaction (PB003). Claims of one lane wait for each other. Losing the commit of a
-- claim only makes its events come again, so the caller may commit it asynchronously.
--
-- Of an ordered subscription it reads the lanes that are the process's, and parks what must wait for the mailbox.
create or replace function pubsub.claim(
    subscription integer,
    process      bigint,
    batch        integer,
    begins       integer default null,
    polling      boolean default false
)
returns table (
    token        bigint,
    id           bigint,
    key          text,
    payload      jsonb,
    headers      jsonb,
    version      integer,
    published_at timestamptz,
    replay       boolean
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
    -- How often a claim that gets nothing goes on, where a whole batch was parked or a stretch of ids has nothing of its
    -- lane; the rest is left to the next claim. And how long such a stretch is.
    most_rounds constant integer := 20;
    stretch     constant bigint := 100000;
    sequence   constant bigint := pubsub.log_sequence();
    fence      bigint;
    reader     record;
    floor      bigint;
    place      record;
    ripe       integer[] := '{}';
    this_lane  integer;
    nth        integer := 0;
    missing    integer := claim.batch;
    share      integer;
    position   pubsub.cursors;
    -- What is asked of every event, as variables: a field costs more.
    lanes      integer;
    lower      pg_snapshot;
    upper      pg_snapshot;
    read_after bigint;
    read_to    bigint;
    last_seq   bigint;
    opened     boolean;
    parked     bigint[] := '{}';
    claimed    integer;
begin
    -- Here and below, what most claims need not is asked before a function is called for it.
    if coalesce(batch, 0) < 1 then
        perform pubsub.require_batch(batch);
    end if;
    if pg_current_xact_id_if_assigned() is not null or current_setting('transaction_isolation') <> 'read committed' then
        perform pubsub.require_first_in_transaction('pubsub.claim');
    end if;
    -- One statement for what each claim asks, because each statement costs. The process by processes_beat_idx, from its end:
    -- by the primary key it would read all versions of the row.
    select s.channel,
           s.lanes,
           s.lanes_wanted,
           s.suspended_at,
           (select i.floor from pubsub.log_identity i where i.marker = 1) as floor,
           (
               select p.id
                 from pubsub.processes p
                where (p.id, p.beat_at) <= (claim.process, 'infinity')
                order by p.id desc, p.beat_at desc
                limit 1
           ) as registered,
           (
               select pubsub.is_ready(c, sequence)
                 from pubsub.cursors c
                where c.subscription = s.id and c.lane = 0
                order by c.subscription desc, c.lane desc, c.seq desc
                limit 1
           ) as is_ripe
      into reader
      from pubsub.subscriptions s
     where s.id = claim.subscription;
    if not found then
        raise exception using errcode = 'PB004', message = format('subscription %s does not exist', claim.subscription);
    end if;
    if reader.suspended_at is not null then
        perform pubsub.refuse_suspended(subscription);
    end if;
    if reader.lanes > 0 or reader.lanes_wanted is not null then
        if not pubsub.prepare_lanes(subscription, process, sequence) then
            return;
        end if;
        reader.lanes := (select s.lanes from pubsub.subscriptions s where s.id = claim.subscription);
        ripe := pubsub.ripe_lanes(subscription, reader.lanes, process, batch, sequence);
    elsif reader.is_ripe then
        ripe := '{0}';
    end if;
    if ripe = '{}' then
        return;
    end if;
    if polling and pubsub.another_is_awake(subscription, process) then
        return;
    end if;
    -- After the sequence is read: it may draw the transaction id.
    if reader.registered is distinct from process
        or current_setting('pubsub.recognized', true) is distinct from 'pubsub.log_identity'::regclass::oid::text
    then
        perform pubsub.require_registered(process);
    end if;
    fence := pg_current_xact_id()::text::bigint;
    lanes := reader.lanes;
    floor := reader.floor;
    if lanes > 0 then
        perform pg_advisory_xact_lock_shared(hashtext('pubsub.lanes'), subscription);
        if not exists (select from pubsub.subscriptions s where s.id = claim.subscription and s.lanes = reader.lanes) then
            return;
        end if;
    end if;

    foreach this_lane in array ripe loop
        share := (missing + cardinality(ripe) - nth - 1) / (cardinality(ripe) - nth);
        nth := nth + 1;
        if lanes > 0 then
            continue when not pubsub.enter_lane(subscription, this_lane, process);
        elsif not polling then
            perform pg_advisory_xact_lock(hashtext('pubsub.claiming'), subscription);
        elsif not pg_try_advisory_xact_lock(hashtext('pubsub.claiming'), subscription) then
            return;
        end if;
        last_seq := null;
        -- More than once: an open window may end on a batch's last event, too.
        for attempt in 1 .. most_rounds loop
            select c as at, r.snapshot, r.until into place
              from pubsub.cursors c
              join pubsub.subscriptions s on s.id = c.subscription and s.suspended_at is null
              left join pubsub.replays r on r.subscription = c.subscription and r.lane = c.lane
             where c.subscription = claim.subscription and c.lane = this_lane
             order by c.subscription desc, c.lane desc, c.seq desc limit 1;
            -- Nothing was taken last time; or lane 0 is gone, the subscription has become ordered meanwhile; or it was
            -- suspended meanwhile.
            position := place.at;
            exit when position.seq is null or position.seq = last_seq;
            last_seq := position.seq;
            opened := position.window_snapshot is null;
            if opened then
                position.window_snapshot := pubsub.own_snapshot();
                position.window_sequence := sequence;
                position.window_fence := fence;
                position.window_end := pubsub.log_sequence();
                if pg_snapshot_xmax(position.window_snapshot) < pg_snapshot_xmax(position.read_snapshot) then
                    raise exception using
                        errcode = 'PB005',
                        message = format('transaction ids went backwards since subscription %s last read', claim.subscription),
                        detail = 'The database was probably restored into another cluster; reading on would skip events.',
                        hint = 'Run pubsub::admin::rebase, or "select pubsub.rebase()".';
                end if;
                position.window_stragglers := pubsub.finished_stragglers(
                    position.read_snapshot, position.read_fence, position.window_snapshot
                );
                position.window_position := case
                    when position.window_stragglers is null then position.read_sequence
                    -- An event below the floor has the transaction id of another cluster: it is nobody's straggler.
                    else floor
                end;
            end if;

            lower := position.read_snapshot;
            upper := position.window_snapshot;
            read_after := greatest(position.window_position, position.read_sequence);
            read_to := case
                when lanes = 0 then position.window_end
                else least(position.window_end, read_after + stretch)
            end;
            if lanes > 0 then
                parked := pubsub.park_ahead(reader.channel, lanes, position, read_to, share, place.snapshot, place.until, floor);
            end if;
            return query
            with events as materialized (
                select e.*
                  from pubsub.window_events(
                           reader.channel, lanes, this_lane, lower, upper, position.window_stragglers,
                           position.window_position, position.read_sequence, read_to, floor, share
                       ) e
                 order by e.id
            ),
            batch_taken as materialized (
                select count(*) as size,
                       max(e.id) as last_id,
                       array_agg(e.id) filter (where lanes = 0 or e.id <> all (parked)) as event_ids
                  from events e
            ),
            lease as (
                insert into pubsub.leases (subscription, lane, process, event_ids, from_mailbox, begins)
                select claim.subscription, this_lane, claim.process, b.event_ids, false, claim.begins
                  from batch_taken b
                 where b.event_ids is not null
                returning leases.token
            ),
            advance as (
                insert into pubsub.cursors
                select claim.subscription,
                       this_lane,
                       position.seq + 1,
                       -- A batch that is not full ends its window, and the window's boundary becomes the new lower one.
                       case when ends then position.window_snapshot else position.read_snapshot end,
                       case when ends then position.window_sequence else position.read_sequence end,
                       case when ends then position.window_fence else position.read_fence end,
                       case when ends then null else position.window_snapshot end,
                       case when ends then null else position.window_sequence end,
                       case when ends then null else position.window_fence end,
                       case when ends then null else position.window_end end,
                       case when ends or reached >= position.read_sequence then null else position.window_stragglers end,
                       case when ends then null else reached end
                  from batch_taken b
                 cross join lateral (
                     select b.size < share and read_to = position.window_end as ends,
                            case when b.size < share then read_to else b.last_id end as reached
                 ) e
                 -- A window that was opened only now and holds nothing is not worth a row.
                 where b.size > 0 or not ends or not opened or position.window_stragglers is not null
            )
            select lease.token, e.id, e.key, e.payload, e.headers, e.version, e.published_at,
                   pubsub.is_behind(e.xid, e.id, place.snapshot, place.until, floor)
              from lease, events e
             where (lanes = 0 or e.id <> all (parked))
             order by e.id;

            get diagnostics claimed = row_count;
            if position.seq % trim_every = 0 then
                delete from pubsub.cursors c
                 where c.subscription = claim.subscription
                   and c.lane = this_lane
                   and c.seq between position.seq - trim_reach and position.seq - trim_every;
            end if;
            exit when claimed > 0;
            if attempt = most_rounds then
                -- There is more, though the caller gets nothing.
                perform pg_notify('pubsub', reader.channel);
            end if;
        end loop;
        missing := missing - claimed;
    end loop;
end
$$;
