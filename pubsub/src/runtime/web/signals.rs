//! The signals that end a process.

use std::io;

#[cfg(unix)]
pub(super) use unix::Signals;

#[cfg(unix)]
mod unix {
    use super::io;
    use actix_rt::signal::unix::{Signal, SignalKind, signal};

    /// SIGTERM and SIGINT. They end the process no more once they are caught, also after this value is dropped.
    #[derive(Debug)]
    pub(in crate::runtime::web) struct Signals {
        terminate: Signal,
        interrupt: Signal,
    }

    impl Signals {
        pub(in crate::runtime::web) fn catch() -> io::Result<Self> {
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        }

        /// Waits for the next signal. Returns its name.
        pub(in crate::runtime::web) async fn next(&mut self) -> &'static str {
            tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
            }
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
#[derive(Debug)]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits for the next signal. Returns its name.
    pub(super) async fn next(&mut self) -> &'static str {
        match actix_rt::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            Err(_) => std::future::pending().await,
        }
    }
}
