//! Starts a runtime: checks the setup, declares channels, creates subscriptions, and connects the actors.

#[cfg(feature = "actix-web-4")]
use super::checkup::Checkup;
use super::pubsub::{PubSub, Running, RunningSubscription};
use super::setup::{Declaration, Setup, SubscriptionSetup};
use crate::actors::arbiter_thread::ArbiterThread;
use crate::actors::dispatcher::Dispatcher;
use crate::actors::dispatcher::config::{DispatcherConfig, StartHost};
use crate::actors::heartbeat::{Heartbeat, Pace, Recipients, Registered};
use crate::actors::janitor::{Janitor, Trim};
use crate::actors::listener::Listener;
use crate::actors::message::Wake;
use crate::actors::scheduler::{Scheduler, Served};
use crate::actors::supervisor::ActorSlot;
use crate::config::Config;
use crate::error::Error;
use crate::model::process::ProcessId;
use crate::model::retention::Retention;
use crate::model::settings::{SubscriptionSettings, TimeLimit};
use crate::observe::{Gauges, Vitals};
use crate::store::restore::Recognized;
use crate::store::{Store, Target};
use actix::{Arbiter, Recipient, System};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

pub(super) async fn start(setup: Setup) -> Result<PubSub, Error> {
    setup.check()?;
    let Setup { target, config, declarations, retentions, subscriptions } = setup;
    System::try_current().ok_or(Error::NoActixSystem)?;
    if cfg!(panic = "abort") {
        tracing::warn!(
            "compiled with `panic = \"abort\"`: a handler that panics ends the process, and only leases protect"
        );
    }
    let target = target?;
    target.check_schema(config.deadline).await?;
    let Recognized { incarnation, news } = target.recognize().await?;
    if let Some(news) = news {
        tracing::warn!(news, "the database is not where it was");
    }

    let arbiter = ArbiterThread::start()?;
    let runtime = runtime_of(&arbiter).await?;
    let store = Store::new(&target, &runtime, config.connections, config.deadline);
    declare(&store, &declarations, &retentions).await?;
    let trims = subscriptions.iter().filter_map(|setup| Trim::of(&setup.settings)).collect();
    let hosted = subscribe(&store, subscriptions).await?;
    let host = host_name();
    let process = ProcessId::new(store.register_process(&host).await?);
    let registered = Registered { host, process: process.clone(), incarnation };
    tracing::info!(process = process.get(), subscriptions = hosted.len(), "the pubsub runtime starts");

    let vitals = Arc::new(Vitals::default());
    #[cfg(feature = "actix-web-4")]
    let checkup = Checkup::new(Arc::clone(&vitals), config.silence_limit, config.report_unread_after);
    let wiring = Wiring { target, config, store: store.clone(), registered, vitals, trims };
    let (answer, wired) = oneshot::channel();
    arbiter.spawn_fn(move || drop(answer.send(wiring.wire(hosted))));
    let subscriptions = wired.await.map_err(|_| Error::Stopped)?;
    Ok(PubSub::new(Running {
        arbiter,
        subscriptions,
        store,
        process,
        #[cfg(feature = "actix-web-4")]
        checkup,
    }))
}

/// Creates all subscriptions. Returns those whose handlers run in this process.
async fn subscribe(
    store: &Store,
    subscriptions: Vec<SubscriptionSetup>,
) -> Result<Vec<HostedSubscription>, Error> {
    let mut hosted = Vec::with_capacity(subscriptions.len());
    for SubscriptionSetup { settings, start_host } in subscriptions {
        let id = store.subscribe(&settings).await?;
        let SubscriptionSettings { channel, name, .. } = &settings;
        match settings.unread_limit {
            TimeLimit::Unset => {}
            TimeLimit::Unlimited => store.set_unread_limit(channel, name, None).await?,
            TimeLimit::After(limit) => store.set_unread_limit(channel, name, Some(limit)).await?,
        }
        if let Some(start_host) = start_host {
            let thread = ArbiterThread::start()?;
            hosted.push(HostedSubscription { id, settings: Arc::new(settings), start_host, thread });
        }
    }
    Ok(hosted)
}

/// A subscription whose handler runs in this process.
struct HostedSubscription {
    id: i32,
    settings: Arc<SubscriptionSettings>,
    start_host: StartHost,
    /// The handler's thread.
    thread: ArbiterThread,
}

/// The values that all actors need.
struct Wiring {
    target: Target,
    config: Config,
    store: Store,
    registered: Registered,
    vitals: Arc<Vitals>,
    trims: Vec<Trim>,
}

impl Wiring {
    /// Starts every actor. Runs on the runtime's own arbiter, on which they live.
    fn wire(self, hosted: Vec<HostedSubscription>) -> Vec<RunningSubscription> {
        let scheduler = ActorSlot::<Scheduler>::new();
        let mut served = Vec::new();
        let mut sleepers: HashMap<String, Vec<Recipient<Wake>>> = HashMap::new();
        let mut scheduled = HashMap::new();
        let subscriptions = hosted.len();
        for HostedSubscription { id, settings, start_host, thread } in hosted {
            let SubscriptionSettings { channel, version, .. } = *settings;
            let subscription = Arc::clone(&settings.name);
            let gauges = Arc::new(Gauges::default());
            let config = DispatcherConfig {
                store: self.store.clone(),
                subscription: id,
                settings,
                subscriptions,
                process: self.registered.process.clone(),
                poll_interval: self.config.poll_interval,
                start_host,
                scheduler: scheduler.address().recipient(),
                renewals: scheduler.address().recipient(),
                gauges: Arc::clone(&gauges),
            };
            let slot = ActorSlot::<Dispatcher>::new();
            let dispatcher = Dispatcher::new(config, thread, &slot.address());
            let dispatcher = slot.start("dispatcher", dispatcher);
            sleepers.entry(channel.to_owned()).or_default().push(dispatcher.clone().recipient());
            let (mailbox, log) = (dispatcher.clone().recipient(), dispatcher.clone().recipient());
            scheduled.insert(id, Served { mailbox, log, version });
            served.push(RunningSubscription { channel, subscription, dispatcher, gauges });
        }
        self.start_process_actors(scheduler, &served, sleepers, scheduled);
        served
    }

    /// Starts the actors of which a process has one each.
    fn start_process_actors(
        self,
        scheduler: ActorSlot<Scheduler>,
        served: &[RunningSubscription],
        sleepers: HashMap<String, Vec<Recipient<Wake>>>,
        scheduled: HashMap<i32, Served>,
    ) {
        let Self { target, config, store, registered, vitals, trims } = self;
        let process = registered.process.clone();
        let scheduler = scheduler.start(
            "scheduler",
            Scheduler::new(
                store.clone(),
                process.clone(),
                scheduled,
                config.poll_interval,
                config.heartbeat_interval,
                config.silence_limit,
            ),
        );
        let listener = ActorSlot::<Listener>::new();
        let dispatchers = served.iter().map(|RunningSubscription { dispatcher, .. }| dispatcher);
        let recipients = Recipients {
            reregistered: dispatchers
                .clone()
                .map(|dispatcher| dispatcher.clone().recipient())
                .chain([listener.address().recipient()])
                .collect(),
            incarnation_ended: dispatchers.map(|dispatcher| dispatcher.clone().recipient()).collect(),
            beat_ended: scheduler.clone().recipient(),
        };
        let Config { heartbeat_interval: every, silence_limit, .. } = config;
        ActorSlot::new().start(
            "heartbeat",
            Heartbeat::new(
                target.clone(),
                config.deadline,
                registered,
                Pace { every, silence_limit },
                recipients,
                Arc::clone(&vitals),
            ),
        );
        listener.start(
            "listener",
            Listener::new(target.clone(), config.deadline, process, sleepers, scheduler.recipient(), vitals),
        );
        ActorSlot::new().start(
            "janitor",
            Janitor::new(store, target, trims, config.report_unread_after, config.report_transactions_after),
        );
    }
}

/// Declares the channels. A retention that was set at the builder takes precedence over the channel's.
async fn declare(
    store: &Store,
    declarations: &BTreeMap<&'static str, Declaration>,
    retentions: &BTreeMap<&'static str, Retention>,
) -> Result<(), Error> {
    for (name, Declaration { version, description, retention, fingerprint, strict, json_schema }) in
        declarations
    {
        store.declare_channel(name, *version, description).await?;
        match retentions.get(name).filter(|set| **set != Retention::Default).unwrap_or(retention) {
            Retention::Default => {}
            Retention::Forever => store.set_retention(name, None).await?,
            Retention::For(retention) => store.set_retention(name, Some(*retention)).await?,
        }
        let schema = json_schema();
        if *strict || schema.is_some() {
            store.declare_schema(name, *version, schema.as_ref(), *strict).await?;
        }
        if let Some(other) = store.declare_version(name, *version, *fingerprint).await? {
            tracing::warn!(
                channel = name,
                version,
                declared_at = %other,
                "another shape of this version of the payload was declared before: if each can read what the other writes, \
                 because a field was added that is optional or has a default, all is well; if not, give the new one \
                 `version = {}` and `upcast_from`",
                version + 1
            );
        }
    }
    Ok(())
}

/// Returns the tokio runtime behind an arbiter.
async fn runtime_of(arbiter: &Arbiter) -> Result<Handle, Error> {
    let (answer, handle) = oneshot::channel();
    arbiter.spawn_fn(move || drop(answer.send(Handle::current())));
    handle.await.map_err(|_| Error::Stopped)
}

/// Returns this machine's name, for the logs of other processes.
fn host_name() -> String {
    std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
