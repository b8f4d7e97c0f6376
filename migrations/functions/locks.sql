-- The advisory locks of this schema.
--
-- They live in the two-integer space, under classes of our own ('psb1', 'psb2', 'psb3' as ASCII).

-- Class of the lock that publishers share, per hash of the channel's name, until they commit.
create or replace function pubsub.publishing_lock_class() returns integer
language sql immutable parallel safe
return 1886609969;

-- Class of the lock that serializes the claims of one lane of one subscription ('psl' and the lane's number).
create or replace function pubsub.claiming_lock_class(lane integer default 0) returns integer
language sql immutable parallel safe
return 1886612480 + lane;

-- Class of the lock, per subscription, that claims share, and that whoever changes the number of lanes wants alone.
create or replace function pubsub.lanes_lock_class() returns integer
language sql immutable parallel safe
return 1886609970;

-- Class of the lock of maintenance that must not run twice at once.
create or replace function pubsub.maintenance_lock_class() returns integer
language sql immutable parallel safe
return 1886609971;
