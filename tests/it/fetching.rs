//! The promises about a machine without PostgreSQL: an archive from an address, checked, kept and shared.
//!
//! The machine is a child process with an empty `PATH`. The archive's programs start those of this machine, so the server is a
//! real one.

use crate::throwaway_server::{TemporaryDirectory, temporary_directory};
use flate2::Compression;
use flate2::write::GzEncoder;
use pubsub::testing::{Error, Server};
use pubsub_tests::{Authority, Certified, VALID};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest, Sha256};
use std::error::Error as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::{env, fs, thread};

/// The environment variable that makes the test `helper` a machine without PostgreSQL.
const TASK: &str = "PUBSUB_TEST_TASK_FETCH";

const REPORT: &str = "helper reports: ";

#[test]
fn a_machine_without_postgres_gets_it_once() {
    let site = Site::open(vec![Answer::Redirect, Answer::Whole]);
    let machine = Machine::new();
    let report = machine.run(&site, &site.checksum);
    let cache = machine.cache.0.display();
    assert!(report.contains(&format!("in {cache}/archive-")), "{report}");
    assert_eq!(site.asked(), 2, "the redirection was followed");
    // The site is closed now.
    assert_eq!(machine.run(&site, &site.checksum), report);
    assert_eq!(site.asked(), 2, "the cache was used");
}

#[test]
fn the_cache_may_be_named_from_the_current_directory() {
    let site = Site::open(vec![Answer::Whole]);
    let machine = Machine::new();
    let mut command = machine.command(&site, &format!("{}  postgres.tar.gz", site.checksum));
    command.current_dir(&machine.cache.0).env("PUBSUB_POSTGRES_CACHE", ".");
    assert!(report(command.spawn().unwrap()).starts_with("PostgreSQL"));
}

#[test]
fn an_archive_with_another_checksum_is_refused() {
    let site = Site::open(vec![Answer::Whole, Answer::Whole]);
    let machine = Machine::new();
    let other = "0".repeat(64);
    let report = machine.run(&site, &other);
    let sentence = format!("its SHA-256 is {} instead of {other}", site.checksum);
    assert!(report.contains("could not get PostgreSQL from `http://127.0.0.1:"), "{report}");
    assert!(report.contains(&sentence), "{report}");
    assert_eq!(machine.entries(), ["lock"]);
    assert!(machine.run(&site, &site.checksum).starts_with("PostgreSQL"));
}

#[test]
fn a_download_that_was_cut_is_refused_and_tried_again() {
    let site = Site::open(vec![Answer::Cut, Answer::Whole]);
    let machine = Machine::new();
    let report = machine.run(&site, &site.checksum);
    assert!(report.contains("the download was cut after "), "{report}");
    assert_eq!(machine.entries(), ["lock"]);
    assert!(machine.run(&site, &site.checksum).starts_with("PostgreSQL"));
    assert_eq!(site.asked(), 2);
}

#[test]
fn two_processes_at_once_download_it_once() {
    let (release, released) = channel();
    let site = Site::open(vec![Answer::After(released)]);
    let machine = Machine::new();
    let mut first = machine.start(&site, &site.checksum);
    said(&mut first, "getting PostgreSQL");
    let mut second = machine.start(&site, &site.checksum);
    said(&mut second, "waiting for another process");
    release.send(()).unwrap();
    let reports = [first, second].map(report);
    assert!(reports[0].starts_with("PostgreSQL"), "{reports:?}");
    assert_eq!(reports[0], reports[1]);
    assert_eq!(site.asked(), 1);
}

#[test]
fn an_encrypted_site_must_prove_its_name() {
    let files = temporary_directory("authority");
    let authority = Authority::new(&files.0, "authority");
    for (name, outcome) in [("elsewhere", "no connection to `localhost:"), ("localhost", "PostgreSQL")] {
        let certified = authority.certify(name, VALID);
        let site = Site::encrypted(vec![Answer::Whole], &certified);
        let machine = Machine::new();
        let mut command = machine.command(&site, &site.checksum);
        let report = report(command.env("SSL_CERT_FILE", &authority.file).spawn().unwrap());
        assert!(report.contains(outcome), "{report}");
    }
}

#[test]
fn an_archive_without_a_checksum_is_not_downloaded() {
    let site = Site::open(Vec::new());
    let report = Machine::new().run(&site, "");
    assert!(report.contains("set PUBSUB_POSTGRES_ARCHIVE_SHA256 to its SHA-256"), "{report}");
    assert_eq!(site.asked(), 0);
}

/// The machine without PostgreSQL. Without its task this test does nothing.
#[actix::test]
async fn helper() {
    if env::var_os(TASK).is_none() {
        return;
    }
    match Server::start() {
        Ok(server) => {
            let client = pubsub_tests::connect(&server.url("postgres")).await;
            let version = client.query_one("select split_part(version(), ' ', 1)", &[]).await.unwrap();
            println!("{REPORT}{} in {}", version.get::<_, String>(0), server.bin_dir().display());
        }
        Err(error @ Error::NotFetched { .. }) => {
            println!("{REPORT}{error} ({:?})", error.source().map(ToString::to_string));
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// A cache of its own, and processes that find nothing else.
struct Machine {
    cache: TemporaryDirectory,
}

impl Machine {
    fn new() -> Self {
        Self { cache: temporary_directory("fetching") }
    }

    fn command(&self, site: &Site, checksum: &str) -> Command {
        let module = module_path!().split_once("::").map_or("", |(_, module)| module);
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", &format!("{module}::helper"), "--nocapture"])
            .env_remove("DATABASE_URL")
            .env_remove("PUBSUB_POSTGRES_BIN")
            .env("PATH", "")
            .env("PUBSUB_POSTGRES_CACHE", &self.cache.0)
            .env("PUBSUB_POSTGRES_ARCHIVE", format!("{}/postgres.tar.gz", site.address))
            .env("PUBSUB_POSTGRES_ARCHIVE_SHA256", checksum)
            .env(TASK, "fetch")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self, site: &Site, checksum: &str) -> Child {
        self.command(site, checksum).spawn().unwrap()
    }

    fn run(&self, site: &Site, checksum: &str) -> String {
        report(self.start(site, checksum))
    }

    fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.cache.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// Waits until the process has written that to its standard error.
fn said(process: &mut Child, words: &str) {
    let mut errors = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        assert!(errors.read_line(&mut line).unwrap() > 0, "it ended without `{words}`");
    }
    // A process may write until it ends.
    thread::spawn(move || errors.lines().for_each(drop));
}

fn report(process: Child) -> String {
    let output = process.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let report = text.lines().find_map(|line| line.split_once(REPORT));
    report.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))).1.to_owned()
}

enum Answer {
    Whole,
    Cut,
    Redirect,
    After(Receiver<()>),
}

impl Answer {
    fn give(self, mut visitor: impl Read + Write, archive: &[u8]) -> io::Result<()> {
        for line in BufReader::new(&mut visitor).lines() {
            if line?.is_empty() {
                break;
            }
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", archive.len());
        let (head, body) = match self {
            Self::Whole => (head, archive),
            Self::Cut => (head, &archive[..archive.len() / 2]),
            Self::Redirect => ("HTTP/1.1 302 Found\r\nLocation: /moved\r\n\r\n".to_owned(), &[][..]),
            Self::After(signal) => {
                // An error means that the test has failed.
                let _ = signal.recv();
                (head, archive)
            }
        };
        visitor.write_all(head.as_bytes())?;
        visitor.write_all(body)?;
        visitor.flush()
    }
}

/// A site on loopback that gives these answers in turn and then is closed.
struct Site {
    address: String,
    checksum: String,
    asked: Arc<AtomicUsize>,
}

impl Site {
    fn open(answers: Vec<Answer>) -> Self {
        Self::serve("http://127.0.0.1", answers, |visitor, answer, archive| answer.give(visitor, archive))
    }

    fn encrypted(answers: Vec<Answer>, certified: &Certified) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let certificate = CertificateDer::from_pem_file(&certified.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(&certified.key).unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let config = Arc::new(config);
        Self::serve("https://localhost", answers, move |visitor, answer, archive| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            answer.give(StreamOwned::new(connection, visitor), archive)
        })
    }

    fn serve(
        host: &str,
        answers: Vec<Answer>,
        give: impl Fn(TcpStream, Answer, &[u8]) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let archive = archive();
        let checksum = Sha256::digest(&archive).iter().map(|byte| format!("{byte:02x}")).collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = format!("{host}:{}", listener.local_addr().unwrap().port());
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        thread::spawn(move || {
            for answer in answers {
                let Ok((visitor, _)) = listener.accept() else { return };
                counter.fetch_add(1, Ordering::SeqCst);
                // A visitor may go early; its report says how that ended.
                let _ = give(visitor, answer, &archive);
            }
        });
        Self { address, checksum, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// An archive whose programs start those of this machine.
fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for name in ["initdb", "postgres"] {
        let program = pubsub::testing::program(name).expect("this machine has PostgreSQL");
        let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", program.display());
        let mut header = tar::Header::new_gnu();
        header.set_size(script.len() as u64);
        // Closed to other users: the account that runs PostgreSQL for root must be let in.
        header.set_mode(0o700);
        archive.append_data(&mut header, format!("postgresql-18/bin/{name}"), script.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}
