//! The promises of `pubsub::testing`: a throwaway server and its databases.

use pubsub::testing::{Database, Error, Mode, Options, Server};
use pubsub_tests::connect;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// The deadline of anything that happens soon, on a machine that may be busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// The deadline of a server whose process has ended. A server that nobody stops also ends, but only within a minute, when
/// it notices that its directory is gone.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// The environment variable with the task of a helper process.
const TASK: &str = "PUBSUB_TEST_TASK";

/// The prefix of a helper's reports.
const REPORT: &str = "helper reports: ";

#[actix::test]
async fn the_url_works_and_the_version_is_right() {
    let server = Server::start().unwrap();
    let version: String = one(&server.url("postgres"), "select current_setting('server_version')").await;
    assert_eq!(version.split(' ').next(), Some(server.version()));
}

#[actix::test]
async fn the_socket_is_in_the_directory() {
    let server = Server::start().unwrap();
    let url = format!("host={} port={} user=postgres", server.directory().display(), server.port());
    assert_eq!(one::<i32>(&url, "select 1").await, 1);
}

#[actix::test]
async fn the_callers_settings_win_and_fsync_is_an_option() {
    let settings = vec![("max_connections".into(), "17".into())];
    let options = Options { fsync: true, settings, ..Options::default() };
    let server = Server::start_with(options).unwrap();
    let setting = "select concat_ws(' ', current_setting('fsync'), current_setting('full_page_writes'), \
                   current_setting('max_connections'), current_setting('max_prepared_transactions'))";
    assert_eq!(one::<String>(&server.url("postgres"), setting).await, "on on 17 64");
}

/// A server that root starts runs as another user. A server that another user starts runs as that user.
#[test]
fn works_as_root() {
    let server = Server::start().unwrap();
    let probe = temporary_directory("owner");
    let we_are = fs::metadata(&probe.0).unwrap().uid();
    let owner = fs::metadata(server.directory()).unwrap().uid();
    assert_eq!(we_are == 0, owner != we_are, "the test is {we_are}, the server is {owner}");
}

#[test]
fn a_dropped_server_leaves_neither_process_nor_directory() {
    let server = Server::start().unwrap();
    let (pid, directory) = (server.pid().unwrap(), server.directory().to_owned());
    assert!(is_running(pid) && directory.exists());
    drop(server);
    assert!(!is_running(pid), "process {pid} survived");
    assert!(!directory.exists(), "{} survived", directory.display());
}

#[test]
fn a_process_killed_by_sigkill_leaves_nothing() {
    let mut helper = Helper::start("server");
    let pid: u32 = helper.next_report().parse().unwrap();
    helper.process.kill().unwrap();
    helper.process.wait().unwrap();
    helper.expect_nothing_left(Some(pid));
}

/// Ctrl-C in a terminal reaches every process of the foreground group.
#[test]
fn a_terminated_process_group_leaves_nothing() {
    let mut helper = Helper::start("server");
    let pid: u32 = helper.next_report().parse().unwrap();
    let group = helper.process.id().to_string();
    let kill = Command::new("/bin/sh").args(["-c", "kill -s TERM -- \"-$0\"", &group]).status().unwrap();
    assert!(kill.success());
    helper.process.wait().unwrap();
    helper.expect_nothing_left(Some(pid));
}

#[test]
fn a_process_killed_while_it_starts_a_server_leaves_nothing() {
    let signs: [&dyn Fn(&Path) -> bool; 4] = [
        &|_| true,
        &|directory| directory.join("log").exists(),
        &|directory| directory.join("data/base").exists(),
        &|directory| {
            fs::read_to_string(directory.join("log")).is_ok_and(|log| log.contains("starting PostgreSQL"))
        },
    ];
    for sign in signs {
        let mut helper = Helper::start("server");
        let seen = || fs::read_dir(&helper.temporary.0).unwrap().flatten().any(|entry| sign(&entry.path()));
        eventually(DEADLINE, "the server is being started", seen);
        helper.process.kill().unwrap();
        helper.process.wait().unwrap();
        helper.expect_nothing_left(None);
    }
}

#[test]
fn the_shared_server_ends_with_the_process() {
    let mut helper = Helper::start("shared");
    let pid: u32 = helper.next_report().parse().unwrap();
    assert!(helper.process.wait().unwrap().success());
    helper.expect_nothing_left(Some(pid));
}

#[actix::test]
async fn an_immediate_restart_keeps_committed_data() {
    let mut server = Server::start().unwrap();
    let url = server.url("postgres");
    run(&url, "create table kept (id int)").await;
    let client = connect(&url).await;
    client.batch_execute("insert into kept values (1)").await.unwrap();
    client.batch_execute("begin; insert into kept values (2)").await.unwrap();
    let before = server.pid();

    server.restart(Mode::Immediate).unwrap();

    assert_ne!(server.pid(), before);
    assert!(client.batch_execute("commit").await.is_err(), "the old connection is gone");
    assert_eq!(one::<i64>(&url, "select sum(id) from kept").await, 1);
}

#[actix::test]
async fn a_stopped_server_starts_again_on_the_same_port() {
    let mut server = Server::start().unwrap();
    let url = server.url("postgres");
    run(&url, "create table kept ()").await;
    server.stop(Mode::Fast).unwrap();
    assert_eq!(server.pid(), None);
    assert!(tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_err());
    server.start_again().unwrap();
    assert_eq!(server.url("postgres"), url);
    assert_eq!(one::<i64>(&url, "select count(*) from kept").await, 0);
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let options =
        Options { settings: vec![("shared_buffers".into(), "plenty".into())], ..Options::default() };
    let error = Server::start_with(options).unwrap_err();
    assert!(matches!(error, Error::Failed { program: "postgres", .. }), "{error:?}");
    assert!(error.to_string().contains("invalid value for parameter \"shared_buffers\""), "{error}");
}

#[actix::test]
async fn every_database_is_migrated_isolated_and_dropped() {
    let (one_of_two, other) = (Database::create().await.unwrap(), Database::create().await.unwrap());
    for database in [&one_of_two, &other] {
        assert!(one::<bool>(database.url(), "select to_regclass('pubsub.db_events') is not null").await);
    }
    run(one_of_two.url(), "create table mine ()").await;
    assert!(one::<bool>(other.url(), "select to_regclass('mine') is null").await);

    // An open connection does not keep the database.
    let _open = connect(one_of_two.url()).await;
    let name = one_of_two.name().to_owned();
    drop(one_of_two);
    assert!(!exists(&other, &name).await);
}

#[actix::test]
async fn an_empty_database_has_no_schema() {
    let database = Database::empty().await.unwrap();
    assert!(one::<bool>(database.url(), "select to_regnamespace('pubsub') is null").await);
}

#[actix::test]
async fn a_panicked_test_keeps_its_database() {
    let (kept, other) = (Database::empty().await.unwrap(), Database::empty().await.unwrap());
    let name = kept.name().to_owned();
    let test = thread::spawn(move || {
        let _kept = kept;
        panic!("a failing test");
    });
    assert!(test.join().is_err());
    assert!(exists(&other, &name).await);
    run(other.url(), &format!("drop database {name}")).await;
}

#[actix::test]
async fn a_client_of_the_template_only_delays_the_copy() {
    let server = Server::start().unwrap();
    let postgres = server.url("postgres");
    drop(Database::create_on(&postgres).await.unwrap());
    let template = "select datname::text from pg_database where datname like 'pubsub_template_%'";
    let intruder = connect(&server.url(&one::<String>(&postgres, template).await)).await;

    let url = postgres.clone();
    let copy = actix::spawn(async move { Database::create_on(&url).await });
    let copying = "select exists (select from pg_stat_activity where query like 'create database%' \
                                     and state = 'active')";
    while !one::<bool>(&postgres, copying).await {
        assert!(!copy.is_finished(), "the copy did not wait for the template's client");
    }
    drop(intruder);
    copy.await.unwrap().unwrap();
}

#[actix::test]
async fn several_processes_share_the_server_of_database_url() {
    let server = Server::start().unwrap();
    let mut helpers: Vec<Helper> = (0..3)
        .map(|_| Helper::start_with("database", &[("DATABASE_URL", &server.url("postgres"))]))
        .collect();
    for helper in &mut helpers {
        let url = helper.next_report();
        assert!(url.starts_with(&server.url("pubsub_test_")), "{url}");
        assert!(helper.process.wait().unwrap().success());
    }
    let left = "select count(*) from pg_database where datname like 'pubsub_test_%'";
    assert_eq!(one::<i64>(&server.url("postgres"), left).await, 0);
    let templates = "select count(*) from pg_database where datname like 'pubsub_template_%'";
    assert_eq!(one::<i64>(&server.url("postgres"), templates).await, 1);
}

#[actix::test]
async fn databases_of_killed_processes_are_dropped_after_a_day() {
    let server = Server::start().unwrap();
    let postgres = server.url("postgres");
    let now: i64 = one(&postgres, "select extract(epoch from now())::int8").await;
    let old = format!("pubsub_test_{}_0123456789abcdef", now - 2 * 24 * 60 * 60);
    let young = format!("pubsub_test_{}_0123456789abcdef", now - 60 * 60);
    let other_version = "pubsub_template_0123456789abcdef";
    for name in [&old, &young, other_version] {
        run(&postgres, &format!("create database {name}")).await;
    }
    let database = Database::create_on(&postgres).await.unwrap();
    assert!(!exists(&database, &old).await);
    assert!(!exists(&database, other_version).await);
    assert!(exists(&database, &young).await);
}

#[actix::test]
async fn a_template_dropped_by_another_version_is_recreated() {
    let server = Server::start().unwrap();
    let postgres = server.url("postgres");
    drop(Database::create_on(&postgres).await.unwrap());
    let template = "select datname::text from pg_database where datname like 'pubsub_template_%'";
    let template: String = one(&postgres, template).await;
    run(&postgres, &format!("drop database {template}")).await;

    let database = Database::create_on(&postgres).await.unwrap();

    assert!(one::<bool>(database.url(), "select to_regclass('pubsub.db_events') is not null").await);
}

/// The code of helper processes. Without a task it does nothing.
#[actix::test]
async fn helper() {
    match env::var(TASK).as_deref() {
        Ok("server") => {
            let server = Server::start().unwrap();
            println!("{REPORT}{}", server.pid().unwrap());
            // Parks until the process is killed.
            thread::park();
        }
        Ok("shared") => println!("{REPORT}{}", Server::shared().unwrap().pid().unwrap()),
        Ok("database") => println!("{REPORT}{}", Database::create().await.unwrap().url()),
        _ => {}
    }
}

/// This test binary, started again with a task and a temporary directory of its own.
struct Helper {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
    temporary: TemporaryDirectory,
}

impl Helper {
    fn start(task: &str) -> Self {
        Self::start_with(task, &[])
    }

    fn start_with(task: &str, environment: &[(&str, &str)]) -> Self {
        let temporary = temporary_directory(task);
        // The path of this module inside the test binary.
        let module = module_path!().split_once("::").map_or("", |(_, module)| module);
        let mut process = Command::new(env::current_exe().expect("the path of this test binary"))
            .args(["--exact", &format!("{module}::helper"), "--nocapture"])
            .env_remove("DATABASE_URL")
            .env("TMPDIR", &temporary.0)
            .env(TASK, task)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a helper starts");
        let output = BufReader::new(process.stdout.take().expect("its output is piped"));
        Self { process, output, temporary }
    }

    /// Waits for the helper's next report.
    fn next_report(&mut self) -> String {
        for line in self.output.by_ref().lines() {
            if let Some((_, report)) = line.expect("the helper writes text").split_once(REPORT) {
                return report.to_owned();
            }
        }
        panic!("the helper ended without a report")
    }

    fn expect_nothing_left(&self, pid: Option<u32>) {
        let directory = &self.temporary.0;
        if let Some(pid) = pid {
            eventually(END_DEADLINE, "the server has ended", || !is_running(pid));
        }
        // Processes first: one that is still alive could create the directory again.
        eventually(END_DEADLINE, "no process works in the directory", || processes_in(directory).is_empty());
        eventually(END_DEADLINE, "the directory is deleted", || {
            fs::read_dir(directory).expect("it is a directory").next().is_none()
        });
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Both fail if it has exited, which is the goal.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) struct TemporaryDirectory(pub(crate) PathBuf);

/// Creates a directory that every user may enter, PostgreSQL's account included.
pub(crate) fn temporary_directory(purpose: &str) -> TemporaryDirectory {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // Outside of `TMPDIR`, which may be closed to others.
    let path = PathBuf::from(format!("/tmp/pubsub-test-{}-{count}-{purpose}", std::process::id()));
    fs::create_dir(&path).expect("a temporary directory");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the directory is ours");
    TemporaryDirectory(path)
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the directory can be deleted");
    }
}

/// Whether a process runs. One that has exited and was not waited for does not.
fn is_running(pid: u32) -> bool {
    let state = if Path::new("/proc/self/stat").exists() {
        // The format is `pid (name) state …`, and the name may contain anything.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").map_or(String::new(), |(_, rest)| rest.to_owned())
    } else {
        let ps =
            Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().expect("`ps` runs");
        String::from_utf8_lossy(&ps.stdout).into_owned()
    };
    !state.is_empty() && !state.starts_with('Z')
}

/// The command lines that mention `directory`. Only Linux shows them without further tools.
fn processes_in(directory: &Path) -> Vec<String> {
    let commands = fs::read_dir("/proc").into_iter().flatten().flatten();
    let commands = commands.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let commands = commands.map(|command| String::from_utf8_lossy(&command).replace('\0', " "));
    commands.filter(|command| command.contains(&directory.display().to_string())).collect()
}

fn eventually(deadline: Duration, what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

async fn run(url: &str, sql: &str) {
    connect(url).await.batch_execute(sql).await.expect(sql);
}

async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(url: &str, sql: &str) -> T {
    connect(url).await.query_one(sql, &[]).await.expect(sql).get(0)
}

async fn exists(on_the_server_of: &Database, name: &str) -> bool {
    let sql = format!("select exists (select from pg_database where datname = '{name}')");
    one(on_the_server_of.url(), &sql).await
}
