//! The privilege matrix: the rights of each role on every function and relation, read from the catalog.

use pubsub_tests::OwnedDatabase;

/// Every function, view, table and sequence of the schema. An object that is missing here fails the test: decide which
/// roles it is for, and add it to `pubsub.audiences` and to this list.
///
/// `owner's` marks the functions that run with their owner's rights. The others run with their caller's rights, and only
/// the owner may call them. Partitions of the log are not listed: no role may use them directly.
const MATRIX: &str = "
function absent_processes            owner's | subscriber: execute | observer: execute
function advance_idle_cursors        owner's | subscriber: execute
function after_publish               owner's
function all_visible
function apply_audiences
function are_settled                 owner's | subscriber: execute
function beat                        owner's | subscriber: execute
function begin_claim
function begin_incarnation
function bytes_of
function change_lanes
function claim                       owner's | subscriber: execute
function claim_context
function claim_mailbox               owner's | subscriber: execute
function close_objects
function close_partitions            owner's | subscriber: execute
function cluster
function confirm_lease               owner's
function count_missed
function count_seek
function count_unread                owner's | observer: execute
function declare_channel             owner's | subscriber: execute
function declare_schema              owner's | subscriber: execute
function declare_version             owner's | subscriber: execute
function described_deliveries
function detach_partition            owner's | subscriber: execute
function dispose
function drop_channel
function drop_partition              owner's | subscriber: execute
function end_process
function ensure_partitions           owner's | subscriber: execute
function enter_lane
function finished_stragglers
function first_of_key
function forget_dedupe_keys          owner's | subscriber: execute
function grant_recorded
function grant_rights
function has_claimed_all
function in_words
function is_behind
function is_foreign
function is_unread
function keep_partitions
function lag                         owner's | subscriber: execute | observer: execute
function lane_of
function lanes_for
function last_within
function leave                       owner's | subscriber: execute
function leaving_partitions
function list_dead_letters           owner's | subscriber: execute
function list_schemas                owner's | publisher: execute | subscriber: execute | observer: execute
function lock_due
function log_floor
function log_sequence
function log_state
function mismatch
function mismatch_of_limits
function mismatch_of_parts
function needs_of_lane
function next                        owner's | subscriber: execute
function next_due                    owner's | subscriber: execute
function next_removal                owner's | subscriber: execute
function no_publisher_at_work        owner's | subscriber: execute
function none_visible
function open_window
function orphan_leases
function own_snapshot
function park
function park_ahead
function place_cursor
function poll                        owner's | subscriber: execute
function positions
function publish                     owner's | publisher: execute
function publish_all_once            owner's | publisher: execute
function publish_once                owner's | publisher: execute
function purge_dead_letters          owner's | subscriber: execute
function rebase
function ready_lanes
function reclaim                     owner's | subscriber: execute
function reclaim_strays              owner's | subscriber: execute
function recognize                   owner's | subscriber: execute
function redrive                     owner's | subscriber: execute
function referred
function refuse_event
function register_process            owner's | subscriber: execute
function removal_blockers
function removal_steps               owner's | subscriber: execute
function report_awake                owner's | subscriber: execute
function require_declared
function require_read_committed
function require_recognized
function require_registered
function require_shape
function resume                      owner's | subscriber: execute
function return_unknown              owner's | subscriber: execute
function revoke_rights
function ring_bell
function seek                        owner's | subscriber: execute
function set_dedupe_window           owner's | subscriber: execute
function set_retention               owner's | subscriber: execute
function set_unread_limit            owner's | subscriber: execute
function settle                      owner's | subscriber: execute
function settle_in                   owner's | subscriber: execute
function skip_ids                    owner's | subscriber: execute
function start_waiting               owner's | subscriber: execute
function stop_running                owner's | subscriber: execute
function stop_waiting                owner's | subscriber: execute
function straggler_events
function subscribe                   owner's | subscriber: execute
function subscription_of
function suspend_unread              owner's | subscriber: execute
function take_lanes
function tidy                        owner's | subscriber: execute
function unread
function unread_events
function unread_subscriptions        owner's | subscriber: execute | observer: execute
function unsubscribe                 owner's | subscriber: execute
function wait_to_publish
function window_events
function write_identity
function xmin_holders                owner's | subscriber: execute | observer: execute
sequence channels_id_seq
sequence db_events_id_seq
sequence leases_token_seq
sequence processes_id_seq
sequence subscriptions_id_seq
table audiences
table channel_versions
table channels
table cursors
table db_events                      | publisher: insert (channel, fingerprint, headers, key, payload, version), select (id)
table dead_letters
table dedupe_keys
table grants
table incarnations
table lanes
table leases
table log_identity
table mailbox
table partitions
table processes
table registrations
table replays
table restore_marker
table runners
table schema_history                 | subscriber: select | observer: select
table settled
table subscriptions
table waiters
view current_processes
view observed_dead_letters           | observer: select
view observed_lanes                  | observer: select
view observed_leases                 | observer: select
view observed_mailbox                | observer: select
view observed_processes              | observer: select
view observed_subscriptions          | observer: select
view observed_waiters                | observer: select
";

/// One line for each object, with the rights of each role. `$1` are the roles, `$2` their labels. The server is asked role
/// by role, so that rights from any source count.
const ACTUAL: &str = "
with roles as (
    select * from unnest($1::text[], $2::text[]) with ordinality r (role, called, place)
),
relations as (
    select c.oid, c.relname::text as name,
           case c.relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end as kind
      from pg_class c
     where c.relnamespace = 'pubsub'::regnamespace
       and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
),
table_rights as (
    select privilege
      from unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) privilege
),
held as (
    select p.oid, 'function ' || p.proname as object, case when p.prosecdef then 'owner''s' end as mark, r.place, r.called,
           case when has_function_privilege(r.role, p.oid, 'execute') then 'execute' end as may
      from pg_proc p
     cross join roles r
     where p.pronamespace = 'pubsub'::regnamespace
    union all
    select s.oid, 'sequence ' || s.name, null, r.place, r.called, string_agg(privilege, ', ')
      from relations s
     cross join roles r
      left join unnest(array['usage', 'select', 'update']) privilege on has_sequence_privilege(r.role, s.oid, privilege)
     where s.kind = 'sequence'
     group by s.oid, s.name, r.place, r.called
    union all
    select t.oid, t.kind || ' ' || t.name, null, r.place, r.called,
           string_agg(privilege || case when has_table_privilege(r.role, t.oid, privilege) then '' else columns end, ', '
                      order by privilege)
      from relations t
     cross join roles r
      left join (
          select t.oid as of_table, r.role as of_role, g.privilege,
                 ' (' || string_agg(a.attname, ', ' order by a.attname) || ')' as columns
            from relations t
           cross join roles r
           cross join table_rights g
            join pg_attribute a on a.attrelid = t.oid and not a.attisdropped
           where t.kind <> 'sequence'
             and case
                     when g.privilege in ('select', 'insert', 'update', 'references') and a.attnum > 0
                     then has_column_privilege(r.role, t.oid, a.attnum, g.privilege)
                     else has_table_privilege(r.role, t.oid, g.privilege)
                 end
           group by t.oid, r.role, g.privilege
      ) rights on of_table = t.oid and of_role = r.role
     where t.kind <> 'sequence'
     group by t.oid, t.kind, t.name, r.place, r.called
)
select concat_ws(' | ', nullif(concat_ws(' ', h.object, h.mark), ''),
                 string_agg(h.called || ': ' || h.may, ' | ' order by h.place) filter (where h.may is not null))
  from held h
 group by h.oid, h.object, h.mark
 order by h.object collate \"C\"";

#[actix::test]
async fn every_function_and_relation_is_in_the_privilege_matrix() {
    let owned = OwnedDatabase::new().await;
    let mut roles = vec![owned.role("stranger").await];
    let audiences = ["publisher", "subscriber", "observer"];
    for audience in audiences {
        roles.push(owned.role_for(audience, &[audience]).await);
    }
    let called = ["stranger", "publisher", "subscriber", "observer"].map(str::to_owned).to_vec();
    let rows = owned.owner.query(ACTUAL, &[&roles, &called]).await.unwrap();
    // Two overloads of a function would be two lines of one name, and fail too.
    let (partitions, actual): (Vec<String>, Vec<String>) =
        rows.iter().map(|row| row.get::<_, String>(0)).partition(|line| line.starts_with("table db_events_"));
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected: Vec<_> = MATRIX.lines().filter(|line| !line.is_empty()).map(words).collect();
    let actual: Vec<_> = actual.iter().map(|line| words(line)).collect();
    for line in &actual {
        assert!(expected.contains(line), "not as the matrix has it, or not in it: {line}");
    }
    for line in &expected {
        assert!(actual.contains(line), "in the matrix, and not so: {line}");
    }
    assert!(!partitions.is_empty());
    for partition in &partitions {
        assert!(!partition.contains('|'), "a partition is open: {partition}");
    }
    assert_eq!(actual.len(), expected.len(), "a function has overloads");
}

#[actix::test]
async fn functions_with_owner_rights_pin_their_search_path() {
    let owned = OwnedDatabase::new().await;
    let open = "select p.oid::regprocedure::text
                  from pg_proc p
                 where p.pronamespace = 'pubsub'::regnamespace
                   and p.prosecdef
                   and not coalesce(p.proconfig @> array['search_path=pg_catalog, pg_temp'], false)";
    let open = owned.owner.query(open, &[]).await.unwrap();
    assert_eq!(open.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(), [] as [String; 0]);
}

#[actix::test]
async fn nobody_but_the_owner_can_create_in_the_schema() {
    let owned = OwnedDatabase::new().await;
    let role = owned.role_for("all", &["publisher", "subscriber", "observer"]).await;
    let may = "select has_schema_privilege($1, 'pubsub', 'create') or has_schema_privilege('public', 'pubsub', 'usage')";
    assert!(!owned.admin.query_one(may, &[&role]).await.unwrap().get::<_, bool>(0));
}
