-- Partitions of the log: made ahead of its ids, and closed when they are full.
--
-- Attaching one takes share update exclusive on the log, for which neither inserts nor claims wait.
--
-- The log's ids are cut into partitions before they are drawn. A partition is
--   opened  when the first id of it has been drawn,
--   closed  when the last one has: its fence, a transaction id drawn after that, is above that of every event in it, because
--           db_events.xid is assigned before db_events.id,
--   sealed  when all transactions below the fence have ended: from then on nothing in it changes.
-- Afterwards it is removed (removal.sql).
--
-- These functions can be called at any time. Each continues the work of the last call.

-- Makes partitions ahead, for at least `reserve` more ids. Returns how many it made. Does nothing if it would have to wait, and
-- raises lock_not_available only if the ids are about to run out.
--
-- A partition has more ids than publishers draw in its term, and is closed by time (pubsub.skip_ids): ids have 64 bits. So the
-- reserve lasts for months without any maintenance, at a thousand events per second for half a year.
--   span  the ids of one partition
create or replace function pubsub.ensure_partitions(reserve bigint default 20000000000, span bigint default 10000000000)
returns integer
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    most     constant integer := 100;
    sequence constant bigint := pubsub.log_sequence();
    made     integer := 0;
    upto     bigint;
    name     text;
begin
    if not pg_try_advisory_xact_lock(hashtext('pubsub.maintenance'), 0) then
        return 0;
    end if;
    perform set_config('lock_timeout', '200ms', true);
    reserve := coalesce(reserve, 20000000000);
    span := greatest(coalesce(span, 10000000000), 1);
    while made < most loop
        upto := coalesce((select max(p.end_id) from pubsub.partitions p), 0);
        exit when upto - sequence > reserve;
        name := format('pubsub.db_events_%s', upto);
        begin
            -- The table is created first and attached later, because `create table … partition of` would lock out publishers.
            execute format('create table %s (like pubsub.db_events including defaults including constraints)', name);
            perform pubsub.close_objects(only_object => name);
            execute format(
                'alter table pubsub.db_events attach partition %s for values from (%s) to (%s)', name, upto, upto + span
            );
            insert into pubsub.partitions (first_id, end_id) values (upto, upto + span);
        exception when lock_not_available then
            if upto - sequence < reserve / 3 then
                raise;
            end if;
            return made;
        end;
        made := made + 1;
    end loop;
    return made;
end
$$;

-- Notes which partitions were opened, closed and sealed since the last call. Returns how many were sealed.
--
-- Must come first in a READ COMMITTED transaction (PB003), because the fence must be drawn after the sequence is read.
create or replace function pubsub.close_partitions() returns integer
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    sequence bigint;
    sealed   integer;
begin
    perform pubsub.require_read_committed('pubsub.close_partitions');
    if not pg_try_advisory_xact_lock(hashtext('pubsub.maintenance'), 0) then
        return 0;
    end if;
    sequence := pubsub.log_sequence();
    perform pubsub.require_recognized();
    update pubsub.partitions p set opened_at = clock_timestamp() where p.opened_at is null and p.first_id <= sequence;
    update pubsub.partitions p set fence = pg_current_xact_id() where p.fence is null and p.end_id <= sequence + 1;
    update pubsub.partitions p set sealed_at = clock_timestamp()
     where p.sealed_at is null and p.fence <= pg_snapshot_xmin(pg_current_snapshot());
    get diagnostics sealed = row_count;
    return sealed;
end
$$;

-- Closes a partition that has been in use for its term, so that old events leave the log: sets the log's sequence to the last id
-- of it. Returns how many ids it skips. A partition that holds no event that ever leaves stays open.
--
-- The term is an eighth of the longest retention, and at least an hour. So a log that keeps its events for a week has about ten
-- partitions, and an event leaves it less than a day late.
create or replace function pubsub.skip_ids() returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    -- The sequence is never set back: sessions cannot draw this many ids while it is being set. A partition with fewer left is left
    -- to publishers.
    margin   constant bigint := 1000000000;
    sequence constant bigint := pubsub.log_sequence();
    skipped  bigint;
begin
    if not pg_try_advisory_xact_lock(hashtext('pubsub.maintenance'), 0) then
        return 0;
    end if;
    select setval('pubsub.db_events_id_seq', p.end_id - 1) - sequence into skipped from pubsub.partitions p
     where p.opened_at <= clock_timestamp() - (select greatest(max(c.retention) / 8, interval '1 hour') from pubsub.channels c)
       and p.end_id - sequence > margin and p.first_id <= sequence
       and exists (select from pubsub.partitions n where n.first_id = p.end_id) and exists (
               select from pubsub.channels c
                where c.retention is not null and (
                          select d.id from pubsub.db_events d
                           where d.channel = c.name and d.id >= p.first_id and d.id < p.end_id
                           order by d.channel, d.id limit 1
                      ) is not null
           );
    return coalesce(skipped, 0);
end
$$;

-- Advances the cursors of lanes with nothing to read, if a sealed partition waits for them. Claims that find nothing write
-- nothing, so such a cursor would hold the partition without end. Returns how many cursors it advanced. It takes some at a time, in
-- any order, so that their locks have room in the server's table of locks: call again until it returns 0.
--
-- Must come first in a READ COMMITTED transaction (PB003), because it takes the boundary of a window in the order of
-- pubsub.claim: sequence, transaction id, lock, snapshot. A lane that is being claimed from moves by itself.
create or replace function pubsub.advance_idle_cursors() returns integer
language plpgsql volatile set jit = off set search_path = pg_catalog, pg_temp as $$
declare
    most     constant integer := 250;
    sequence constant bigint := pubsub.log_sequence();
    floor    constant bigint := pubsub.log_floor();
    fence    bigint;
    held     record;
    reader   pubsub.subscriptions;
    place    record;
    here     pubsub.cursors;
    boundary pg_snapshot;
    advanced integer := 0;
begin
    perform pubsub.require_read_committed('pubsub.advance_idle_cursors');
    perform pubsub.require_recognized();
    for held in
        select c.subscription, c.lane
          from pubsub.positions() c
          join pubsub.subscriptions s on s.id = c.subscription and s.suspended_at is null
         where exists (select from pubsub.partitions p where p.sealed_at is not null and not pubsub.has_claimed_all(c, p))
         order by random() limit most
    loop
        -- One process at a time.
        exit when not pg_try_advisory_xact_lock(hashtext('pubsub.maintenance'), 3);
        fence := pg_current_xact_id()::text::bigint;
        -- The locks of a claim: while they are held, neither the lane's position nor the number of lanes changes.
        continue when not pg_try_advisory_xact_lock_shared(hashtext('pubsub.lanes'), held.subscription)
            or not pg_try_advisory_xact_lock(hashtext('pubsub.claiming') + held.lane, held.subscription);
        select s.* into reader from pubsub.subscriptions s where s.id = held.subscription;
        select c as at, pubsub.is_foreign(c.writer, c.xmin) as is_foreign into place from pubsub.cursors c
         where c.subscription = held.subscription and c.lane = held.lane
         order by c.subscription desc, c.lane desc, c.seq desc limit 1;
        here := place.at;
        boundary := pubsub.own_snapshot();
        continue when here.seq is null or place.is_foreign or exists (
            select from pubsub.unread_events(here, reader.channel, reader.lanes, pubsub.all_visible(), floor, 1)
        );
        perform pubsub.place_cursor(here.subscription, here.lane, here.seq + 1, null, sequence, fence, boundary, null);
        advanced := advanced + 1;
    end loop;
    return advanced;
end
$$;
