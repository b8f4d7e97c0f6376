//! Downloads by HTTP, without a proxy.

use super::problem::Problem;
use super::progress::Progress;
use crate::store::https;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

/// The schemes, with their ports.
const SCHEMES: [(&str, u16); 2] = [("http://", 80), (SECURE, 443)];

const SECURE: &str = "https://";

/// The longest wait for a connection to one address of a host.
const CONNECT: Duration = Duration::from_secs(10);

/// The longest silence of a server.
const SILENCE: Duration = Duration::from_secs(30);

/// The longest download.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// The largest download. An archive has from 10 MB to 30 MB.
const MAX_BYTES: u64 = 256 << 20;

/// The largest head of a response.
const MAX_HEAD_BYTES: u64 = 64 * 1024;

/// The longest chain of redirections.
const MAX_REDIRECTIONS: usize = 5;

const BUFFER_BYTES: usize = 64 * 1024;

/// Whether a text is an address, and not a path.
pub(super) fn is_address(text: &str) -> bool {
    SCHEMES.iter().any(|(scheme, _)| text.starts_with(scheme))
}

/// An address or a path for people to read. What may be a secret in an address is left out.
pub(super) fn shown(text: &str) -> String {
    if !is_address(text) {
        return format!("`{text}`");
    }
    let (address, _) = text.split_once(['?', '#']).unwrap_or((text, ""));
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("`{scheme}://{host}/{path}`")
}

/// Downloads into a new file.
pub(super) fn download(address: &str, into: &Path) -> Result<(), Problem> {
    download_within(LIMIT, address, into)
}

fn download_within(limit: Duration, address: &str, into: &Path) -> Result<(), Problem> {
    let time = Time { limit, ends: Instant::now() + limit };
    let mut address = address.to_owned();
    for _ in 0..=MAX_REDIRECTIONS {
        let (mut response, head) = ask(&address, time)?;
        match (head.status, head.location) {
            (200, _) => return save(&mut response, head.length, into),
            (301 | 302 | 303 | 307 | 308, Some(location)) => address = follow(&address, &location),
            (status, _) => {
                return Err(Problem::new(format!("{} answers with status {status}", shown(&address))));
            }
        }
    }
    Err(Problem::new(format!("there are more than {MAX_REDIRECTIONS} redirections")))
}

/// A connection, encrypted or not.
trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// The time of a download.
#[derive(Clone, Copy)]
struct Time {
    limit: Duration,
    ends: Instant,
}

/// A connection on which nothing lasts beyond the time of the download: a server could also send a byte now and then.
struct Timed {
    stream: TcpStream,
    time: Time,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        let Time { limit, ends } = self.time;
        let left = ends.saturating_duration_since(Instant::now());
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("it takes longer than {limit:?}"));
        if left.is_zero() { Err(late()) } else { Ok(left.min(SILENCE)) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The head of a response.
#[derive(Default)]
struct Head {
    status: u16,
    length: Option<u64>,
    location: Option<String>,
}

fn ask(address: &str, time: Time) -> Result<(BufReader<Box<dyn Stream>>, Head), Problem> {
    let (host, port, path) = parse(address)?;
    let unreachable = || format!("no connection to `{host}:{port}`");
    let stream = connect(host, port).map_err(Problem::system(unreachable()))?;
    let stream = Timed { stream, time };
    let mut stream: Box<dyn Stream> = if address.starts_with(SECURE) {
        Box::new(https(stream, host).map_err(Problem::system(unreachable()))?)
    } else {
        Box::new(stream)
    };
    let request =
        format!("GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nUser-Agent: pubsub\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(Problem::system(unreachable()))?;
    let mut response = BufReader::new(stream);
    let head = read_head(&mut response)?;
    Ok((response, head))
}

/// The host, the port and the path of an address.
fn parse(address: &str) -> Result<(&str, u16, &str), Problem> {
    let unreadable =
        || Problem::new(format!("{} is no address such as `http://host:8080/file.tar.gz`", shown(address)));
    let (scheme, port) =
        SCHEMES.iter().find(|(scheme, _)| address.starts_with(scheme)).ok_or_else(unreadable)?;
    let rest = &address[scheme.len()..];
    let (server, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    if server.contains('@') || path.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err(unreadable());
    }
    match server.rsplit_once(':') {
        Some((host, own)) if !own.ends_with(']') => Ok((host, own.parse().map_err(|_| unreadable())?, path)),
        _ => Ok((server, *port, path)),
    }
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = None;
    for address in (host.trim_matches(['[', ']']), port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

fn read_head(response: &mut impl BufRead) -> Result<Head, Problem> {
    let mut lines = Vec::new();
    let mut limited = response.take(MAX_HEAD_BYTES);
    loop {
        let mut line = String::new();
        limited.read_line(&mut line).map_err(Problem::system("the server's answer cannot be read"))?;
        match line.trim_end() {
            "" if line.is_empty() => return Err(Problem::new("the server's answer is no HTTP")),
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let status = lines.next().unwrap_or_default();
    let status = status.strip_prefix("HTTP/").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    let mut head = Head {
        status: status.ok_or_else(|| Problem::new("the server's answer is no HTTP"))?,
        ..Head::default()
    };
    for (name, value) in
        lines.filter_map(|line| Some(line.split_once(':')?).map(|(n, v)| (n.to_owned(), v.trim().to_owned())))
    {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => head.length = value.parse().ok(),
            "location" => head.location = Some(value),
            _ => {}
        }
    }
    Ok(head)
}

/// The address to which a server redirects, which may leave out what it shares with the last one.
fn follow(address: &str, location: &str) -> String {
    if is_address(location) {
        return location.to_owned();
    }
    let (address, _) = address.split_once(['?', '#']).unwrap_or((address, ""));
    let host = address.find("://").map_or(0, |at| at + 3);
    let path = address[host..].find('/').map_or(address.len(), |at| host + at);
    if let Some(other_host) = location.strip_prefix("//") {
        format!("{}{other_host}", &address[..host])
    } else if location.starts_with('/') {
        format!("{}{location}", &address[..path])
    } else {
        let directory = address[path..].rfind('/').map_or(path, |at| path + at);
        format!("{}/{location}", &address[..directory])
    }
}

fn save(response: &mut impl Read, length: Option<u64>, into: &Path) -> Result<(), Problem> {
    let unwritable = || format!("`{}` cannot be written", into.display());
    let mut file = File::create(into).map_err(Problem::system(unwritable()))?;
    let mut progress = Progress::new(length);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    // A server that has sent everything need not say goodbye.
    while length != Some(bytes) {
        let read = response
            .read(&mut buffer)
            .map_err(Problem::system(format!("the download stopped after {bytes} bytes")))?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).map_err(Problem::system(unwritable()))?;
        bytes += read as u64;
        if bytes > MAX_BYTES {
            return Err(Problem::new(format!("the download has more than {MAX_BYTES} bytes")));
        }
        progress.at(bytes);
    }
    match length {
        Some(length) if length != bytes => {
            Err(Problem::new(format!("the download was cut after {bytes} of {length} bytes: try again")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::{env, fs, thread};

    #[test]
    fn a_redirection_may_leave_out_what_it_shares() {
        for (location, address) in [
            ("https://b/c", "https://b/c"),
            ("//b/c", "http://b/c"),
            ("/c", "http://a:8080/c"),
            ("c", "http://a:8080/d/c"),
        ] {
            assert_eq!(follow("http://a:8080/d/e?f=/g", location), address);
        }
        assert_eq!(follow("http://a", "c"), "http://a/c");
    }

    /// Each byte ends a silence, and none ends the download.
    #[test]
    fn a_server_that_sends_a_byte_now_and_then_is_given_up() {
        for head in ["", "HTTP/1.0 200 OK\r\nContent-Length: 1000000\r\n\r\n"] {
            let site = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = format!("http://{}/a", site.local_addr().unwrap());
            let serving = thread::spawn(move || {
                let (mut client, _) = site.accept().unwrap();
                let mut sent = client.write_all(head.as_bytes());
                while sent.is_ok() {
                    thread::sleep(Duration::from_millis(1));
                    sent = client.write_all(b"H");
                }
            });
            let file = env::temp_dir().join(format!("pubsub-http-{:016x}", fastrand::u64(..)));
            let refused = download_within(Duration::from_millis(200), &address, &file).unwrap_err();
            let late = refused.source.expect("the system's error").to_string();
            // Whatever the time ends in: the check before a read, or the read itself.
            assert!(
                late == "it takes longer than 200ms" || late.starts_with("Resource temporarily"),
                "{late}"
            );
            serving.join().unwrap();
            // Without a head there is no file.
            drop(fs::remove_file(&file));
        }
    }
}
