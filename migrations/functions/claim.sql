-- Claiming: the next events of the log under a lease.
--
-- A cursor must not lose an event and must not read one twice. Ids are drawn before their transactions commit, so "everything
-- after the highest id that was seen" would skip late committers. Instead a subscription reads windows: a window holds the
-- events that are visible in a snapshot S and not in the one before, C. Its boundary is taken in this order:
--   1. read the log's sequence, 2. draw a transaction id (the fence), 3. take the snapshot.
-- db_events.xid is assigned before db_events.id is drawn, so an event of a transaction with xid >= fence has an id above the
-- sequence that was read in step 1. Hence a window has two parts, both read in id order:
--   the range       ids above C's sequence, up to the sequence that is read after S: one forward scan of the primary key,
--   the stragglers  ids up to C's sequence, of the few transactions that were in flight at C: those listed in C, and those
--                   between C's xmax and C's fence (xmax is the latest *finished* id plus one, so a transaction in flight may
--                   lie above it).
-- A backlog of any size is one window, read forward in batches. Events of one key come in publish order if their publishers
-- serialize on the key: id order inside a window, commit order between windows.

-- Everything that each claim asks about its subscription and its process, in one statement, because each statement costs.
--   registered  the process, if it is registered
--   place       of an unordered subscription: its position
create or replace function pubsub.claim_context(subscription integer, process bigint)
returns table (
    channel text, name text, lanes integer, is_changing boolean, unread_limit interval, suspended_at timestamptz,
    floor bigint, registered bigint, place pubsub.cursors
)
language sql stable begin atomic
    select s.channel, s.name, s.lanes, s.lanes_wanted is not null, s.unread_limit, s.suspended_at,
           (select i.floor from pubsub.log_identity i where i.marker = 1),
           (select r.process from pubsub.registrations r where r.process = claim_context.process),
           (
               select c from pubsub.cursors c where c.subscription = s.id and c.lane = 0
                order by c.subscription desc, c.lane desc, c.seq desc limit 1
           )
      from pubsub.subscriptions s
     where s.id = claim_context.subscription;
end;

-- Begins a claim: checks whether it is allowed, chooses its lanes, and takes the lock of lane 0 or shares the lock of all lanes.
--   fence  a transaction id, drawn after `sequence` was read from the log
--   ready  the lanes that may have something to read, from a random lane to the last, then from the first on; 0 is the lane of
--          an unordered subscription
create or replace function pubsub.begin_claim(
    subscription integer, process bigint, polling boolean, sequence bigint, out channel text, out lanes integer,
    out floor bigint, out fence bigint, out ready integer[]
)
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    reader record;
    places pubsub.cursors[];
begin
    lanes := 0;
    ready := '{}';
    -- Here and below, what most claims do not need stays out of their way: a function is called only if it is needed, and an
    -- assignment whose value has a subquery is a statement, which costs more than all others.
    if pg_current_xact_id_if_assigned() is not null or current_setting('transaction_isolation') <> 'read committed' then
        perform pubsub.require_read_committed('pubsub.claim');
    end if;
    select * into reader from pubsub.claim_context(subscription, process);
    if not found then
        raise exception using errcode = 'PB004', constraint = 'PB004', message = format('subscription %s does not exist', subscription);
    end if;
    if reader.suspended_at is not null then
        raise exception using errcode = 'PB007', constraint = 'PB007',
            message = format(
                'subscription "%s" of channel "%s" is suspended since %s: it had been unread for longer than %s',
                reader.name, reader.channel, reader.suspended_at, reader.unread_limit
            ), hint = format('Bring it back with pubsub.resume(%L, %L).', reader.channel, reader.name);
    end if;
    if reader.is_changing and not pubsub.change_lanes(subscription, sequence) then
        return;
    end if;
    if reader.lanes > 0 or reader.is_changing then
        perform pg_advisory_xact_lock_shared(hashtext('pubsub.lanes'), subscription);
        lanes := (select s.lanes from pubsub.subscriptions s where s.id = subscription);
        if lanes is null then
            return;
        end if;
        places := array(
            select (
                select c from pubsub.cursors c where c.subscription = begin_claim.subscription and c.lane = l.lane
                 order by c.subscription desc, c.lane desc, c.seq desc limit 1
            ) from unnest(pubsub.take_lanes(subscription, lanes, process, null)) l (lane)
        );
    end if;
    if lanes > 0 then
        -- All of them, because a lane that is ready need not have an event. They start with a random lane, so that none starves.
        select coalesce(array_agg(l order by l <= r.start * lanes, l), '{}') into ready
          from (select random()) r (start), unnest(pubsub.ready_lanes(places, reader.channel, lanes, sequence)) l;
    elsif (reader.place).window_snapshot is not null then
        ready := '{0}';
    else
        ready := pubsub.ready_lanes(array[reader.place], reader.channel, 0, sequence);
    end if;
    if polling and ready <> '{}' then
        perform from pubsub.waiters w
          where w.subscription = begin_claim.subscription and w.process <> begin_claim.process
            and w.is_awake and w.until > statement_timestamp();
        ready := case when found then '{}' else ready end;
    end if;
    if ready = '{}' then
        return;
    end if;
    -- This comes after the sequence was read, because it may draw the transaction id.
    if reader.registered is distinct from process
        or current_setting('pubsub.recognized', true) is distinct from 'pubsub.log_identity'::regclass::oid::text
    then
        perform pubsub.require_registered(process);
    end if;
    channel := reader.channel;
    floor := reader.floor;
    fence := pg_current_xact_id()::text::bigint;
    if lanes > 0 then
        return;
    elsif not polling then
        perform pg_advisory_xact_lock(hashtext('pubsub.claiming'), subscription);
    elsif not pg_try_advisory_xact_lock(hashtext('pubsub.claiming'), subscription) then
        ready := '{}';
    end if;
end
$$;

-- About as many bytes as a claim sends for an event: the length of its text. A small value that is not compressed counts as it is
-- stored, because its text costs more than the rest of its claim.
create or replace function pubsub.bytes_of(payload jsonb, headers jsonb) returns bigint
language sql stable
return case when pg_column_size(payload) > 2000 or pg_column_compression(payload) is not null then octet_length(payload::text)
            else pg_column_size(payload) end::bigint
     + case when pg_column_size(headers) > 2000 or pg_column_compression(headers) is not null then octet_length(headers::text)
            else coalesce(pg_column_size(headers), 0) end;

-- The last of these events before which there are fewer than `room` bytes. Null is none of them.
create or replace function pubsub.last_within(channel text, ids bigint[], room bigint) returns bigint
language plpgsql stable set plan_cache_mode = force_generic_plan set search_path = pg_catalog, pg_temp as $$
declare
    id       bigint;
    last     bigint;
    in_order constant bigint[] := array(select i from unnest(ids) i order by i);
begin
    foreach id in array in_order loop
        exit when room <= 0;
        last := id;
        room := room - (
            select pubsub.bytes_of(d.payload, d.headers) from pubsub.db_events d
             where d.channel = last_within.channel and d.id = last limit 1
        );
    end loop;
    return last;
end
$$;

-- Parks those of a lane's next events whose key has anything in the mailbox, and returns them. One that comes before all that its
-- key has there, because it was committed late or a seek has brought it back, is due. One that is there itself, after a seek, is
-- delivered from there if an earlier one of its key is there too; the first of its key is left to the claim. The caller holds the
-- lane's claiming lock, and reads the same events: those before which there are fewer than `room` bytes.
create or replace function pubsub.park_ahead(
    channel text, lanes integer, place pubsub.cursors, stop bigint, most integer, passed pg_snapshot, until bigint,
    floor bigint, room bigint
) returns bigint[]
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    parked bigint[];
    ahead  bigint[];
begin
    -- Usually nothing in the mailbox has a key. Rows are compared as in pubsub.first_of_key.
    if place.subscription is distinct from (
        select m.subscription from pubsub.mailbox m
         where (m.subscription, m.key) >= (place.subscription, '') and m.lane > 0 and m.key is not null
         order by m.subscription, m.key, m.event_id limit 1
    ) then
        return '{}';
    end if;
    with behind as materialized (
        select e.*, f.first
          from (
              select w.*, sum(pubsub.bytes_of(w.payload, w.headers)) over (order by w.id) as upto
                from pubsub.window_events(
                         channel, lanes, place.lane, place.read_snapshot, place.window_snapshot, place.window_stragglers,
                         place.window_position, place.read_sequence, stop, floor, most
                     ) w
          ) e
         cross join pubsub.first_of_key(place.subscription, e.key) f (first)
         where f.first <> e.id and e.upto - pubsub.bytes_of(e.payload, e.headers) < room
    ),
    put as (
        insert into pubsub.mailbox (
            subscription, lane, event_id, channel, key, payload, headers, version, published_at, attempt, panics, crashes,
            due_at, replay
        )
        select place.subscription, place.lane, b.id, b.channel, b.key, b.payload, b.headers, b.version, b.published_at, 0, 0, 0,
               case when b.id < b.first then clock_timestamp() else 'infinity' end,
               pubsub.is_behind(b.xid, b.id, passed, until, floor)
          from behind b
        on conflict on constraint mailbox_pkey do nothing
        returning event_id, due_at
    )
    select array(select b.id from behind b), (select array_agg(p.event_id) from put p where p.due_at < 'infinity') into parked, ahead;
    perform pubsub.park(place.subscription, ahead, null), pg_notify('pubsub', '') where ahead is not null;
    return parked;
end
$$;

-- Claims up to `batch` of the next events of a subscription for a process, and no more of them once they have `bytes`. Returns
-- them in the order in which to handle them, those of one lane under a common token. No rows: there is nothing to read now.
--   start_limit  the caller promises to start an event only once fewer than this many of those that it has claimed for the
--                subscription before it are not settled. When the caller dies, the others have not started: they are handed out
--                again as if nobody had claimed them. Null promises nothing, and then all of them are suspects
--   polling      the caller sleeps, and polls in case its bell was lost: it gets nothing if another process is awake or claims
--                at this moment, because that one finds what there is
--   known        as for pubsub.enter_lane
--   replay       the subscription had read past the event before, and was moved back
--
-- It must come first in a READ COMMITTED transaction (PB003). Claims of one lane wait for each other. If the commit of a claim
-- is lost, its events only come again, so the caller may commit it asynchronously.
--
-- In an ordered subscription it reads the lanes of the process, and parks the events that must wait for the mailbox.
create or replace function pubsub.claim(
    subscription integer, process bigint, batch integer, start_limit integer default null,
    polling boolean default false, bytes bigint default 4194304, known bigint[] default null
) returns table (
    token bigint, id bigint, key text, payload jsonb, headers jsonb, version integer, published_at timestamptz,
    replay boolean
)
-- A custom plan for each call would cost more than the claim itself. The generic plan is right at every size: it stays on the
-- primary key and on db_events_xid_idx.
language plpgsql volatile set plan_cache_mode = force_generic_plan set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    -- Rows of `cursors` that are kept behind the position, and how often older ones are removed.
    trim_every  constant integer := 64;
    trim_reach  constant integer := 192;
    -- The rounds of a claim that gets nothing, because a whole batch was parked or a stretch of ids has no event of its lane; the
    -- rest is left to the next claim. `stretch` is the length of such a stretch.
    most_rounds constant integer := 20;
    stretch     constant bigint := 100000;
    worth_a_row constant bigint := 1000;
    sequence    constant bigint := pubsub.log_sequence();
    reader      record;
    lanes_left  integer;
    missing     integer := batch;
    room        bigint := greatest(coalesce(bytes, 4194304), 1);
    most        integer;
    claimed     integer;
    this_lane   integer;
    highest     integer := 0;
    place       record;
    position    pubsub.cursors;
    last_seq    bigint;
    parked      bigint[] := '{}';
    oldest_lease bigint;
    -- Variables, because each event is compared with them, and a field costs more.
    lanes       integer;
    floor       bigint;
    lower       pg_snapshot;
    upper       pg_snapshot;
    stop        bigint;
begin
    if coalesce(batch, 0) < 1 then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('a claim asks for at least 1 event, not for %s', coalesce(batch::text, 'null'));
    end if;
    reader := pubsub.begin_claim(subscription, process, polling, sequence);
    lanes := reader.lanes;
    floor := reader.floor;
    lanes_left := cardinality(reader.ready);
    foreach this_lane in array reader.ready loop
        exit when missing <= 0 or room <= 0;
        most := missing / lanes_left + least(missing % lanes_left, 1);
        lanes_left := lanes_left - 1;
        continue when lanes > 0 and not pubsub.enter_lane(subscription, this_lane, process, this_lane > highest, known);
        highest := greatest(highest, this_lane);
        last_seq := null;
        claimed := 0;
        -- More than once: an open window may end with a batch's last event, too.
        for attempt in 1 .. most_rounds loop
            select c as at, pubsub.is_foreign(c.writer, c.xmin) as is_foreign, r.snapshot as passed, r.until into place
              from pubsub.cursors c
              join pubsub.subscriptions s on s.id = c.subscription and s.suspended_at is null
              left join pubsub.replays r on r.subscription = c.subscription and r.lane = c.lane
             where c.subscription = claim.subscription and c.lane = this_lane
             order by c.subscription desc, c.lane desc, c.seq desc limit 1;
            position := place.at;
            -- The last round took nothing. Or there is no position: the subscription was suspended, or has become ordered.
            exit when position.seq is null or position.seq = last_seq;
            last_seq := position.seq;
            if position.window_snapshot is null or place.is_foreign then
                position := pubsub.open_window(position, reader.channel, sequence, reader.fence, floor, place.is_foreign);
            end if;
            lower := position.read_snapshot;
            upper := position.window_snapshot;
            stop := position.window_end;
            if lanes > 0 then
                -- From the channel's next event on: there may be billions of ids before it (pubsub.skip_ids).
                stop := least(stop, stretch + coalesce((
                    select d.id from pubsub.db_events d
                     where d.channel = reader.channel and d.id > greatest(position.window_position, position.read_sequence)
                     order by d.channel, d.id limit 1
                ), stop));
                oldest_lease := (
                    select min(l.token) from pubsub.leases l
                     where l.subscription = claim.subscription and l.lane = this_lane and l.token >= position.oldest_lease
                );
                parked := pubsub.park_ahead(reader.channel, lanes, position, stop, most, place.passed, place.until, floor, room);
            end if;
            return query
            with events as materialized (
                select e.*
                  from pubsub.window_events(
                           reader.channel, lanes, this_lane, lower, upper, position.window_stragglers,
                           position.window_position, position.read_sequence, stop, floor, most
                       ) e
                 order by e.id
            ),
            -- A batch that ends with the bytes counts as full.
            batch as materialized (
                select case when w.bytes > room then most else w.size end as size, w.event_ids,
                       case when w.bytes > room then pubsub.last_within(reader.channel, w.event_ids || parked, room)
                            else w.last_id end as last_id,
                       case when lanes > 0 then set_config('pubsub.claimed_bytes', w.bytes::text, true) end
                  from (
                      select count(*)::integer as size, max(e.id) as last_id,
                             sum(pubsub.bytes_of(e.payload, e.headers)) as bytes,
                             array_agg(e.id) filter (where lanes = 0 or e.id <> all (parked)) as event_ids
                        from events e
                  ) w
            ),
            lease as (
                insert into pubsub.leases (subscription, lane, process, event_ids, from_mailbox, start_limit)
                select claim.subscription, this_lane, claim.process, b.event_ids[:width_bucket(b.last_id, b.event_ids)],
                       false, claim.start_limit
                  from batch b
                 where b.event_ids[1] <= b.last_id
                returning leases.token, leases.event_ids[cardinality(leases.event_ids)] as last_id
            ),
            advance as (
                insert into pubsub.cursors
                select claim.subscription, this_lane, position.seq + 1,
                       -- A batch that is not full ends its window, and the window's boundary becomes the new lower one.
                       case when ends then upper else lower end,
                       case when ends then position.window_sequence else position.read_sequence end,
                       case when ends then position.window_fence else position.read_fence end,
                       case when not ends then upper end, case when not ends then position.window_sequence end,
                       case when not ends then position.window_fence end, case when not ends then position.window_end end,
                       case when not ends and reached < position.read_sequence then position.window_stragglers end,
                       case when not ends then reached end,
                       coalesce(oldest_lease, (select lease.token from lease), position.oldest_lease)
                  from batch b
                 cross join lateral (
                     select b.size < most and stop = position.window_end as ends,
                            case when b.size < most then stop else b.last_id end as reached
                 ) e
                 -- A short window that was opened only now and holds nothing is not worth a row.
                 where b.size > 0 or not ends or (place.at).window_snapshot is not null
                    or position.window_stragglers is not null or stop - position.read_sequence >= worth_a_row
            )
            select lease.token, e.id, e.key, e.payload, e.headers, e.version, e.published_at,
                   pubsub.is_behind(e.xid, e.id, place.passed, place.until, floor)
              from lease, events e
             where e.id <= lease.last_id and (lanes = 0 or e.id <> all (parked))
             order by e.id;
            get diagnostics claimed = row_count;
            if position.seq % trim_every = 0 then
                delete from pubsub.cursors c
                 where c.subscription = claim.subscription and c.lane = this_lane
                   and c.seq between position.seq - trim_reach and position.seq - trim_every;
            end if;
            exit when claimed > 0;
            if attempt = most_rounds then
                -- There may be more events, although the caller gets none.
                perform pg_notify('pubsub', reader.channel);
            end if;
        end loop;
        missing := missing - claimed;
        if lanes > 0 and claimed > 0 then
            room := room - current_setting('pubsub.claimed_bytes')::bigint;
        end if;
    end loop;
end
$$;
