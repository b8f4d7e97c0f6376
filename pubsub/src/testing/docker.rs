//! A server in a container of Docker, for a machine without binaries of its own.

use super::process::{self, WaitLimit};
use super::programs::on_path;
use super::{Options, supply};
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const IMAGE: &str = "postgres:18";

/// The longest time for Docker's answer to a small question.
const ANSWER: WaitLimit = WaitLimit { limit: Duration::from_secs(30), interval: Duration::from_millis(5) };

/// The longest time to pull the image, which has 150 MB.
const PULL: WaitLimit =
    WaitLimit { limit: Duration::from_secs(10 * 60), interval: Duration::from_millis(20) };

/// The longest time to create a container, which may copy the image, on a machine that may be busy.
const CREATION: WaitLimit = WaitLimit { limit: Duration::from_secs(120), interval: Duration::from_millis(5) };

/// The longest time until the server in a new container answers. Its files are created first.
const READY: WaitLimit = WaitLimit { limit: Duration::from_secs(120), interval: Duration::from_millis(100) };

/// The longest wait for the shell that removes the container, which is longer than its own tries take.
const REMOVAL: WaitLimit = WaitLimit { limit: Duration::from_secs(60), interval: Duration::from_millis(5) };

/// Waits for the end of the process that holds the other end of its input, then removes the container $2 with the client $1.
/// The first try may come before the container exists, which is no error of the client. It names a container that it has removed.
const WATCHDOG: &str = "trap '' HUP INT QUIT TERM\n\
    PATH=/usr/bin:/bin:$PATH\n\
    while read -r _; do :; done\n\
    tries=50\n\
    until [ -n \"$(\"$1\" rm --force --volumes \"$2\")\" ] || [ \"$tries\" -eq 0 ]; do tries=$((tries - 1)); sleep 0.2; done\n";

/// The outcome of this process's only attempt. A container ends with the process.
static SHARED: Mutex<Option<Result<Container, String>>> = Mutex::new(None);

/// The URL of the server in this process's container, or why there is none. Blocks.
pub(super) fn shared_url() -> Result<String, String> {
    // After a panic with the lock the value is as before.
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let path = env::var_os("PATH").unwrap_or_default();
    let container = shared.get_or_insert_with(|| Container::start(&path)).as_ref();
    container.map(|container| container.url.clone()).map_err(Clone::clone)
}

/// A container with a server, which is removed with this value or with the process.
#[derive(Debug)]
struct Container {
    url: String,
    watchdog: Child,
}

impl Container {
    fn start(path: &OsStr) -> Result<Self, String> {
        let docker = on_path("docker", path).ok_or("there is no `docker` on PATH")?;
        let docker = Docker { program: docker };
        docker.ask(&["version", "--format", "{{.Server.Version}}"], ANSWER)?;
        if let Err(missing) = docker.ask(&["image", "inspect", "--format", "{{.Id}}", IMAGE], ANSWER) {
            if supply::is_off() {
                return Err(format!("{missing}, and {} is `off`", supply::SWITCH));
            }
            supply::tell(&format!(
                "this machine has no PostgreSQL; getting `{IMAGE}`, once, with `docker pull`"
            ));
            docker.show(&["pull", IMAGE], PULL)?;
        }
        let name = format!("pubsub-postgres-{:016x}", fastrand::u64(..));
        // From here on, dropping the value removes the container.
        let mut container = Self { url: String::new(), watchdog: docker.watchdog(&name)? };
        docker.ask(&run_arguments(&name), CREATION)?;
        let address = docker.ask(&["port", &name, "5432/tcp"], ANSWER)?;
        let address = address.lines().next().unwrap_or_default();
        docker.wait_until_ready(&name)?;
        container.url = format!("postgres://postgres@{address}/postgres");
        Ok(container)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        if !matches!(process::wait(&mut self.watchdog, REMOVAL), Ok(Some(_))) {
            tracing::warn!("the watchdog of the container with PostgreSQL did not end");
        }
    }
}

/// The server accepts everybody, as a [`Server`](super::Server) does, and only this machine can reach it.
fn run_arguments(name: &str) -> Vec<String> {
    let fixed = ["run", "--detach", "--rm", "--name", name, "--publish=127.0.0.1::5432"];
    let image = ["--env=POSTGRES_HOST_AUTH_METHOD=trust", IMAGE];
    let settings = Options::default().all().into_iter().map(|(name, value)| format!("-c{name}={value}"));
    fixed.into_iter().chain(image).map(str::to_owned).chain(settings).collect()
}

/// The client of Docker.
struct Docker {
    program: PathBuf,
}

impl Docker {
    /// Waits until the server in a container answers, for as long as the container exists.
    fn wait_until_ready(&self, container: &str) -> Result<(), String> {
        // By TCP: the server that only creates the files answers on its socket.
        let is_ready =
            ["exec", container, "pg_isready", "--quiet", "--host=127.0.0.1", "--username=postgres"];
        let mut log = String::new();
        let ready: Result<_, String> = READY.poll(|| {
            if self.ask(&is_ready, ANSWER).is_ok() {
                return Ok(Some(()));
            }
            // A container that has ended is soon removed, and its log with it.
            log = self.ask(&["logs", "--tail=1", container], ANSWER)?;
            Ok(None)
        });
        let failed = match ready {
            Ok(Some(())) => return Ok(()),
            Ok(None) => format!("the server in the container does not answer within {:?}", READY.limit),
            Err(gone) => format!("the container has ended before its server answered: {gone}"),
        };
        Err(if log.is_empty() { failed } else { format!("{failed}; its log ends with: {log}") })
    }

    /// Returns what a command writes. If it fails, its errors are a part of ours.
    fn ask(&self, arguments: &[impl AsRef<OsStr>], limit: WaitLimit) -> Result<String, String> {
        self.run(arguments, Stdio::piped(), Stdio::piped(), limit)
    }

    /// Runs a command whose output the user sees.
    fn show(&self, arguments: &[&str], limit: WaitLimit) -> Result<(), String> {
        let output = io::stderr().as_fd().try_clone_to_owned();
        let output = output.map_err(|error| format!("the standard error cannot be shared ({error})"))?;
        self.run(arguments, output.into(), Stdio::inherit(), limit).map(drop)
    }

    fn run(
        &self,
        arguments: &[impl AsRef<OsStr>],
        output: Stdio,
        errors: Stdio,
        limit: WaitLimit,
    ) -> Result<String, String> {
        let command = format!("`docker {}`", arguments[0].as_ref().display());
        let refused = |error: io::Error| format!("{command} cannot be run ({error})");
        let mut child = Command::new(&self.program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(refused)?;
        let Some(status) = process::wait(&mut child, limit).map_err(refused)? else {
            // Both errors are harmless: the child has exited, or SIGKILL ends it.
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{command} did not finish within {:?}", limit.limit));
        };
        // A few words, which the pipes hold until they are read.
        let output = child.stdout.take().map_or(Ok(String::new()), io::read_to_string).map_err(refused)?;
        let errors = child.stderr.take().map_or(Ok(String::new()), io::read_to_string).map_err(refused)?;
        match (status.success(), errors.trim()) {
            // `docker logs` passes on a server's lines as errors.
            (true, said) => Ok(if output.trim().is_empty() { said } else { output.trim() }.to_owned()),
            (false, "") => Err(format!("{command} failed ({status})")),
            (false, said) => Err(format!("{command} failed ({status}): {said}")),
        }
    }

    fn watchdog(&self, container: &str) -> Result<Child, String> {
        let shell = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "pubsub-testing-watchdog"])
            .arg(&self.program)
            .arg(container)
            // Closes on exec, so that no child keeps it open.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // Its own group, so that Ctrl-C in the terminal ends this process and not the shell.
            .process_group(0)
            .spawn();
        shell.map_err(|error| format!("the watchdog `/bin/sh` cannot be run ({error})"))
    }
}

#[cfg(test)]
mod tests {
    // Docker is played by a script. The server behind it is a real one.

    use super::*;
    use crate::testing::Server;
    use std::fs;
    use std::io::Write;

    /// Plays the client and its server: the files beside it are the image, the container and the port of the server.
    const DOCKER: &str = r#"#!/bin/sh
here=${0%/*}
case $1 in
version) echo 28.2.2 ;;
image) [ -e "$here/image" ] ;;
pull) [ "$2" = postgres:18 ] && : >"$here/image" ;;
run)
    [ -e "$here/image" ] || exit 1
    case " $* " in *' --publish=127.0.0.1::5432 '*) echo "$5" >"$here/container" ;; *) exit 1 ;; esac
    ;;
port) [ -e "$here/container" ] && read -r port <"$here/port" && echo "127.0.0.1:$port" ;;
exec) [ -e "$here/container" ] ;;
rm)
    if read -r name <"$here/container" && [ "$4" = "$name" ]; then /bin/rm "$here/container" && echo "$4"; fi
    exit 0
    ;;
*) exit 1 ;;
esac
"#;

    /// A directory with a client.
    struct Machine(PathBuf);

    impl Machine {
        /// Another process writes the script: nothing can be executed while a fork of this process has it open.
        fn with_docker(script: &str) -> Self {
            let path = env::temp_dir().join(format!("pubsub-docker-{:016x}", fastrand::u64(..)));
            fs::create_dir(&path).unwrap();
            let mut shell = Command::new("/bin/sh")
                .args(["-c", "/bin/cat >\"$0\" && /bin/chmod 755 \"$0\""])
                .arg(path.join("docker"))
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            assert!(shell.wait().unwrap().success());
            Self(path)
        }

        fn has(&self, name: &str) -> bool {
            self.0.join(name).exists()
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[tokio::test]
    async fn a_container_serves_and_is_removed() {
        let server = Server::shared().unwrap();
        let machine = Machine::with_docker(DOCKER);
        fs::write(machine.0.join("port"), format!("{}\n", server.port())).unwrap();

        let container = Container::start(machine.0.as_os_str()).unwrap();

        assert!(machine.has("image") && machine.has("container"));
        assert_eq!(container.url, server.url("postgres"));
        drop(tokio_postgres::connect(&container.url, tokio_postgres::NoTls).await.unwrap());
        drop(container);
        assert!(!machine.has("container"));
    }

    #[test]
    fn a_container_that_does_not_serve_is_removed() {
        let machine = Machine::with_docker(&DOCKER.replace("port) ", "port) exit 1; "));
        let refused = Container::start(machine.0.as_os_str()).unwrap_err();
        assert_eq!(refused, "`docker port` failed (exit status: 1)");
        assert!(machine.has("image") && !machine.has("container"));
    }

    #[test]
    fn a_container_that_ends_at_once_is_not_waited_for() {
        let logs =
            "logs) [ ! -e \"$here/ended\" ] && : >\"$here/ended\" && echo 'initdb: no space left' >&2 ;;";
        let ends = format!("{logs}\nexec) exit 1");
        let machine = Machine::with_docker(&DOCKER.replace("exec) [ -e \"$here/container\" ]", &ends));
        fs::write(machine.0.join("port"), "5432\n").unwrap();
        let refused = Container::start(machine.0.as_os_str()).unwrap_err();
        assert_eq!(
            refused,
            "the container has ended before its server answered: `docker logs` failed (exit status: 1); \
             its log ends with: initdb: no space left"
        );
    }

    /// As the server may do after it was asked for it, and after nobody waits for it any more.
    #[test]
    fn a_container_that_comes_late_is_removed() {
        let late =
            "rm) [ -e \"$here/asked\" ] || { : >\"$here/asked\"; echo \"$4\" >\"$here/container\"; exit 0; }";
        let machine = Machine::with_docker(&DOCKER.replace("run)", "run) exit 1;").replace("rm)", late));
        let refused = Container::start(machine.0.as_os_str()).unwrap_err();
        assert_eq!(refused, "`docker run` failed (exit status: 1)");
        assert!(machine.has("asked") && !machine.has("container"));
    }

    #[test]
    fn a_machine_without_docker_says_so() {
        assert_eq!(Container::start(OsStr::new("")).unwrap_err(), "there is no `docker` on PATH");
        let machine = Machine::with_docker("#!/bin/sh\nexit 1\n");
        let refused = Container::start(machine.0.as_os_str()).unwrap_err();
        assert_eq!(refused, "`docker version` failed (exit status: 1)");
    }
}
