//! What is written down, where and in which form; set up once, before anything else can happen.
//!
//! Entries go to stderr as text or JSON, or to the journal with a field for each value, so that
//! `journalctl CLIENT_ID=pump-7` finds what concerns one client. The names of fields are those of the entries in upper
//! case: `CLIENT_ID`, `PORT`, `LISTENER`, `PRINCIPAL`, `PEER`, `CLAUSE`.

mod readable;

use std::io::{self, IsTerminal};

use nix::sys::stat::fstat;
use tracing::{error, warn};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{LogFormat, LogLevel, LogSettings};
use readable::Readable;

/// Variable whose filter replaces the level of the configuration, for looking into one part of the program.
pub const FILTER_VARIABLE: &str = "FIELDGATE_LOG";

/// Variable that names the socket of stderr when that is the journal.
const JOURNAL_VARIABLE: &str = "JOURNAL_STREAM";

/// The log of this process; changes its level on reload.
#[derive(Debug)]
pub struct Log {
    filter: reload::Handle<Targets, Registry>,
    overridden: bool,
    format: LogFormat,
}

/// The process has a log already.
#[derive(Debug, thiserror::Error)]
#[error("the log is already set up")]
pub struct LogFault(#[from] tracing_subscriber::util::TryInitError);

impl Log {
    /// Sets up the log of the process. `format` is that of the command line and wins over the settings.
    ///
    /// A filter that cannot be read and a journal that is not there are warned about: the gateway must start all the same.
    pub fn init(settings: &LogSettings, format: Option<LogFormat>) -> Result<Self, LogFault> {
        let format = format.unwrap_or(settings.format);
        let named = std::env::var(FILTER_VARIABLE)
            .ok()
            .filter(|text| !text.is_empty());
        let named = named.map(|text| text.parse::<Targets>()).transpose();
        let overridden = matches!(named, Ok(Some(_)));
        let (named, bad_filter) = match named {
            Ok(filter) => (filter, None),
            Err(error) => (None, Some(error)),
        };
        let (filter, handle) =
            reload::Layer::new(named.unwrap_or_else(|| filter_of(settings.level)));
        let (layer, no_journal) = layer_of(format);
        tracing_subscriber::registry()
            .with(filter)
            .with(layer)
            .try_init()?;
        log_panics();
        if let Some(error) = bad_filter {
            warn!(%error, "{FILTER_VARIABLE} is not a filter; the level of the configuration is used");
        }
        if let Some(error) = no_journal {
            warn!(%error, "the journal cannot be reached; lines of text are written to stderr");
        }
        Ok(Self {
            filter: handle,
            overridden,
            format,
        })
    }

    /// Applies changed settings; returns what cannot change while the process runs.
    pub fn apply(&self, settings: &LogSettings) -> Option<&'static str> {
        if !self.overridden
            && let Err(fault) = self.filter.reload(filter_of(settings.level))
        {
            error!(error = %fault, "cannot change the log level");
        }
        (settings.format != self.format).then_some("log.format takes effect at the next start")
    }
}

/// Ours at the level asked for; libraries only when they have something to complain about.
fn filter_of(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => return Targets::new().with_default(LevelFilter::ERROR),
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("fieldgate", level)
}

type Boxed<S> = Box<dyn Layer<S> + Send + Sync>;

/// The layer for a format, and why it is not that of the journal where that was asked for by name.
fn layer_of<S>(format: LogFormat) -> (Boxed<S>, Option<io::Error>)
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    match format {
        LogFormat::Journald => match journal() {
            Ok(layer) => (layer.boxed(), None),
            Err(error) => (text().boxed(), Some(error)),
        },
        LogFormat::Json => {
            let layer = fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(io::stderr);
            (layer.boxed(), None)
        }
        LogFormat::Auto if stderr_is_journal() => (
            journal().map_or_else(|_| text().boxed(), Layer::boxed),
            None,
        ),
        LogFormat::Auto | LogFormat::Text => (text().boxed(), None),
    }
}

fn text<S>() -> fmt::Layer<S, fmt::format::DefaultFields, fmt::format::Format, fn() -> io::Stderr>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let terminal = io::stderr().is_terminal();
    fmt::layer()
        .with_target(false)
        .with_ansi(terminal && !plain)
        .with_writer(io::stderr as fn() -> io::Stderr)
}

fn journal() -> io::Result<Readable<tracing_journald::Layer>> {
    let priorities = PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    };
    let layer = tracing_journald::Layer::new()?
        .with_field_prefix(None)
        .with_priority_mappings(priorities)
        .with_syslog_identifier("fieldgate".to_owned());
    Ok(Readable(layer))
}

/// Whether stderr is the stream that systemd connected to the journal, and not redirected elsewhere since.
fn stderr_is_journal() -> bool {
    let Ok(named) = std::env::var(JOURNAL_VARIABLE) else {
        return false;
    };
    #[expect(clippy::useless_conversion, reason = "the types differ by platform")]
    fstat(io::stderr()).is_ok_and(|stat| is_stream(&named, stat.st_dev.into(), stat.st_ino.into()))
}

fn is_stream(named: &str, device: u64, inode: u64) -> bool {
    named
        .split_once(':')
        .is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

/// A panic ends one task, not the process; the journal must show it as what it is.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let backtrace = std::backtrace::Backtrace::capture();
        error!(place, %backtrace, "fault of the program: {message}");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_stream_is_recognised_by_device_and_inode() {
        assert!(is_stream("8:1234", 8, 1234));
        assert!(!is_stream("8:1234", 8, 1235));
        assert!(!is_stream("8", 8, 1234));
        assert!(!is_stream("", 0, 0));
    }

    #[test]
    fn libraries_are_quiet_at_every_level() {
        assert_eq!(
            filter_of(LogLevel::Trace).to_string(),
            "fieldgate=trace,warn"
        );
        assert_eq!(filter_of(LogLevel::Error).to_string(), "error");
    }
}
