//! Loading the configuration again while clients are served.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::Gateway;
use super::alarms;
use super::configuration::{Refusal, Whole, load_whole};
use super::process;
use super::signals::ReloadSignal;
use super::watch::Watcher;
use crate::admin::{Alarm, ReloadOutcome, ReloadReport, Source, Status};
use crate::auth::users::Actor;
use crate::auth::{AuditEvent, AuditKind};
use crate::clock;

/// Time between two looks at counters and states.
const LOOK: Duration = Duration::from_secs(10);

/// Who has asked for a reload, and where it waits for the result.
pub(super) type ReloadReply = (Actor, oneshot::Sender<ReloadReport>);

impl Gateway {
    /// Reloads when asked by signal, command or a changed file, and keeps the status of the service up to date.
    pub(super) async fn steer(
        &self,
        mut asked: ReloadSignal,
        mut requests: mpsc::Receiver<ReloadReply>,
        mut watcher: Watcher,
    ) -> Infallible {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said = status_line(&self.status());
        let mut near = NearBounds::default();
        loop {
            let (why, reply) = tokio::select! {
                () = asked.next() => ("SIGHUP", None),
                Some(request) = requests.recv() => ("a command", Some(request)),
                () = watcher.changed() => ("a changed file", None),
                _ = look.tick() => {
                    self.sample_rates();
                    let status = self.status();
                    near.warn_about(&status.alarms);
                    let line = status_line(&status);
                    if line != said {
                        self.notifier.status(&line).await;
                        said = line;
                    }
                    continue;
                }
            };
            info!("the configuration is loaded again because of {why}");
            // Looks at the files before they are read, so that a change in between is not lost.
            let watched = self.configuration().watched();
            watcher = Watcher::start(watched).await.unwrap_or(watcher);
            let actor = reply.as_ref().map_or("gateway", |(actor, _)| &*actor.name);
            let report = self.reload_now(why, actor).await;
            said = status_line(&self.status());
            self.notifier.ready(&said).await;
            if let Some((_, reply)) = reply {
                // Whoever asked may be gone; the result is in the status, too.
                let _ = reply.send(report);
            }
        }
    }

    async fn reload_now(&self, why: &str, actor: &str) -> ReloadReport {
        self.notifier.reloading().await;
        let main = self.configuration().next_main();
        let (path, state_dir) = (main.clone(), self.options.state_dir.clone());
        // Files may be on a slow card or a network; clients must not wait for them.
        let loaded =
            tokio::task::spawn_blocking(move || load_whole(path.as_deref(), &state_dir)).await;
        let report = match loaded {
            Ok(Ok(loaded)) => self.adopt(main, loaded).await,
            Ok(Err(refusal)) => self.refuse(*refusal),
            Err(error) => {
                error!(%error, "the configuration could not be loaded");
                let summary = "the configuration could not be loaded".to_owned();
                let faults = format!("error: {summary}\n");
                ReloadReport::refused(clock::wall_seconds(), summary, faults)
            }
        };
        self.configuration().note(report.clone());
        self.audit_reload(&report, why, actor);
        report
    }

    /// Writes down what a reload has changed, for whoever asks later; no secret is in a configuration.
    fn audit_reload(&self, report: &ReloadReport, why: &str, actor: &str) {
        let audit = self.serving.access().audit();
        let because = format!("because of {why}");
        for change in &report.changes {
            let event = AuditEvent::new(AuditKind::ConfigurationChanged, change);
            audit.note(event.actor(actor).detail(&because));
        }
        if let Some(summary) = &report.summary {
            let event = AuditEvent::new(AuditKind::ConfigurationRefused, summary);
            audit.note(event.actor(actor).detail(&because));
        }
    }

    /// Puts a configuration without faults into force.
    async fn adopt(&self, main: Option<std::path::PathBuf>, whole: Whole) -> ReloadReport {
        let settings = whole.loaded.settings.clone();
        let mut report = self.configuration().replace(main, whole);
        process::raise_descriptors(settings.limits.connections_max);
        self.authority.set(&settings);
        self.prepare_access(&settings).await;
        self.serving.apply(&settings).await;
        self.review_settings(&settings).await;
        self.storing.set(&settings.store);
        self.enrolment.set(&settings.est);
        self.admin_address.send_if_modified(|address| {
            std::mem::replace(address, settings.admin.http) != settings.admin.http
        });
        #[cfg(feature = "kube")]
        self.cluster.send_if_modified(|cluster| {
            let is_new = *cluster != settings.kubernetes;
            cluster.clone_from(&settings.kubernetes);
            is_new
        });
        report
            .warnings
            .extend(self.log.apply(&settings.log).map(str::to_owned));
        if super::control_path(&self.options, &settings) != self.control_socket {
            report
                .warnings
                .push("admin.control_socket takes effect at the next start".to_owned());
        }
        for warning in &report.warnings {
            warn!("configuration: {warning}");
        }
        if report.outcome == ReloadOutcome::Unchanged {
            info!("the configuration says what it said before");
        }
        report
    }

    /// Keeps what is in force and says why.
    fn refuse(&self, refusal: Refusal) -> ReloadReport {
        let faults = &refusal.report;
        for fault in faults.errors() {
            error!("configuration: {fault}");
        }
        error!(
            "the changed configuration is refused, {}; the old one stays in force",
            faults.summary()
        );
        self.configuration().refuse_whole(refusal)
    }
}

/// One line for the service manager.
pub(super) fn status_line(status: &Status) -> String {
    let all = status.ports.len();
    let open = status
        .ports
        .iter()
        .filter(|port| port.state == "listening")
        .count();
    let mut line = match (open, all) {
        (1, 1) => "serving 1 port".to_owned(),
        _ if open == all => format!("serving {all} ports"),
        _ => format!("serving {open} of {all} ports"),
    };
    for alarm in status
        .alarms
        .iter()
        .filter(|alarm| alarm.name != alarms::DROPPED)
    {
        line.push_str("; ");
        line.push_str(&alarm.text);
    }
    line
}

/// The bounds that were near at the last look; each is worth one line in the log, whoever else reports the rest.
#[derive(Debug, Default)]
struct NearBounds(Vec<String>);

impl NearBounds {
    fn warn_about(&mut self, alarms: &[Alarm]) {
        let near = alarms
            .iter()
            .filter(|alarm| alarm.name == alarms::NEAR_BOUND);
        for alarm in near
            .clone()
            .filter(|alarm| !self.0.contains(&alarm.subject))
        {
            warn!("{}", alarm.text);
        }
        self.0 = near.map(|alarm| alarm.subject.clone()).collect();
    }
}
