-- The holders of xmin: transactions older than `older_than`, and the slots and standbys that are more than `xids` transaction
-- ids behind, oldest first. While they last, vacuum removes no row version that died after they began, anywhere in the
-- database. A transaction that has written holds the log's partitions too.
--   kind         session, prepared transaction, replication slot, or standby
--   name         the session's role, the owner of the prepared transaction, or the name of the slot
--   application  the session's application_name, the transaction's gid, or the slot's type
--   age          null for slots and standbys, whose age PostgreSQL does not know
--   xids_behind  transaction ids drawn since it began
create or replace function pubsub.xmin_holders(older_than interval, xids bigint default null)
returns table (
    kind text, name text, application text, client text, database text, pid integer, state text, age interval,
    xids_behind bigint
)
language sql volatile set search_path = pg_catalog, pg_temp begin atomic
    select h.kind, h.name, h.application, h.client, h.database, h.pid, h.state, h.age, h.xids_behind
      from (
          select 'session' as kind, a.usename::text as name, a.application_name as application,
                 coalesce(a.client_addr::text, 'local') as client, a.datname::text as database, a.pid, a.state,
                 clock_timestamp() - a.xact_start as age,
                 greatest(age(a.backend_xmin), age(a.backend_xid))::bigint as xids_behind
            from pg_stat_activity a
           where a.pid <> pg_backend_pid() and a.backend_type <> 'autovacuum worker'
             -- In another database of the cluster, only a transaction that has written matters.
             and (a.backend_xid is not null or a.backend_xmin is not null and a.datname = current_database())
             and a.xact_start < clock_timestamp() - older_than
          union all
          select 'prepared transaction', p.owner::text, p.gid, null, p.database::text, null, 'prepared',
                 clock_timestamp() - p.prepared, age(p.transaction)::bigint
            from pg_prepared_xacts p
           where p.prepared < clock_timestamp() - older_than
          union all
          select 'replication slot', r.slot_name::text, r.slot_type, null, r.database::text, r.active_pid,
                 case when r.active then 'active' else 'inactive' end, null, age(r.xmin)::bigint
            from pg_replication_slots r
           where age(r.xmin) > xids
          union all
          select 'standby', a.usename::text, a.application_name, coalesce(a.client_addr::text, 'local'), null, a.pid,
                 a.state, null, age(a.backend_xmin)::bigint
            from pg_stat_activity a
           where a.backend_type = 'walsender' and age(a.backend_xmin) > xids
      ) h
     order by h.xids_behind desc nulls last, h.age desc nulls last;
end;
