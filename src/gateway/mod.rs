//! Floor 5: the composition root. Builds everything in order, says when it is ready, reloads, stops.
//!
//! The order of a start: configuration, log, state folder, hub, ports, probes and control socket, ready. The order of a
//! stop: not ready, ports accept nobody, clients are told and drained, the rest goes.

mod access;
mod alarms;
mod authority;
mod boot;
mod configuration;
#[cfg(feature = "kube")]
mod controller;
mod discovery;
mod enrolment;
mod expiry;
mod heartbeat;
mod incidents;
mod lock;
mod offline;
mod process;
mod rates;
mod readiness;
mod reload;
mod serving;
mod signals;
mod source;
mod storing;
mod watch;

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::sync::{mpsc, watch as watch_channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

pub use boot::{BootFault, BootImport, BootReport, Problem};
pub use configuration::{CONFIG_FILE, Configuration, find_config};
pub use incidents::BOOT_IMPORT;
pub use lock::{LockFault, Owner, StateLock};
pub use offline::{Offline, OfflineFault};

use crate::admin::control::ControlSocket;
use crate::admin::http::{self, HttpState};
use crate::admin::{Alarm, ClusterReport, Source};
use crate::auth::{Access, Users};
use crate::clock;
use crate::config::Settings;
use crate::discovery::Discovery;
use crate::logging::Log;
use crate::net::PassedSockets;
use crate::systemd::Notifier;
use authority::Authority;
use enrolment::Enrolment;
use heartbeat::Heartbeat;
use rates::RateWindow;
use readiness::Readiness;
use reload::ReloadReply;
use serving::Serving;
use signals::{ReloadSignal, StopSignals};
use storing::{Found, Storing};

/// Name of the control socket in the runtime folder.
pub const CONTROL_SOCKET: &str = "control.sock";

/// Pause between two attempts to open the control socket.
const CONTROL_PAUSE: Duration = Duration::from_secs(5);

/// Pause between two signs of life during the start.
const START_PAUSE: Duration = Duration::from_secs(20);

/// How long the service manager is asked to wait for the start, whatever its unit says.
const START_TIME_MAX: Duration = Duration::from_secs(30 * 60);

/// Time for what is left to do once the clients are gone.
const STOP_REST: Duration = Duration::from_secs(5);

/// Requests for a reload that may wait; more wait in their connections.
const RELOADS_MAX: usize = 4;

/// What the command line decides about a gateway.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder for everything that is kept.
    pub state_dir: PathBuf,
    /// Folder for the control socket, unless the configuration names its path.
    pub runtime_dir: PathBuf,
}

/// Everything that the parts of a running gateway share.
#[derive(Debug)]
struct Gateway {
    options: Options,
    started: Instant,
    log: Log,
    notifier: Notifier,
    /// None where the state folder cannot be written.
    lock: Mutex<Option<StateLock>>,
    configuration: Mutex<Configuration>,
    readiness: Readiness,
    serving: Arc<Serving>,
    storing: Storing,
    authority: Authority,
    enrolment: Enrolment,
    heartbeat: Heartbeat,
    discovery: Discovery,
    rates: Mutex<RateWindow>,
    control_socket: PathBuf,
    control_fault: Mutex<Option<String>>,
    incidents: Vec<Alarm>,
    admin: HttpState,
    admin_address: watch_channel::Sender<Option<SocketAddr>>,
    reloads: mpsc::Sender<ReloadReply>,
    /// How it gets on with its cluster; nothing while it follows none.
    cluster_report: Mutex<Option<ClusterReport>>,
    #[cfg(feature = "kube")]
    cluster: watch_channel::Sender<crate::config::KubernetesSettings>,
}

/// Runs a gateway until it is told to stop.
///
/// `passed` are the sockets of the service manager, which have to be taken before there are threads.
pub async fn run(
    options: Options,
    mut configuration: Configuration,
    log: Log,
    passed: PassedSockets,
) -> anyhow::Result<()> {
    // Caught first, so that a signal during the start is not lost.
    let mut stop = StopSignals::catch().context("cannot catch SIGTERM and SIGINT")?;
    let asked = ReloadSignal::catch().context("cannot catch SIGHUP")?;
    let watcher = configuration.take_watcher();
    let lock = match StateLock::acquire(&options.state_dir) {
        Ok(lock) => Some(lock),
        Err(fault) if fault.is_read_only() => {
            warn!("{:#}", anyhow::Error::new(fault));
            None
        }
        Err(fault) => return Err(fault.into()),
    };
    let mut found = open_store(&options, configuration.settings()).await?;
    let (reloads, requests) = mpsc::channel(RELOADS_MAX);
    let settings = configuration.settings();
    let authority = open_authority(&options, &mut found, settings).await?;
    let access = access_of(&mut found, &options, &authority, settings);
    let serving = Arc::new(Serving::new(settings, passed, found.base(), access));
    let storing = Storing::begin(found, serving.hub(), &settings.store);
    let gateway = Arc::new(Gateway::new(
        options,
        configuration,
        log,
        lock,
        serving,
        (storing, authority),
        reloads,
    ));

    let mut tasks = JoinSet::new();
    let started = tokio::select! {
        started = gateway.start(&mut tasks) => Some(started),
        signal = stop.next() => {
            info!("{signal} came during the start");
            None
        }
        never = gateway.tell_of_start() => match never {},
    };
    let outcome = match started {
        None => Ok(()),
        Some(()) => tokio::select! {
            signal = stop.next() => {
                info!("stopping because of {signal}");
                Ok(())
            }
            Some(ended) = tasks.join_next() => {
                error!(?ended, "a part of the gateway ended by itself");
                Err(anyhow!("a part of the gateway ended by itself"))
            }
            () = gateway.storing.broken() => {
                Err(anyhow!("the database is damaged; the next start keeps what can be read of it"))
            }
            never = gateway.steer(asked, requests, watcher) => match never {},
        },
    };
    gateway.stop(&mut stop).await;
    // Waits for the tasks, so that the control socket is gone when the process is.
    tasks.shutdown().await;
    outcome
}

/// Who may connect and what they may do, with the users that were found.
fn access_of(
    found: &mut Found,
    options: &Options,
    authority: &Authority,
    settings: &Settings,
) -> Arc<Access> {
    let users = match found.take_users() {
        Some(users) => Users::new(users, found.jobs()),
        None => Users::unreadable(found.jobs()),
    };
    let (users, protection) = (Arc::new(users), &settings.protection);
    let access = Access::new(&options.state_dir, users, authority.device(), protection);
    access.audit().attach(found.jobs());
    access.set(settings);
    Arc::new(access)
}

impl Gateway {
    fn new(
        options: Options,
        configuration: Configuration,
        log: Log,
        lock: Option<StateLock>,
        serving: Arc<Serving>,
        (storing, authority): (Storing, Authority),
        reloads: mpsc::Sender<ReloadReply>,
    ) -> Self {
        let settings = configuration.settings();
        let access = Arc::clone(serving.access());
        process::raise_descriptors(settings.limits.connections_max);
        Self {
            started: clock::now(),
            log,
            notifier: Notifier::from_environment(),
            lock: Mutex::new(lock),
            readiness: Readiness::default(),
            heartbeat: Heartbeat::new({
                let serving = Arc::clone(&serving);
                move || serving.round_trip()
            }),
            discovery: Discovery::default(),
            serving,
            storing,
            authority,
            enrolment: Enrolment::new(access, &settings.est),
            rates: Mutex::default(),
            control_socket: control_path(&options, settings),
            control_fault: Mutex::default(),
            incidents: incidents::incidents(&options.runtime_dir, configuration.main()),
            cluster_report: Mutex::default(),
            admin: HttpState::default(),
            admin_address: watch_channel::Sender::new(settings.admin.http),
            #[cfg(feature = "kube")]
            cluster: watch_channel::Sender::new(settings.kubernetes.clone()),
            reloads,
            configuration: Mutex::new(configuration),
            options,
        }
    }

    /// Starts everything and says so when it is up.
    async fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        let settings = self.report_configuration();
        let ports = self.readiness.latch("ports");
        let gateway = Arc::clone(self);
        tasks.spawn(async move { gateway.serving.run_timers().await });
        let gateway = Arc::clone(self);
        tasks.spawn(async move { gateway.review_on_change().await });
        let gateway = Arc::clone(self);
        tasks.spawn(async move { gateway.follow_authority().await });
        let audit = Arc::clone(self.serving.access().audit());
        tasks.spawn(async move { audit.run().await });
        tasks.spawn(Arc::clone(self.serving.access().users()).keep_seen());
        self.prepare_access(&settings).await;
        self.remember_logins().await;
        self.serving.apply(&settings).await;
        drop(ports);

        let (address, gateway) = (self.admin_address.subscribe(), Arc::clone(self));
        tasks.spawn(async move {
            http::serve(address, Arc::clone(&gateway), gateway.admin.clone()).await
        });
        self.start_enrolment(tasks).await;
        self.start_discovery(tasks);
        let control = self.open_control().await;
        let gateway = Arc::clone(self);
        tasks.spawn(async move { gateway.serve_control(control).await });
        let gateway = Arc::clone(self);
        tasks.spawn(async move { gateway.keep_authority().await });
        let gateway = Arc::clone(self);
        tasks.spawn(
            async move { heartbeat::feed_watchdog(&gateway.heartbeat, gateway.notifier).await },
        );

        #[cfg(feature = "kube")]
        tasks.spawn(Arc::clone(self).follow_cluster(self.cluster.subscribe()));

        let line = reload::status_line(&self.status());
        info!(version = env!("CARGO_PKG_VERSION"), name = %settings.gateway.name, "ready: {line}");
        self.notifier.ready(&line).await;
    }

    /// Has the service manager wait for a start that takes long, as the first one does on a small board with keys of RSA, but
    /// not for one that hangs.
    async fn tell_of_start(&self) -> Infallible {
        let makes_keys = self.configuration().settings().needs_authority();
        let line = match makes_keys {
            true => "starting: keys and certificates are made, which may take minutes with RSA",
            false => "starting",
        };
        let mut left = START_TIME_MAX;
        while !left.is_zero() {
            self.notifier.starting(line, START_PAUSE * 3).await;
            sleep(START_PAUSE).await;
            left = left.saturating_sub(START_PAUSE);
        }
        pending().await
    }

    /// Lets devices enrol over the network, where the settings say so.
    async fn start_enrolment(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        self.enrolment.prepare(&self.serving).await;
        let gateway = Arc::clone(self);
        tasks.spawn(async move { gateway.enrolment.keep_certificate(&gateway.serving).await });
        let gateway = Arc::clone(self);
        tasks.spawn(async move { gateway.enrolment.serve_https().await });
        let gateway = Arc::clone(self);
        tasks.spawn(async move { gateway.enrolment.serve_http().await });
    }

    /// Has the network know where the ports are.
    fn start_discovery(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        let gateway = Arc::clone(self);
        tasks.spawn(async move { match gateway.discovery.run().await {} });
        let gateway = Arc::clone(self);
        tasks.spawn(async move { match gateway.announce().await {} });
    }

    /// Says in the log which configuration is in force, and returns it.
    fn report_configuration(&self) -> Settings {
        let configuration = self.configuration();
        match configuration.main() {
            Some(main) => info!("configuration: {}", main.display()),
            None => info!(
                "configuration: the embedded default, on loopback only; there is no {CONFIG_FILE}"
            ),
        }
        for warning in configuration.warnings() {
            warn!("configuration: {warning}");
        }
        configuration.settings().clone()
    }

    /// Opens the control socket, or notes why it cannot be opened: clients are served without it, too.
    async fn open_control(&self) -> Option<ControlSocket> {
        let opened = ControlSocket::bind(&self.control_socket).await;
        let mut noted = self
            .control_fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match opened {
            Ok(socket) => {
                *noted = None;
                let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(lock) = &mut *lock
                    && let Err(error) = lock.record_control_socket(&self.control_socket)
                {
                    warn!(%error, "cannot write down where the control socket is");
                }
                Some(socket)
            }
            Err(fault) => {
                let text = format!("{:#}", anyhow::Error::new(fault));
                if noted.as_ref() != Some(&text) {
                    warn!("{text}; trying again");
                }
                *noted = Some(text);
                None
            }
        }
    }

    async fn serve_control(self: Arc<Self>, mut control: Option<ControlSocket>) {
        loop {
            match control {
                Some(socket) => return socket.serve(Arc::clone(&self)).await,
                None => sleep(CONTROL_PAUSE).await,
            }
            control = self.open_control().await;
        }
    }

    /// Ends what clients notice, within the time that the limits give, or at once at a second signal.
    async fn stop(self: &Arc<Self>, again: &mut StopSignals) {
        let _stopping = self.readiness.latch("stop");
        let deadline = self.configuration().settings().limits.stop_timeout;
        let status = "stopping: clients are told";
        self.notifier.stopping(status, deadline + STOP_REST).await;
        self.discovery.close().await;
        tokio::select! {
            stopped = timeout(deadline, self.serving.stop()) => match stopped {
                Ok(()) => info!("stopped"),
                Err(_) => warn!("stopped; clients that did not take their last words in time were cut"),
            },
            signal = again.next() => warn!("stopped at once because of a second {signal}"),
        }
        self.authority.stop().await;
        self.close_store().await;
    }

    /// Stores what is left. A disk that hangs must not keep the process from ending.
    async fn close_store(self: &Arc<Self>) {
        let gateway = Arc::clone(self);
        let access = Arc::clone(self.serving.access());
        let flushed = timeout(STOP_REST, access.audit().flush()).await;
        if let Ok(Err(fault)) = flushed {
            warn!(hint = fault.hint(), "{fault}");
        }
        let closing = tokio::task::spawn_blocking(move || {
            if let Err(fault) = access.users().flush_seen() {
                warn!(hint = fault.hint(), "{fault}");
            }
            gateway.storing.finish();
        });
        if timeout(STOP_REST, closing).await.is_err() {
            error!("the database could not be closed in time");
        }
    }

    /// Not to be held while waiting for anything.
    fn configuration(&self) -> MutexGuard<'_, Configuration> {
        self.configuration
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn sample_rates(&self) {
        let broker = self.serving.broker(self.configuration().settings());
        self.rates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .sample(clock::now(), &broker);
    }
}

/// Opens the store, which takes a while when much is in it.
async fn open_store(options: &Options, settings: &Settings) -> anyhow::Result<Found> {
    let (state_dir, settings) = (options.state_dir.clone(), settings.store.clone());
    tokio::task::spawn_blocking(move || Found::open(&state_dir, &settings))
        .await
        .context("the store could not be opened")
}

/// Opens the certificate authority, for which files are read and keys are opened.
async fn open_authority(
    options: &Options,
    found: &mut Found,
    settings: &Settings,
) -> anyhow::Result<Authority> {
    let (records, jobs) = (found.take_certificates(), found.jobs());
    let (state_dir, settings) = (options.state_dir.clone(), settings.clone());
    tokio::task::spawn_blocking(move || Authority::open(&state_dir, records, jobs, &settings))
        .await
        .context("the certificate authority could not be opened")
}

/// Where the control socket is by the settings, else by the command line.
fn control_path(options: &Options, settings: &Settings) -> PathBuf {
    settings
        .admin
        .control_socket
        .clone()
        .unwrap_or_else(|| options.runtime_dir.join(CONTROL_SOCKET))
}
