-- Versions of payloads.
--
-- A process settles an event whose version it does not know with the action too_new (pubsub.settle). The event goes to the
-- mailbox, and the attempt does not count. There `needs` keeps it from all processes that know less: it has an index of its
-- own, which they do not read (docs/decisions/0020-versions.md).

-- Declares the shape that a version of a channel has for the caller. Returns when the version was last declared, if that was with
-- another shape; null otherwise. Another shape is no error: an added optional field makes one.
create or replace function pubsub.declare_version(channel text, version integer, fingerprint bigint) returns timestamptz
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    declared pubsub.channel_versions;
begin
    select * into declared from pubsub.channel_versions v
     where v.channel = declare_version.channel and v.version = declare_version.version;
    if declared.fingerprint = declare_version.fingerprint then
        return null;
    end if;
    perform pubsub.require_declared(channel);
    insert into pubsub.channel_versions (channel, version, fingerprint, declared_at)
    values (declare_version.channel, declare_version.version, declare_version.fingerprint, clock_timestamp())
    on conflict on constraint channel_versions_pkey do update
       set fingerprint = excluded.fingerprint, declared_at = excluded.declared_at;
    return declared.declared_at;
end
$$;
