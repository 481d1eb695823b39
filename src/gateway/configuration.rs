//! Which files are in force, and what came of loading them again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::watch::Watcher;
use crate::admin::{ConfigurationReport, ReloadOutcome, ReloadReport};
use crate::clock;
use crate::config::{
    self, Authentication, Authorization, Loaded, Paint, PortSettings, Report, ResourceName,
    Settings,
};

/// Where a configuration is looked for when none is named.
pub const CONFIG_FILE: &str = "/etc/fieldgate/gateway.toml";

/// The configuration that is in force.
#[derive(Debug)]
pub struct Configuration {
    /// The main file; none while the embedded default is in force.
    main: Option<PathBuf>,
    loaded: Loaded,
    loaded_at_seconds: u64,
    reloads_applied: u64,
    reloads_refused: u64,
    last_reload: Option<ReloadReport>,
    watcher: Option<Watcher>,
    /// Why what a cluster has added is not in force.
    left_out: Option<String>,
    /// What the files say by themselves, where a cluster may add to them.
    files: Option<Box<Settings>>,
}

impl Configuration {
    /// Loads the file that is named, else the one in the usual place, else the embedded default. What a cluster has added
    /// before is in `state_dir`; a gateway starts without it rather than not at all.
    pub fn load(named: Option<&Path>, state_dir: &Path) -> Result<Self, Report> {
        let main = find_config(named);
        // Looks at the files before they are read, so that a change in between is not lost.
        let watcher = Watcher::new(main.as_deref().unwrap_or(Path::new(CONFIG_FILE)));
        let alone = config::load(main.as_deref())?;
        let mut left_out = None;
        let whole = match add(main.as_deref(), alone.clone(), state_dir) {
            Ok(whole) => whole,
            Err(report) => {
                let why = report.summary();
                left_out = Some(format!(
                    "what the cluster has added before is left out: {why}"
                ));
                alone.into()
            }
        };
        Ok(Self {
            left_out,
            main,
            watcher: Some(watcher),
            loaded: whole.loaded,
            files: whole.files,
            loaded_at_seconds: clock::wall_seconds(),
            reloads_applied: 0,
            reloads_refused: 0,
            last_reload: None,
        })
    }

    /// What the files say by themselves.
    #[cfg(feature = "kube")]
    pub(super) fn files(&self) -> &Settings {
        self.files.as_deref().unwrap_or(&self.loaded.settings)
    }

    /// The main file; none while the embedded default is in force.
    pub(crate) fn main(&self) -> Option<&Path> {
        self.main.as_deref()
    }

    /// What the gateway runs on.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.loaded.settings
    }

    /// What is odd about it, one line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = lines(&self.loaded);
        warnings.extend(self.left_out.clone());
        warnings
    }

    /// Who says when the files change.
    pub(crate) fn take_watcher(&mut self) -> Watcher {
        self.watcher
            .take()
            .unwrap_or_else(|| Watcher::new(&self.watched()))
    }

    /// The file to watch: the one in force, or the one that would be if it were there.
    #[must_use]
    pub(crate) fn watched(&self) -> PathBuf {
        self.main
            .clone()
            .unwrap_or_else(|| PathBuf::from(CONFIG_FILE))
    }

    /// The file to load next. A file that was in force once stays the one that is meant, even when it is gone: falling back
    /// to the embedded default would close every port of the site.
    pub(crate) fn next_main(&self) -> Option<PathBuf> {
        self.main.clone().or_else(|| find_config(None))
    }

    /// Takes what was loaded from `main` and says what differs; the caller applies it.
    pub(super) fn replace(
        &mut self,
        main: Option<PathBuf>,
        whole: impl Into<Whole>,
    ) -> ReloadReport {
        let Whole { loaded, files } = whole.into();
        let changes = differences(&self.loaded.settings, &loaded.settings);
        let unchanged =
            self.loaded.settings == loaded.settings && self.loaded.sources == loaded.sources;
        let report = ReloadReport {
            at_seconds: clock::wall_seconds(),
            outcome: if unchanged {
                ReloadOutcome::Unchanged
            } else {
                ReloadOutcome::Applied
            },
            changes,
            warnings: lines(&loaded),
            summary: None,
            faults: None,
        };
        self.main = main;
        self.left_out = None;
        self.files = files;
        self.loaded = loaded;
        self.loaded_at_seconds = report.at_seconds;
        self.reloads_applied += 1;
        report
    }

    /// Notes that the files were refused; what was in force stays. Where a cluster stands against them, it sees what they
    /// say and gives way.
    pub(super) fn refuse_whole(&mut self, refusal: Refusal) -> ReloadReport {
        if refusal.files.is_some() {
            self.files = refusal.files;
        }
        self.refuse(&refusal.report)
    }

    /// Notes that the files were refused; what was in force stays.
    pub(crate) fn refuse(&mut self, faults: &Report) -> ReloadReport {
        self.reloads_refused += 1;
        let mut summary = faults
            .errors()
            .next()
            .map(ToString::to_string)
            .unwrap_or_default();
        let more = faults.errors().count().saturating_sub(1) + faults.omitted;
        if more > 0 {
            summary.push_str(&format!(" (and {more} more)"));
        }
        ReloadReport::refused(clock::wall_seconds(), summary, faults.render(Paint::Plain))
    }

    /// Keeps the newest result for whoever asks.
    pub(crate) fn note(&mut self, report: ReloadReport) {
        self.last_reload = Some(report);
    }

    /// The newest refusal, if nothing was applied since.
    pub(crate) fn refused(&self) -> Option<&ReloadReport> {
        self.last_reload
            .as_ref()
            .filter(|report| report.outcome == ReloadOutcome::Refused)
    }

    pub(crate) fn report(&self) -> ConfigurationReport {
        ConfigurationReport {
            sources: self.loaded.sources.clone(),
            loaded_at_seconds: self.loaded_at_seconds,
            warnings: self.warnings(),
            reloads_applied: self.reloads_applied,
            reloads_refused: self.reloads_refused,
            last_reload: self.last_reload.clone(),
        }
    }
}

/// Where the configuration is that a cluster adds to the file.
pub(super) fn added_file(state_dir: &Path) -> PathBuf {
    state_dir.join("kubernetes").join("gateway.toml")
}

/// A configuration with what a cluster has added to it.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) loaded: Loaded,
    /// What the files say by themselves, where a cluster may add to them.
    files: Option<Box<Settings>>,
}

impl From<Loaded> for Whole {
    fn from(loaded: Loaded) -> Self {
        let is_open = loaded.settings.kubernetes.controller;
        Self {
            files: is_open.then(|| Box::new(loaded.settings.clone())),
            loaded,
        }
    }
}

/// Why files are not taken.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) report: Report,
    /// What the files say, where only what a cluster has added stands against them.
    files: Option<Box<Settings>>,
}

/// Loads `main` with what a cluster has added to it.
pub(super) fn load_whole(main: Option<&Path>, state_dir: &Path) -> Result<Whole, Box<Refusal>> {
    let refused = |report, files| Box::new(Refusal { report, files });
    let alone = config::load(main).map_err(|report| refused(report, None))?;
    let files = Box::new(alone.settings.clone());
    add(main, alone, state_dir).map_err(|report| refused(report, Some(files)))
}

/// Adds what a cluster has added before, where the settings say that a cluster may.
fn add(main: Option<&Path>, alone: Loaded, state_dir: &Path) -> Result<Whole, Report> {
    let mut whole = Whole::from(alone);
    let file = added_file(state_dir);
    // What cannot be read is written anew as soon as the cluster answers.
    if let Some(main) = main.filter(|_| whole.files.is_some())
        && let Ok(text) = std::fs::read_to_string(&file)
    {
        whole.loaded = config::load_over(main, &file, &text)?;
    }
    Ok(whole)
}

/// The file that is named, else the one in the usual place if there is one. None stands for the embedded default.
#[must_use]
pub fn find_config(named: Option<&Path>) -> Option<PathBuf> {
    let usual = Path::new(CONFIG_FILE);
    // A file that is there and cannot be read is a fault to report, not a reason to run on something else.
    named
        .map(Path::to_owned)
        .or_else(|| usual.try_exists().unwrap_or(true).then(|| usual.to_owned()))
}

/// One line for each warning: where, what, and what to do.
fn lines(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

/// What differs, one line each, for people.
fn differences(old: &Settings, new: &Settings) -> Vec<String> {
    let mut changes = Vec::new();
    let known = |settings: &Settings, endpoint: &config::Endpoint| {
        settings
            .ports()
            .find(|port| port.endpoint == *endpoint)
            .cloned()
    };
    for port in new.ports() {
        match known(old, &port.endpoint) {
            None => changes.push(format!("port {} of {} opens", port.endpoint, port.listener)),
            Some(before) if !is_same_port(&before, port) => {
                changes.push(format!(
                    "port {} of {} changes",
                    port.endpoint, port.listener
                ));
            }
            Some(_) => {}
        }
    }
    for port in old.ports() {
        if known(new, &port.endpoint).is_none() {
            changes.push(format!(
                "port {} of {} closes",
                port.endpoint, port.listener
            ));
        }
    }
    let (before, after) = (&old.authentications, &new.authentications);
    named_differences(
        "authentication",
        before,
        after,
        |one| &one.name,
        &mut changes,
    );
    let (before, after) = (&old.authorizations, &new.authorizations);
    named_differences(
        "authorization",
        before,
        after,
        |one| &one.name,
        &mut changes,
    );
    let sections = [
        ("protection", old.protection != new.protection),
        ("gateway", old.gateway != new.gateway),
        ("limits", old.limits != new.limits),
        ("store", old.store != new.store),
        ("est", old.est != new.est),
        ("kubernetes", old.kubernetes != new.kubernetes),
        ("discovery", old.discovery != new.discovery),
        ("admin", old.admin != new.admin),
        ("log", old.log != new.log),
    ];
    for (section, _) in sections.iter().filter(|(_, changed)| *changed) {
        changes.push(format!("[{section}] changes"));
    }
    changes
}

/// Whether a port is the same but for what the access that it names says, which has a line of its own.
fn is_same_port(old: &PortSettings, new: &PortSettings) -> bool {
    let authentication = |port: &PortSettings| match &port.authentication {
        Authentication::None => None,
        Authentication::Named(named) => Some(named.name.clone()),
    };
    let authorization = |port: &PortSettings| match &port.authorization {
        Authorization::None => None,
        Authorization::Named(named) => Some(named.name.clone()),
    };
    let names_the_same =
        authentication(old) == authentication(new) && authorization(old) == authorization(new);
    let with_access_of_the_other = PortSettings {
        authentication: new.authentication.clone(),
        authorization: new.authorization.clone(),
        ..old.clone()
    };
    names_the_same && with_access_of_the_other == *new
}

/// One line for each table under a name that differs, was added or is gone.
fn named_differences<T: PartialEq>(
    kind: &str,
    old: &[Arc<T>],
    new: &[Arc<T>],
    name: fn(&T) -> &ResourceName,
    changes: &mut Vec<String>,
) {
    let by_name = |all: &[Arc<T>]| -> BTreeMap<ResourceName, Arc<T>> {
        let named = all.iter().map(|one| (name(one).clone(), Arc::clone(one)));
        named.collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    let names: BTreeSet<&ResourceName> = old.keys().chain(new.keys()).collect();
    for name in names {
        if old.get(name) != new.get(name) {
            changes.push(format!("[{kind}.{name}] changes"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const PORT: &str =
        "authentication = \"none\"\nauthorization = \"none\"\nbind = \"127.0.0.1\"\n";

    fn file(folder: &Path, ports: &[u16], more: &str) -> PathBuf {
        let mut text = format!("{more}\n[[listener]]\nname = \"plant\"\n");
        for port in ports {
            text.push_str(&format!("[[listener.port]]\nport = {port}\n{PORT}"));
        }
        let path = folder.join("gateway.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn reload_names_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), &[1883, 1884], "");
        let mut configuration = Configuration::load(Some(&path), folder.path()).unwrap();

        file(folder.path(), &[1884, 1885], "[log]\nlevel = \"debug\"");
        let report = configuration.replace(Some(path.clone()), config::load(Some(&path)).unwrap());
        assert_eq!(report.outcome, ReloadOutcome::Applied);
        assert_eq!(
            report.changes,
            [
                "port 127.0.0.1:1885 of plant opens",
                "port 127.0.0.1:1883 of plant closes",
                "[log] changes"
            ]
        );

        let report = configuration.replace(Some(path.clone()), config::load(Some(&path)).unwrap());
        assert_eq!(report.outcome, ReloadOutcome::Unchanged);
        assert!(report.changes.is_empty());
    }

    #[test]
    fn reload_names_the_access_that_differs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        let load = |method: &str, topic: &str, more: &str| {
            let text = format!(
                "[[listener]]\nname = \"plant\"\n[[listener.port]]\nport = 1883\nbind = \"127.0.0.1\"\n\
                 authentication = \"devices\"\nauthorization = \"rules\"\n\
                 [authentication.devices]\nmethods = [\"{method}\"]\n\
                 [[authorization.rules.rule]]\nprincipals = {{ everyone = true }}\nconnect = [\"*\"]\n\
                 publish = [\"{topic}\"]\n{more}"
            );
            std::fs::write(&path, text).unwrap();
        };
        load("password", "plant/#", "");
        let mut configuration = Configuration::load(Some(&path), folder.path()).unwrap();
        let mut changes = |method: &str, topic: &str, more: &str| {
            load(method, topic, more);
            let loaded = config::load(Some(&path)).unwrap();
            configuration.replace(Some(path.clone()), loaded).changes
        };

        assert!(changes("password", "plant/#", "").is_empty());
        assert_eq!(
            changes("password", "hall/#", ""),
            ["[authorization.rules] changes"]
        );
        assert_eq!(
            changes(
                "anonymous",
                "hall/#",
                "[protection]\nban_time = \"2 min\"\n"
            ),
            ["[authentication.devices] changes", "[protection] changes"]
        );
        let spare = "[authentication.spare]\nmethods = [\"password\"]\n";
        assert_eq!(
            changes("anonymous", "hall/#", spare),
            ["[authentication.spare] changes", "[protection] changes"]
        );
    }

    #[test]
    fn file_that_is_gone_stays_the_one_that_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), &[1883], "");
        let mut configuration = Configuration::load(Some(&path), folder.path()).unwrap();
        std::fs::remove_file(&path).unwrap();

        assert_eq!(configuration.next_main(), Some(path.clone()));
        let report = config::load(Some(&path)).unwrap_err();
        let refused = configuration.refuse(&report);
        configuration.note(refused);

        assert!(configuration.refused().is_some());
        assert_eq!(configuration.report().reloads_refused, 1);
        assert_eq!(configuration.settings().ports().count(), 1);
    }
}
