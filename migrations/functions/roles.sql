-- Rights: the audience of every function and view, and the grants to roles.
--
-- Nothing in this schema is open to all roles. A function that other roles may call acts with its owner's rights. So other
-- roles need no rights on tables, except that publishers insert into the log. The administrator of the cluster creates the
-- roles, and pubsub.grant_rights takes any role that exists.
--
-- The owner is the role that migrates. A function or a view for other roles is listed in pubsub.audiences, below.
-- tests/it/roles/privileges.rs has the whole matrix, and fails for a function or view that is not in it. This file is installed
-- last.

-- Revokes the rights that others have on objects of the schema's owner: a function is open to all unless it is closed, and default
-- privileges open any new object to any role.
--   only_role    leaves those of other roles
--   created_by   leaves objects that another transaction has created or replaced
--   only_object  leaves everything but this relation
create or replace function pubsub.close_objects(
    only_role name default null, created_by xid default null, only_object regclass default null
) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    opened record;
begin
    for opened in
        select distinct o.kind || o.name as object, case when g.grantee = 0 then 'public' else quote_ident(r.rolname) end as role
          from (
              select 'routine ' as kind, p.oid::regprocedure::text as name, p.oid, p.xmin, p.proowner as owner,
                     coalesce(p.proacl, acldefault('f', p.proowner)) as acl
                from pg_proc p
               where p.pronamespace = 'pubsub'::regnamespace and only_object is null
              union all
              select case c.relkind when 'S' then 'sequence ' else '' end, c.oid::regclass::text, c.oid, c.xmin, c.relowner, rights.acl
                from pg_class c
               cross join lateral (
                   select c.relacl as acl union all select a.attacl from pg_attribute a where a.attrelid = c.oid
               ) rights
               where c.relnamespace = 'pubsub'::regnamespace and c.oid is not distinct from coalesce(only_object, c.oid)
              union all
              select 'schema ', n.nspname, n.oid, n.xmin, n.nspowner, n.nspacl from pg_namespace n
               where n.nspname = 'pubsub' and only_object is null
          ) o
          join pg_class log on log.oid = 'pubsub.db_events'::regclass and log.relowner = o.owner
         cross join lateral aclexplode(o.acl) g
          left join pg_roles r on r.oid = g.grantee
         where g.grantee <> o.owner and coalesce(r.rolname, 'public') = coalesce(only_role, r.rolname, 'public')
           and o.xmin = coalesce(created_by, o.xmin)
    loop
        execute format('revoke all on %s from %s cascade', opened.object, opened.role);
    end loop;
end
$$;

-- Grants a role the rights of the audiences that are recorded for it: on the functions and views that pubsub.audiences lists for them,
-- and on the schema and its tables as far as the audiences need them.
create or replace function pubsub.grant_recorded(role name) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    audiences constant text[] := array(select g.audience from pubsub.grants g where g.role = grant_recorded.role);
    rights    text;
begin
    for rights in
        select 'usage on schema pubsub'
        union all
        select format('execute on routine %s', p.oid::regprocedure)
          from pg_proc p
          join pubsub.audiences a on a.object = p.oid::regprocedure::text and a.audience = any (audiences)
         where p.pronamespace = 'pubsub'::regnamespace
        union all
        select format('select on %s', c.oid::regclass) from pg_class c
         where c.relnamespace = 'pubsub'::regnamespace
           and (
               c.relkind = 'v'
               and exists (select from pubsub.audiences a where a.object = c.relname and a.audience = any (audiences))
               or c.relname = 'schema_history' and audiences && '{subscriber, observer}'
           )
        union all
        -- The columns xid, id and published_at are left out, because a publisher that chose them could make cursors skip events.
        -- The server draws the id for a publisher. With rights on the sequence, one could use up the ids of all.
        select unnest('{
            "insert (channel, key, payload, headers, version, fingerprint) on pubsub.db_events", "select (id) on pubsub.db_events"
        }'::text[])
         where 'publisher' = any (audiences)
    loop
        execute format('grant %s to %I', rights, role);
    end loop;
end
$$;

-- Revokes every right that a role was granted in this schema. The role keeps the rights that it has as a member of other roles.
create or replace function pubsub.revoke_rights(role name) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    delete from pubsub.grants g where g.role = revoke_rights.role;
    perform pubsub.close_objects(role);
end
$$;

-- Records that a role has the rights of an audience. It has the rights of its recorded audiences afterwards, and no others. This
-- first closes what a restore without rights, or default privileges, have opened.
create or replace function pubsub.grant_rights(role name, audience text) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    audiences constant text[] := array(select g.audience from pubsub.grants g where g.role = grant_rights.role);
begin
    -- `public` is refused, because `grant .. to "public"` would be a grant to all roles.
    if not exists (select from pg_roles r where r.rolname = grant_rights.role) then
        raise exception using errcode = 'undefined_object',
            message = regexp_replace(format('role "%s" does not exist', role), '[\u0001-\u001f\u007f-\u009f]', '?', 'g');
    elsif audience is null or audience not in ('publisher', 'subscriber', 'observer') then
        raise exception using errcode = 'invalid_parameter_value',
            message = regexp_replace(format('"%s" is not an audience', coalesce(audience, 'null')), '[\u0001-\u001f\u007f-\u009f]', '?', 'g'),
            hint = 'The audiences are publisher, subscriber and observer.';
    end if;
    -- If the functions are open to all, everything that was granted is lost.
    if exists (
        select
          from pg_proc p
          join pubsub.audiences a on a.object = p.oid::regprocedure::text
         cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) g
         where g.grantee = 0
    ) then
        perform pubsub.close_objects('public');
        perform pubsub.grant_recorded(r.rolname) from pg_roles r where r.rolname in (select g.role from pubsub.grants g);
    end if;
    perform pubsub.revoke_rights(role);
    insert into pubsub.grants (role, audience)
    select distinct grant_rights.role, a from unnest(audiences || grant_rights.audience) a;
    perform pubsub.grant_recorded(role);
end
$$;

-- Applies pubsub.audiences to what this transaction has created or replaced: closes it to all roles, makes the functions of an
-- audience act with their owner's rights, and grants them to the roles that the audience is recorded for. Other functions in this
-- schema are somebody else's, even those that share a name with ours.
create or replace function pubsub.apply_audiences() returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    log_owner constant regrole := (select c.relowner from pg_class c where c.oid = 'pubsub.db_events'::regclass);
    current   constant xid := pg_current_xact_id()::xid;
    other     record;
    missing   text;
    routine   record;
begin
    -- A function with the rights of another owner would fail at the tables, or have more rights than it needs.
    select o.name, o.owner into other
      from (
          select p.oid::regprocedure::text, p.proowner::regrole from pg_proc p
           where p.pronamespace = 'pubsub'::regnamespace and p.xmin = current
          union all
          select c.oid::regclass::text, c.relowner::regrole from pg_class c
           where c.relnamespace = 'pubsub'::regnamespace and c.xmin = current
      ) o (name, owner)
     where o.owner <> log_owner
     limit 1;
    if found then
        raise exception using errcode = 'invalid_object_definition',
            message = format('%s belongs to %s, and the log to %s', other.name, other.owner, log_owner),
            hint = 'One role owns the whole schema: migrate as the role that migrated first.';
    end if;
    -- From here on, the signature of a function stands for it, and not its name.
    update pubsub.audiences a set object = p.oid::regprocedure::text
      from pg_proc p
     where p.pronamespace = 'pubsub'::regnamespace and p.xmin = current and p.proname = a.object;
    select a.object into missing from pubsub.audiences a
     where a.object not like '%(%' and to_regclass('pubsub.' || a.object) is null;
    if found then
        raise exception using errcode = 'undefined_function',
            message = format('this transaction has not created pubsub.%s', missing),
            hint = 'Run all files of functions in one transaction.';
    end if;
    for routine in
        select p.oid::regprocedure as signature,
               p.prorettype = 'trigger'::regtype
                   or exists (select from pubsub.audiences a where a.object = p.oid::regprocedure::text) as is_for_others,
               coalesce(p.proconfig @> array['search_path=pg_catalog, pg_temp'], false) as is_pinned
          from pg_proc p
         where p.pronamespace = 'pubsub'::regnamespace and p.xmin = current
    loop
        if routine.is_for_others and not routine.is_pinned then
            raise exception using errcode = 'invalid_function_definition',
                message = format('%s is for others and does not set its search_path', routine.signature);
        elsif routine.is_for_others then
            execute format('alter routine %s security definer', routine.signature);
        end if;
    end loop;
    perform pubsub.close_objects(created_by => current);
    perform pubsub.grant_recorded(r.rolname) from pg_roles r where r.rolname in (select g.role from pubsub.grants g);
end
$$;

-- Refuses new arguments of a function that is for other roles: the one with the old arguments is still there, and a call could mean
-- either.
do $$
declare
    changed text;
begin
    select p.proname into changed
      from pg_proc p
      join pubsub.audiences a on a.object = p.oid::regprocedure::text
      join pg_proc s on s.pronamespace = p.pronamespace and s.proname = p.proname and s.xmin = pg_current_xact_id()::xid
     where p.pronamespace = 'pubsub'::regnamespace and s.oid <> p.oid;
    if found then
        raise exception 'the arguments of pubsub.% have changed: it needs a new name', changed;
    end if;
end
$$;

-- The functions and views that are for other roles than the owner.
delete from pubsub.audiences;

insert into pubsub.audiences (object, audience)
select object, 'publisher' from unnest('{list_schemas, publish, publish_all_once, publish_once}'::text[]) object
union all
select object, 'subscriber' from unnest('{
    absent_processes, advance_idle_cursors, are_settled, beat, claim, claim_mailbox, close_partitions, declare_channel,
    declare_schema, declare_version, detach_partition, drop_partition, ensure_partitions, forget_dedupe_keys, lag,
    leave, list_dead_letters, list_schemas, next, next_due, next_removal, no_publisher_at_work, poll,
    purge_dead_letters, reclaim, reclaim_strays, recognize, redrive, register_process, removal_steps, report_awake, resume,
    return_unknown, seek, set_dedupe_window, set_retention, set_unread_limit, settle, settle_in, skip_ids, start_waiting,
    stop_running, stop_waiting, subscribe, suspend_unread, tidy, unread_subscriptions, unsubscribe, xmin_holders
}'::text[]) object
union all
select object, 'observer' from unnest('{
    absent_processes, count_unread, lag, list_schemas, observed_dead_letters, observed_lanes, observed_leases,
    observed_mailbox, observed_processes, observed_subscriptions, observed_waiters, unread_subscriptions, xmin_holders
}'::text[]) object;

select pubsub.apply_audiences();

-- Publishers need the first partitions from the beginning.
select pubsub.ensure_partitions() where not exists (select from pubsub.partitions);
