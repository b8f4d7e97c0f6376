-- The log's identity: telling a restore, an upgrade and a failover apart, and setting the cursors right after a restore.
--
-- A cursor compares transaction ids. They mean something only in the cluster that assigned them, and in a copy of its files.
-- Three things can happen to a database between two sessions:
--   it is moved           Its rows are read out and written into another database: dump and restore, a logical copy. There,
--                         transaction ids are different and usually lower, and new events would look as if they had been
--                         read. The two rows of pubsub.log_identity show it: the first was written under a higher
--                         transaction id than the second. No tool that writes them again repeats that.
--   it is recovered       The server crashed, a standby was promoted, or the cluster was recovered to a point in time. Files
--                         were copied, so the cursors hold. But the last commits may be lost, and numbers that were drawn
--                         from sequences are drawn again. The unlogged table pubsub.incarnations shows it: every recovery
--                         empties such tables. A new incarnation begins its numbers above those of all before it, so that
--                         no process takes a lease of this one for one that it had in the last.
--   it is upgraded        pg_upgrade keeps files and transaction ids. Only the cluster's identifier is new.
--
-- pubsub.rebase waits for publishers and keeps new ones waiting, for up to 10 s. Ordinary operation never calls it.

-- The cluster's identifier, and the timeline that it writes. Null is unknown: some managed services refuse to tell, each with an
-- error of its own.
create or replace function pubsub.cluster(out system_identifier bigint, out timeline integer)
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    begin
        select s.system_identifier into system_identifier from pg_control_system() s;
    exception when others then null;
    end;
    begin
        -- The control file names the new timeline only after the first checkpoint that follows a promotion.
        timeline := ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer;
    exception when others then null;
    end;
end
$$;

-- Writes both rows of pubsub.log_identity. From then on the log belongs to this cluster.
create or replace function pubsub.write_identity(floor bigint) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    delete from pubsub.log_identity;
    -- A block with an exception handler is a subtransaction. Its id is higher than that of the transaction around it.
    begin
        insert into pubsub.log_identity (marker, floor, system_identifier, timeline)
        select 1, write_identity.floor, c.system_identifier, c.timeline from pubsub.cluster() c;
    exception when unique_violation then raise;
    end;
    insert into pubsub.log_identity (marker, floor, system_identifier, timeline)
    select 2, i.floor, i.system_identifier, i.timeline from pubsub.log_identity i;
end
$$;

-- The state of the log and of the server, as the database shows it.
--   is_moved     the log was moved here from another cluster, and not rebased. Cursors that were replicated into a copy of the
--                files are looked for when an incarnation begins. Each claim looks at its own (pubsub.open_window)
--   incarnation  the server's incarnation; null if none is recorded since its last recovery, or if the log was moved or
--                upgraded
create or replace function pubsub.log_state(out is_moved boolean, out incarnation bigint)
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    -- Modulo 2^32, as PostgreSQL compares transaction ids.
    is_moved := coalesce((
        select (one.xmin::text::bigint - two.xmin::text::bigint + 4294967296) % 4294967296 not between 1 and 2147483648
          from pubsub.log_identity one, pubsub.log_identity two
         where one.marker = 1 and two.marker = 2
    ), true);
    if not is_moved then
        select i.incarnation into incarnation
          from pubsub.incarnations i
          join pubsub.log_identity l on l.marker = 1
          join pubsub.cluster() c on (c.system_identifier <> l.system_identifier) is not true;
        is_moved := incarnation is null and exists (
            select
              from pubsub.positions() p
              join pubsub.cursors c on (c.subscription, c.lane, c.seq) = (p.subscription, p.lane, p.seq)
             where pubsub.is_foreign(c.writer, c.xmin)
                or c.read_sequence > pubsub.log_sequence()
               and pg_snapshot_xmax(c.read_snapshot) > pg_snapshot_xmax(pubsub.none_visible())
        );
    end if;
end
$$;

-- Begins an incarnation: no number is drawn in it that may have been drawn before and forgotten. Returns it, and what has
-- happened, in words. The caller holds the lock of pubsub.recognize.
--
-- Tokens and process ids continue at the present microsecond. Neither is drawn as fast as the clock runs, so every number drawn
-- earlier, in any history, is lower. Ids of subscriptions are few, and skip a thousand.
create or replace function pubsub.begin_incarnation(floor bigint) returns table (incarnation bigint, news text)
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    present constant bigint := extract(epoch from clock_timestamp()) * 1000000;
    before  pubsub.log_identity;
    here    record;
begin
    select * into before from pubsub.log_identity i where i.marker = 1;
    incarnation := setval('pubsub.leases_token_seq', greatest(
        present, coalesce(pg_sequence_last_value('pubsub.leases_token_seq'), 0) + 1000000
    ));
    perform setval('pubsub.processes_id_seq', greatest(
                present, coalesce(pg_sequence_last_value('pubsub.processes_id_seq'), 0) + 1000
            )),
            setval('pubsub.subscriptions_id_seq', coalesce(pg_sequence_last_value('pubsub.subscriptions_id_seq'), 0) + 1000);
    delete from pubsub.incarnations;
    insert into pubsub.incarnations (incarnation) values (begin_incarnation.incarnation);
    perform pubsub.write_identity(floor);
    select * into here from pubsub.cluster();
    news := case
        when before.system_identifier <> here.system_identifier then 'the cluster was upgraded'
        when before.timeline <> here.timeline then format(
            'a standby was promoted, or the cluster was recovered to a point in time: timeline %s became %s; what was '
            'committed and had not arrived there is lost', before.timeline, here.timeline
        )
        else 'the server was restarted after a crash'
    end;
    return next;
end
$$;

-- Corrects every cursor after the log was moved to another cluster. Each subscription continues with the events that it had not
-- claimed, and with the events that were published since. Returns how many positions were set. Events that were committed and
-- claimed while a subscription's last window was being opened are delivered again. If the log was not moved, a rebase has no
-- other effect.
--
-- No publisher is active meanwhile, so every event of the log is final. Each position becomes a window. It has the ids that its
-- cursor had not reached, whatever their transaction ids, and the events of its stragglers, by their transaction ids in the
-- previous cluster. After the present end of the log, ids and transaction ids belong to this cluster.
create or replace function pubsub.rebase() returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp set lock_timeout = '10s' as $$
declare
    old_floor bigint;
    new_floor bigint;
    fence     bigint;
    boundary  pg_snapshot;
    rebased   bigint;
begin
    -- Publishers wait until the caller's transaction ends. One that is left open is ended.
    perform set_config('idle_in_transaction_session_timeout', '1s', true);
    perform pg_advisory_xact_lock(hashtext('pubsub.maintenance'), 1);
    perform pg_advisory_xact_lock(hashtext('pubsub.lanes'), s.id), pg_advisory_xact_lock(hashtext('pubsub.claiming'), s.id)
       from (select s.id from pubsub.subscriptions s order by s.id) s;
    lock table pubsub.db_events in share mode;

    -- A logical copy does not copy the sequence.
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
    perform setval('pubsub.db_events_id_seq', new_floor) where new_floor > pubsub.log_sequence();
    -- The caller asserts that the restore is complete.
    if exists (select from pg_class c where c.oid = 'pubsub.restore_marker'::regclass and not c.relispopulated) then
        refresh materialized view pubsub.restore_marker;
    end if;
    old_floor := pubsub.log_floor();
    fence := pg_current_xact_id()::text::bigint;
    boundary := pubsub.own_snapshot();
    insert into pubsub.cursors (
        subscription, lane, seq, read_snapshot, read_sequence, read_fence, window_snapshot, window_sequence, window_fence,
        window_end, window_stragglers, window_position
    )
    select c.subscription, c.lane, c.seq + 1, pubsub.none_visible(), u.above,
           pg_snapshot_xmax(pubsub.none_visible())::text::bigint, boundary, new_floor, fence, new_floor, u.stragglers,
           case when u.stragglers is null then u.above else u.below end
      from pubsub.positions() c
      join pubsub.subscriptions s on s.id = c.subscription
     cross join lateral pubsub.unread(c, s.channel, pubsub.all_visible(), old_floor) u;
    get diagnostics rebased = row_count;
    -- The replays have snapshots of the other cluster.
    delete from pubsub.replays;
    -- The other cluster's publishers have ended, so a closed partition is sealed. Its fence becomes the lowest transaction id.
    update pubsub.partitions p
       set fence = (pg_snapshot_xmax(pubsub.none_visible())::text::bigint + 1)::text::xid8,
           sealed_at = coalesce(p.sealed_at, clock_timestamp())
     where p.fence is not null;
    perform pubsub.begin_incarnation(new_floor);
    perform pg_notify('pubsub', s.channel) from (select distinct s.channel from pubsub.subscriptions s) s;
    return rebased;
end
$$;

-- Finds out what has happened to the log. Returns the server's incarnation, and, to the first caller who sees it, what has
-- happened, in words. A log that was moved is rebased, if that is exact and `rebases` is set. Otherwise it raises PB005.
create or replace function pubsub.recognize(rebases boolean default true) returns table (incarnation bigint, news text)
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    floor    constant bigint := pubsub.log_floor();
    state    record;
    is_exact boolean := false;
    rebased  bigint;
begin
    select * into state from pubsub.log_state();
    if state.incarnation is null then
        perform pg_advisory_xact_lock(hashtext('pubsub.maintenance'), 1);
        select * into state from pubsub.log_state();
    end if;
    incarnation := state.incarnation;
    if state.is_moved then
        if exists (select from pg_class c where c.oid = 'pubsub.restore_marker'::regclass and not c.relispopulated) then
            raise exception using errcode = 'PB005', constraint = 'PB005',
                message = 'the log is being restored here, and is not complete yet',
                hint = 'Wait for the end of the restore. If it has ended, its tool has left out materialized views: '
                    || 'run pubsub::admin::rebase, or "select pubsub.rebase()".';
        end if;
        -- A rebase is exact if it delivers no event again. It cannot distinguish two kinds of events: those that were committed and
        -- claimed while their window was being opened, and those that were published after the move.
        if rebases then
            is_exact := not exists (
                select
                  from pubsub.positions() c
                  join pubsub.subscriptions s on s.id = c.subscription
                 cross join lateral pubsub.unread(c, s.channel, pubsub.all_visible(), floor) ahead
                 where ahead.below < c.window_position and c.window_position < c.read_sequence
                    or exists (
                           select from pubsub.db_events d
                            where d.channel = s.channel and d.id > greatest(ahead.above, floor)
                              and pubsub.lane_of(d.key, d.id, s.lanes) = c.lane and not pubsub.is_unread(c, d.xid, d.id, floor)
                       )
            );
        end if;
        if not is_exact then
            raise exception using errcode = 'PB005', constraint = 'PB005',
                message = 'the log was moved here from another cluster, and reading on might skip events',
                hint = 'Run pubsub::admin::rebase, or "select pubsub.rebase()": every event that was not claimed is '
                    || 'delivered, and a few that were may be delivered again.';
        end if;
        rebased := pubsub.rebase();
        incarnation := (pubsub.log_state()).incarnation;
        news := format('the log was moved here from another cluster; %s positions were rebased', rebased);
    elsif incarnation is null then
        select b.incarnation, b.news into incarnation, news from pubsub.begin_incarnation(pubsub.log_floor()) b;
    end if;
    perform set_config('pubsub.recognized', 'pubsub.log_identity'::regclass::oid::text, false);
    return next;
end
$$;

-- Raises PB005 if the log was moved and not rebased, and begins an incarnation if none has begun. Each session asks once: no
-- session survives the end of an incarnation, or moves with the log.
create or replace function pubsub.require_recognized() returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    if current_setting('pubsub.recognized', true) is distinct from 'pubsub.log_identity'::regclass::oid::text then
        perform pubsub.recognize(rebases => false);
    end if;
end
$$;

-- The log belongs to the cluster in which it is installed. Process ids begin at random, so that no delivery of another database
-- is taken for one of this, when a handler settles it in the wrong transaction. Those of later incarnations are higher.
do $$
begin
    if not exists (select from pubsub.log_identity) then
        perform pubsub.write_identity(0);
        perform setval('pubsub.processes_id_seq', 1 + floor(random() * 1000000000)::bigint)
          where pg_sequence_last_value('pubsub.processes_id_seq') is null;
        insert into pubsub.incarnations (incarnation) values (0);
    end if;
end
$$;
