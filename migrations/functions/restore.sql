-- Where the log lives: telling a restore, an upgrade and a failover apart, and setting the cursors right after a restore.
--
-- A cursor compares transaction ids, so it means something only in the cluster that gave them, and in what has the same
-- history: a copy of its files. What may have happened to a database between two looks at it:
--   moved     its rows were read out and written into another database: dump and restore, a logical copy. Transaction ids
--             are others there, mostly lower, and what is published would look as if it had been read. Two rows of ours
--             tell: what wrote the first of them has a higher transaction id than what wrote the second, which no tool
--             that writes them again will repeat.
--   a life    has ended: the server crashed, a standby was promoted, the cluster was recovered to a point in time. Files
--             were copied, so the cursors hold. But what had been committed last may be gone, and numbers that were drawn
--             from sequences are drawn again: a process of before must not meet leases of after under a token that it
--             knows. An unlogged row of ours tells: every recovery empties such tables. Each life therefore begins its
--             numbers where none before it can have come.
--   upgraded  pg_upgrade keeps files and transaction ids, and only the cluster's identifier is new.
--
-- pubsub.rebase, which nobody needs in ordinary times, waits for publishers and keeps new ones waiting, for up to 10 s.

-- What a managed service may forbid is null.
create or replace function pubsub.system_identifier() returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select s.system_identifier from pg_control_system() s);
exception
    when insufficient_privilege or undefined_function or feature_not_supported then
        return null;
end
$$;

-- The timeline that is written to. Not the one in the control file, which the first checkpoint after a promotion notes.
create or replace function pubsub.timeline() returns integer
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer;
exception
    when insufficient_privilege or undefined_function or feature_not_supported then
        return null;
end
$$;

-- Writes the rows of pubsub.witness, so that they are at home here.
create or replace function pubsub.bear_witness() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from pubsub.witness;
    -- A block with an exception has a transaction id of its own, which is higher than ours.
    begin
        insert into pubsub.witness (n) values (1);
    exception
        when unique_violation then raise;
    end;
    insert into pubsub.witness (n) values (2);
end
$$;

-- Whether the log was moved: the rows of pubsub.witness were written again, both by one transaction or in their order.
create or replace function pubsub.was_moved() returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    -- Modulo 2^32, as transaction ids are compared.
    select coalesce(
        (
            select (one.xmin::text::bigint - two.xmin::text::bigint + 4294967296) % 4294967296 not between 1 and 2147483648
              from pubsub.witness one, pubsub.witness two
             where one.n = 1 and two.n = 2
        ),
        true
    );
end;

-- Whether all of the log is here. No while it is being restored.
create or replace function pubsub.is_complete() returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select c.relispopulated from pg_class c where c.oid = 'pubsub.arrival'::regclass;
end;

-- The life that the server is in, if the log is known to be at home in it.
create or replace function pubsub.known_life() returns bigint
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
    select l.life
      from pubsub.lives l
     where not pubsub.was_moved()
       and l.system_identifier is not distinct from pubsub.system_identifier();
end;

-- Lets a sequence go on at `at_least`, or a little above where it is.
create or replace function pubsub.leap(sequence regclass, at_least bigint, stride bigint) returns bigint
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
    select setval(sequence, greatest(coalesce(pg_sequence_last_value(sequence), 0) + stride, at_least));
end;

-- Begins a life: from here on, no number is drawn that may have been drawn before and forgotten. Returns the life, and
-- what has happened, in words. The caller holds the lock of pubsub.recognize.
--
-- Tokens go on at the present microsecond, and process ids at the present second: neither is drawn that fast, so whatever
-- was drawn earlier, in whatever history, is lower. Ids of subscriptions are few, and skip a thousand.
create or replace function pubsub.begin_life() returns table (life bigint, news text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    seconds  constant double precision := extract(epoch from clock_timestamp());
    cluster  constant bigint := pubsub.system_identifier();
    line     constant integer := pubsub.timeline();
    home     pubsub.home;
begin
    select * into home from pubsub.home;
    life := pubsub.leap('pubsub.leases_token_seq', (seconds * 1000000)::bigint, 1000000);
    perform pubsub.leap('pubsub.processes_id_seq', seconds::bigint, 1000);
    perform pubsub.leap('pubsub.subscriptions_id_seq', 0, 1000);
    delete from pubsub.lives;
    insert into pubsub.lives (life, system_identifier) values (begin_life.life, cluster);
    update pubsub.home
       set system_identifier = cluster,
           timeline = line,
           noted_at = clock_timestamp();
    news := case
        when home.system_identifier <> cluster then 'the cluster was upgraded'
        when home.timeline <> line then format(
            'a standby was promoted, or the cluster was recovered to a point in time: timeline %s became %s; what was '
            'committed and had not arrived there is lost', home.timeline, line
        )
        else 'the server was restarted after a crash'
    end;
    return next;
end
$$;

-- The snapshot in which everything is visible.
create or replace function pubsub.all_visible() returns pg_snapshot
language sql immutable parallel safe
return '9223372036854775807:9223372036854775807:'::pg_snapshot;

-- Whether pubsub.rebase would let nothing be delivered that was claimed before. It cannot tell an event that came to the log
-- while a window was opened, and was claimed in that window, from one that was published after the restore.
create or replace function pubsub.rebase_is_exact() returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    floor    constant bigint := pubsub.log_floor();
    position pubsub.cursors;
    ahead    record;
begin
    for position in
        select c.* from pubsub.positions() c order by c.subscription, c.lane
    loop
        select * into ahead from pubsub.unread(position, pubsub.all_visible(), floor);
        if ahead.below < position.window_position and position.window_position < position.read_sequence
           or exists (
               select
                 from pubsub.subscriptions s
                 join pubsub.db_events d on d.channel = s.channel
                where s.id = position.subscription
                  and pubsub.lane_of(d.key, d.id, s.lanes) = position.lane
                  and d.id > greatest(ahead.above, floor)
                  and (
                        pg_visible_in_snapshot(d.xid, position.read_snapshot)
                        or pubsub.is_behind(d.xid, d.id, position.window_snapshot, position.window_position, floor)
                    )
           )
        then
            return false;
        end if;
    end loop;
    return true;
end
$$;

-- After the log was moved to another cluster: what is closed is sealed, for whoever was publishing there is not here, and
-- its fence is the lowest that there is, for the transaction ids of its events say nothing any more.
create or replace function pubsub.forget_fences() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    update pubsub.partitions p
       set fence = (pubsub.origin_fence() + 1)::text::xid8,
           sealed_at = coalesce(p.sealed_at, clock_timestamp())
     where p.fence is not null;
end
$$;

-- Sets every cursor right after the log was moved to another cluster: each subscription goes on with what it had not
-- claimed, and with what was published since. Returns how many positions were set. Delivered a second time is what had come
-- to the log in the moment in which the last window was opened, if it was claimed in that window; and where a move was
-- no move, it does no other harm.
--
-- With nobody publishing, every event of the log is final. So a window is written for each position: the ids that its
-- cursor had not reached, whatever their transaction ids say, and what its stragglers left, by the ids they had in their
-- own cluster. From the log's present end on, ids and transaction ids are this cluster's.
create or replace function pubsub.rebase() returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '10s'
as $$
declare
    old_floor bigint;
    new_floor bigint;
    fence     bigint;
    boundary  pg_snapshot;
    position  pubsub.cursors;
    ahead     record;
    rebased   bigint := 0;
begin
    perform pg_advisory_xact_lock(hashtext('pubsub.maintenance'), 1);
    perform pg_advisory_xact_lock(hashtext('pubsub.lanes'), s.id), pg_advisory_xact_lock(hashtext('pubsub.claiming'), s.id)
       from (select s.id from pubsub.subscriptions s order by s.id) s;
    lock table pubsub.db_events in share mode;

    -- A logical copy leaves the sequence behind.
    select greatest(
               pubsub.log_sequence(),
               (select max(greatest(c.read_sequence, c.window_sequence, c.window_end)) from pubsub.cursors c),
               (select max(newest.id)
                  from pubsub.channels n
                 cross join lateral (
                     select d.id from pubsub.db_events d where d.channel = n.name order by d.channel desc, d.id desc limit 1
                 ) newest)
           )
      into new_floor;
    -- Whoever calls says that nothing more will come.
    if not pubsub.is_complete() then
        refresh materialized view pubsub.arrival;
    end if;
    if new_floor > pubsub.log_sequence() then
        perform setval('pubsub.db_events_id_seq', new_floor);
    end if;
    old_floor := pubsub.log_floor();
    fence := pg_current_xact_id()::text::bigint;
    boundary := pubsub.own_snapshot();
    for position in
        select c.* from pubsub.positions() c order by c.subscription, c.lane
    loop
        select * into ahead from pubsub.unread(position, pubsub.all_visible(), old_floor);
        insert into pubsub.cursors (
            subscription, lane, seq, read_snapshot, read_sequence, read_fence, window_snapshot, window_sequence, window_fence,
            window_end, window_stragglers, window_position
        )
        values (
            position.subscription, position.lane, position.seq + 1, pubsub.none_visible(), ahead.above, pubsub.origin_fence(), boundary,
            new_floor, fence, new_floor, ahead.stragglers,
            case when ahead.stragglers is null then ahead.above else ahead.below end
        );
        rebased := rebased + 1;
    end loop;
    -- They speak of the other cluster's transaction ids.
    delete from pubsub.replays;
    perform pubsub.forget_fences();
    perform pubsub.bear_witness();
    update pubsub.home set floor = new_floor;
    perform pubsub.begin_life();
    perform pg_notify('pubsub', s.channel) from (select distinct s.channel from pubsub.subscriptions s) s;
    return rebased;
end
$$;

-- Looks where the log is. Returns the life that the server is in, and, to whoever is the first to see it, what has
-- happened, in words. If the log was moved, it is rebased, provided that this is exact and `rebases`; or else PB005 is
-- raised.
create or replace function pubsub.recognize(rebases boolean default true) returns table (life bigint, news text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    moved   boolean;
    rebased bigint;
begin
    life := pubsub.known_life();
    if life is null then
        perform pg_advisory_xact_lock(hashtext('pubsub.maintenance'), 1);
        life := pubsub.known_life();
    end if;
    if life is null then
        moved := pubsub.was_moved();
        if moved and not pubsub.is_complete() then
            raise exception using
                errcode = 'PB005',
                message = 'the log is being restored here, and is not complete yet',
                hint = 'Wait for the end of the restore. If it has ended, its tool has left out materialized views: '
                    || 'run pubsub::rebase, or "select pubsub.rebase()".';
        end if;
        if moved and not (rebases and pubsub.rebase_is_exact()) then
            raise exception using
                errcode = 'PB005',
                message = 'the log was moved here from another cluster, and reading on might skip events',
                hint = 'Run pubsub::rebase, or "select pubsub.rebase()": every event that was not claimed is delivered, and '
                    || 'a few that were may be delivered again.';
        end if;
        if moved then
            rebased := pubsub.rebase();
            life := pubsub.known_life();
            news := format('the log was moved here from another cluster; %s positions were rebased', rebased);
        else
            select b.life, b.news into life, news from pubsub.begin_life() b;
        end if;
    end if;
    perform set_config('pubsub.home', 'pubsub.witness'::regclass::oid::text, false);
    return next;
end
$$;

-- Raises PB005 if the log was moved and not rebased, and begins a life if none has begun. A session looks once: no session
-- lives through the end of a life, or moves with the log.
create or replace function pubsub.require_home() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('pubsub.home', true) is distinct from 'pubsub.witness'::regclass::oid::text then
        perform pubsub.recognize(rebases => false);
    end if;
end
$$;

-- The log is at home where it is installed.
do $$
begin
    if not exists (select from pubsub.home) then
        perform pubsub.bear_witness();
        insert into pubsub.home (system_identifier, timeline)
        values (pubsub.system_identifier(), pubsub.timeline());
        insert into pubsub.lives (life, system_identifier)
        select 0, h.system_identifier from pubsub.home h;
    end if;
end
$$;
