//! Serves HTTP until a signal, and then ends in order: the server first, and the runtime afterwards.

use super::signals::Signals;
use crate::error::{Error, error_chain};
use crate::runtime::PubSub;
use crate::runtime::pubsub::DROP_DEADLINE;
use actix_http_3::{Request, Response};
use actix_service_2::{IntoServiceFactory, Service, ServiceFactory};
use actix_web_4::HttpServer;
use actix_web_4::body::MessageBody;
use actix_web_4::dev::{AppConfig, Server};
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// Why the service ends.
enum End {
    Signal,
    /// The server has ended by itself.
    Server(io::Result<()>),
    /// The runtime has ended by itself, or was drained. Then it is known whether everything was finished.
    Runtime(Option<bool>),
}

impl PubSub {
    /// Runs the HTTP server until SIGTERM or SIGINT (Ctrl-C), and then ends in order:
    /// 1. The server accepts no more connections, and finishes the requests that are under way. They may still publish.
    ///    After half of `deadline`, the connections that are left are closed. The server's threads look once a second whether
    ///    connections have ended.
    /// 2. The runtime [drains](Self::drain) within the rest of `deadline`.
    ///
    /// Returns whether all deliveries that had started were finished, as [`drain`](Self::drain) does. It returns at most two
    /// seconds after `deadline`: the database has this time to answer. So set `deadline` three seconds below the time after which
    /// the process is killed, which is 30 s in Kubernetes.
    ///
    /// A second signal ends both at once. The deliveries that have not started are returned, and those that have run again as
    /// their next attempt. Without an answer of the database this takes up to two seconds. If your own code calls
    /// [`drain`](Self::drain), the server closes too.
    ///
    /// The server's own handling of signals stops the actix system, and the handlers with it. So `serve` turns it off. Do not set
    /// `shutdown_signal` or `system_exit`, which stop the system too. `serve` sets the server's `shutdown_timeout`.
    ///
    /// Feature `actix-web-4`; on other systems than Unix, the signal is Ctrl-C.
    ///
    /// # Examples
    /// ```no_run
    /// # extern crate actix_web_4 as actix_web;
    /// use actix_web::{App, HttpServer};
    /// use pubsub::PubSub;
    /// use std::time::Duration;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let pubsub = PubSub::builder("postgres://localhost/shop").start().await?;
    /// let app = {
    ///     let pubsub = pubsub.clone();
    ///     move || App::new().app_data(pubsub.clone()).service(pubsub::web::health(&pubsub))
    /// };
    /// pubsub.serve(HttpServer::new(app).bind("127.0.0.1:8080")?, Duration::from_secs(25)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Serve`]: the signals cannot be caught, or the server has no address or failed. The runtime has drained then.
    /// - [`Error::Stopped`]: the runtime's threads have ended, for instance because the actix system was stopped.
    ///
    /// # Cancel safety
    /// Dropping the future closes the server at once, without its requests, and leaves the runtime running, or draining. The
    /// process does not end by SIGTERM and SIGINT any more.
    pub async fn serve<F, I, S, B>(
        &self,
        server: HttpServer<F, I, S, B>,
        deadline: Duration,
    ) -> Result<bool, Error>
    where
        F: Fn() -> I + Send + Clone + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<actix_web_4::Error> + 'static,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>> + 'static,
        <S::Service as Service<Request>>::Future: 'static,
        S::Service: 'static,
        B: MessageBody + 'static,
    {
        let begun = if server.addrs().is_empty() {
            // Without one, actix-web panics.
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it has no address: call `bind` or `listen` first",
            ))
        } else {
            Signals::catch()
        };
        match begun {
            Ok(signals) => {
                // `close` keeps the deadline. The server's own must not be shorter, and has whole seconds.
                let server = server.disable_signals().shutdown_timeout(whole_seconds(deadline / 2)).run();
                self.end_in_order(server, signals, deadline).await
            }
            Err(error) => {
                self.drain(deadline).await;
                Err(Error::Serve(error))
            }
        }
    }

    async fn end_in_order(
        &self,
        mut server: Server,
        mut signals: Signals,
        deadline: Duration,
    ) -> Result<bool, Error> {
        let end = tokio::select! {
            signal = signals.next() => {
                tracing::info!(signal, ?deadline, "the HTTP server closes, and then the pubsub runtime drains");
                End::Signal
            }
            ended = &mut server => {
                tracing::warn!("the HTTP server has ended by itself; the pubsub runtime drains");
                End::Server(ended)
            }
            () = self.arbiter().ended() => {
                tracing::warn!("the pubsub runtime has ended; the HTTP server closes");
                End::Runtime(self.finished())
            }
        };
        let began = Instant::now();
        let ending = async {
            if !matches!(end, End::Server(_)) {
                close(server, deadline / 2).await;
            }
            self.drain(deadline.saturating_sub(began.elapsed())).await
        };
        let finished = tokio::select! {
            finished = ending => finished,
            signal = signals.next() => {
                tracing::warn!(signal, "a second signal: what is under way is not finished");
                self.drain(DROP_DEADLINE).await
            }
        };
        match end {
            End::Signal => Ok(finished),
            End::Server(ended) => ended.map(|()| finished).map_err(Error::Serve),
            End::Runtime(finished) => finished.ok_or(Error::Stopped),
        }
    }
}

/// Rounds up.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// Closes the server: no new connections, and no more than `deadline` for the requests that are under way.
async fn close(mut server: Server, deadline: Duration) {
    // `stop` sends the command when it is called. We await the server itself, so its future is dropped.
    drop(server.handle().stop(true));
    match tokio::time::timeout(deadline, &mut server).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = error_chain(&error), "the HTTP server failed while it closed");
        }
        Err(_) => tracing::warn!(?deadline, "requests were still under way; their connections are closed"),
    }
}
