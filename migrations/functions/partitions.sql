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

-- The time for which one partition should be in use: an eighth of the longest retention, and at least an hour. So a log that
-- keeps its events for a week has about ten partitions, and an event leaves it less than a day late. Null: no event ever
-- leaves.
create or replace function pubsub.partition_term() returns interval
language sql stable
return (
    select greatest(max(c.retention) / 8, interval '1 hour') from pubsub.channels c having max(c.retention) is not null
);

-- The number of ids that the next partition gets: as many as the log draws in one term at its recent rate, without skipped ids.
-- It is at most twice the previous number, so that one burst does not make a partition that lasts for years.
create or replace function pubsub.next_span() returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    -- Ids have 64 bits: ten million unused ones a day would last for two billion years.
    least_span  constant bigint := 10000000;
    most_span   constant bigint := 1000000000;
    -- The rate is an average over this time, or longer.
    observation constant interval := interval '1 hour';
    term        constant interval := coalesce(pubsub.partition_term(), interval '1 day');
    last_span   bigint;
    drawn       bigint;
    elapsed     interval;
    wanted      bigint;
begin
    select p.end_id - p.first_id into last_span from pubsub.partitions p order by p.end_id desc limit 1;
    select pubsub.log_sequence() - min(p.first_id) - sum(p.skipped),
           greatest(clock_timestamp() - min(p.opened_at), observation)
      into drawn, elapsed
      from pubsub.partitions p
     where p.opened_at >= coalesce(
               (select max(o.opened_at) from pubsub.partitions o where o.opened_at <= clock_timestamp() - observation),
               '-infinity'
           );
    wanted := ceil(drawn * extract(epoch from term) / extract(epoch from elapsed) / least_span) * least_span;
    return greatest(least_span, least(most_span, coalesce(wanted, 0), 2 * coalesce(last_span, 0)));
end
$$;

-- Makes partitions ahead, for at least `reserve` more ids. Returns how many it made. Does nothing if it would have to wait, and
-- raises lock_not_available only if the ids are about to run out.
create or replace function pubsub.ensure_partitions(reserve bigint default 30000000) returns integer
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    sequence constant bigint := pubsub.log_sequence();
    made     integer := 0;
    upto     bigint;
    span     bigint;
begin
    if not pg_try_advisory_xact_lock(hashtext('pubsub.maintenance'), 0) then
        return 0;
    end if;
    perform set_config('lock_timeout', '200ms', true);
    reserve := coalesce(reserve, 30000000);
    loop
        upto := coalesce((select max(p.end_id) from pubsub.partitions p), 0);
        exit when upto > sequence + reserve;
        begin
            span := pubsub.next_span();
            -- The table is created first and attached later, because `create table … partition of` would lock out publishers.
            execute format(
                'create table pubsub.db_events_%s (like pubsub.db_events including defaults including constraints)', upto
            );
            execute format(
                'alter table pubsub.db_events attach partition pubsub.db_events_%1$s for values from (%1$s) to (%2$s)',
                upto, upto + span
            );
            insert into pubsub.partitions (first_id, end_id) values (upto, upto + span);
        exception when lock_not_available then
            if upto < sequence + reserve / 3 then
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
    perform pubsub.require_first_in_transaction('pubsub.close_partitions');
    if not pg_try_advisory_xact_lock(hashtext('pubsub.maintenance'), 0) then
        return 0;
    end if;
    sequence := pubsub.log_sequence();
    perform pubsub.require_recognized();
    update pubsub.partitions p set opened_at = clock_timestamp() where p.opened_at is null and p.first_id <= sequence;
    update pubsub.partitions p set fence = pg_current_xact_id() where p.fence is null and p.end_id <= sequence + 1;
    update pubsub.partitions p
       set sealed_at = clock_timestamp()
     where p.sealed_at is null
       and p.fence <= pg_snapshot_xmin(pg_current_snapshot());
    get diagnostics sealed = row_count;
    return sealed;
end
$$;

-- Whether a partition has committed events of a channel.
create or replace function pubsub.has_events(partition pubsub.partitions, channel text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    found_one boolean;
begin
    execute format('select exists (select from pubsub.db_events_%s d where d.channel = $1)', partition.first_id)
       into found_one
      using channel;
    return found_one;
end
$$;

-- Closes a partition that has been in use for its term, so that a quiet log loses its old events too. Skips the remaining
-- ids, a part in each call. Returns how many. If no event ever leaves the log, partitions stay open.
--
-- The ids are drawn one by one. Setting the sequence to a value could set it back, because another session may have drawn more
-- ids in between.
create or replace function pubsub.skip_ids() returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    -- A call takes some 70 ms, and longer in a partition that would otherwise need more than 64 calls.
    least_part constant bigint := 200000;
    most_part  constant bigint := 2000000;
    partition  pubsub.partitions;
    rest       bigint;
    part       bigint;
begin
    if not pg_try_advisory_xact_lock(hashtext('pubsub.maintenance'), 0) then
        return 0;
    end if;
    select * into partition
      from pubsub.partitions p
     where p.opened_at <= clock_timestamp() - pubsub.partition_term()
       and p.end_id - 1 > pubsub.log_sequence()
     order by p.first_id
     limit 1;
    if not found or not exists (
        select from pubsub.channels c where c.retention is not null and pubsub.has_events(partition, c.name)
    ) then
        return 0;
    end if;
    rest := partition.end_id - 1 - pubsub.log_sequence();
    part := least(rest, greatest(least_part, least(most_part, rest / 64)));
    perform nextval('pubsub.db_events_id_seq') from generate_series(1, part);
    update pubsub.partitions p set skipped = p.skipped + part where p.first_id = partition.first_id;
    return part;
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
    here     pubsub.cursors;
    boundary pg_snapshot;
    advanced integer := 0;
begin
    perform pubsub.require_first_in_transaction('pubsub.advance_idle_cursors');
    perform pubsub.require_recognized();
    for held in
        select c.subscription, c.lane
          from pubsub.positions() c
          join pubsub.subscriptions s on s.id = c.subscription and s.suspended_at is null
         where exists (select from pubsub.partitions p where p.sealed_at is not null and not pubsub.has_claimed_all(c, p))
         order by random()
         limit most
    loop
        -- One process at a time.
        exit when not pg_try_advisory_xact_lock(hashtext('pubsub.maintenance'), 3);
        fence := pg_current_xact_id()::text::bigint;
        -- The locks of a claim: while they are held, neither the lane's position nor the number of lanes changes.
        continue when not pg_try_advisory_xact_lock_shared(hashtext('pubsub.lanes'), held.subscription)
            or not pg_try_advisory_xact_lock(hashtext('pubsub.claiming') + held.lane, held.subscription);
        select s.* into reader from pubsub.subscriptions s where s.id = held.subscription;
        select * into here
          from pubsub.cursors c
         where c.subscription = held.subscription and c.lane = held.lane
         order by c.subscription desc, c.lane desc, c.seq desc
         limit 1;
        continue when not found;
        boundary := pubsub.own_snapshot();
        continue when exists (
            select from pubsub.unread_events(here, reader.channel, reader.lanes, pubsub.all_visible(), floor, 1)
        );
        perform pubsub.place_cursor(here.subscription, here.lane, here.seq + 1, null, sequence, fence, boundary, null);
        advanced := advanced + 1;
    end loop;
    return advanced;
end
$$;

-- Publishers need the first partitions from the beginning.
select pubsub.ensure_partitions() where not exists (select from pubsub.partitions);
