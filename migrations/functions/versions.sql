-- Versions of payloads: with what shape each was declared, and events that are newer than those whom they reach.
--
-- An event whose version a process does not know is not for it, and for no attempt to count: it goes to the mailbox (action
-- too_new of pubsub.settle), where `needs` keeps it from all who know less. They neither claim it nor look at it, for it is
-- in an index of its own (docs/decisions/0020-versions.md).

-- The newest of all versions: what a process knows that says nothing.
create or replace function pubsub.any_version() returns integer
language sql immutable parallel safe
return 2147483647;

-- Says with what shape a process knows a version of a channel. Returns when it was declared with another shape, if that
-- was the last time; otherwise null. It is not an error: whoever adds an optional field makes another shape of it.
create or replace function pubsub.declare_version(channel text, version integer, fingerprint bigint) returns timestamptz
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    declared pubsub.channel_versions;
begin
    select * into declared
      from pubsub.channel_versions v
     where v.channel = declare_version.channel and v.version = declare_version.version;
    if declared.fingerprint = declare_version.fingerprint then
        return null;
    end if;
    perform pubsub.require_declared(channel);
    insert into pubsub.channel_versions (channel, version, fingerprint)
    values (declare_version.channel, declare_version.version, declare_version.fingerprint)
    on conflict on constraint channel_versions_pkey do update
       set fingerprint = excluded.fingerprint,
           declared_at = excluded.declared_at;
    return declared.declared_at;
end
$$;
