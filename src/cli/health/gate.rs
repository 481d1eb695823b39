//! `fieldgate health --gate`: is this gateway good enough to keep the image that it came with?
//!
//! The gate does what a client does, on the way that a client takes. What lets it in is in docs/decisions/0027-health-gate.md.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use fieldgate::admin::client::{ClientFault, ControlClient};
use fieldgate::admin::{ProbePort, Status, StoreState};
use fieldgate::appliance::KnownFaults;
use fieldgate::clock;

use super::round_trip::{Trip, TripFault, round_trip};
use super::wire::{Reached, is_on_loopback, reach};
use crate::cli::folders::RunningArgs;
use crate::cli::table::{duration, printable};
use crate::cli::{Exit, Failure, Output};

/// Time that one answer may take. A gateway that needs longer does not serve.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// Time that the process must have been up: one that ends soon after its start is started again and again.
const STEADY: Duration = Duration::from_secs(3);

/// What the attempts say while they go on.
enum Said {
    /// Another attempt begins.
    Begin,
    Step(String),
    Fault(Fault),
    Passed,
}

/// Why an attempt failed.
struct Fault {
    text: String,
    hint: Option<&'static str>,
}

impl Fault {
    fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            hint: None,
        }
    }

    fn hint(self, hint: &'static str) -> Self {
        Self {
            hint: Some(hint),
            ..self
        }
    }
}

impl From<ClientFault> for Fault {
    fn from(fault: ClientFault) -> Self {
        let is_role = matches!(&fault, ClientFault::Refused(_) | ClientFault::Denied { .. });
        let said = Self::new(fault.to_string());
        if is_role {
            return said.hint("run it as root, or as the user that the gateway runs as");
        }
        said
    }
}

/// Tries until the gateway passes or the time is over, and prints what the last attempt found.
pub(super) fn run(running: RunningArgs, known: KnownFaults, time: Duration) -> Result<(), Failure> {
    let deadline = clock::now() + time;
    let (sender, said) = mpsc::channel();
    // A gateway that hangs would hold back the answer, so somebody else waits for it.
    thread::Builder::new()
        .spawn(move || attempt_until(&running, &known, deadline, &sender))
        .map_err(Failure::runtime)?;
    let (steps, fault) = listen(&said, deadline);
    let mut output = Output::default();
    for step in &steps {
        output.line(printable(step));
    }
    let Some(fault) = fault else {
        output.line("passed");
        return output.finish();
    };
    output.finish()?;
    let text = format!("not passed: {}", printable(&fault.text));
    let failure = Failure::rendered(Exit::Runtime, text);
    Err(match fault.hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

/// The steps of the last attempt that has come to an end, and what it failed at.
fn listen(said: &Receiver<Said>, deadline: Instant) -> (Vec<String>, Option<Fault>) {
    let mut last = None;
    let mut steps = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(clock::now());
        match said.recv_timeout(left) {
            Ok(Said::Begin) => steps.clear(),
            Ok(Said::Step(step)) => steps.push(step),
            Ok(Said::Fault(fault)) => last = Some((steps.clone(), fault)),
            Ok(Said::Passed) => return (steps, None),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    let (steps, fault) = last.unwrap_or_else(|| {
        let fault = Fault::new("the gateway does not answer in time");
        (steps, fault)
    });
    (steps, Some(fault))
}

fn attempt_until(
    running: &RunningArgs,
    known: &KnownFaults,
    deadline: Instant,
    said: &Sender<Said>,
) {
    while clock::now() < deadline {
        let mut attempt = Attempt {
            running,
            known,
            said,
        };
        // Nobody listens any more when the time is over.
        let _ = said.send(Said::Begin);
        match attempt.run() {
            Ok(()) => {
                let _ = said.send(Said::Passed);
                return;
            }
            Err(fault) => {
                let _ = said.send(Said::Fault(fault));
            }
        }
        thread::park_timeout(PAUSE);
    }
}

struct Attempt<'a> {
    running: &'a RunningArgs,
    /// What is no fault of this image.
    known: &'a KnownFaults,
    said: &'a Sender<Said>,
}

impl Attempt<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        let mut client = self.connect()?;
        let before = client.status()?;
        self.say(format!(
            "process {}, up {}",
            before.pid,
            duration(before.uptime_seconds)
        ));
        self.check_start(&before)?;
        self.check_store(&before)?;
        let ports = client.probe()?.ports.clone();
        let mut ways = Vec::new();
        self.check_open(&ports)?;
        for port in ports.iter().filter(|port| is_open(port)) {
            if self.reach(&mut client, &before, port)? {
                ways.push(port);
            }
        }
        // TLS first: it is what clients use.
        ways.sort_by_key(|port| !port.tls);
        self.send_message(&mut client, &ways)?;
        self.check_process(&before)
    }

    fn say(&self, step: impl Into<String>) {
        let _ = self.said.send(Said::Step(step.into()));
    }

    fn connect(&self) -> Result<ControlClient, Fault> {
        let connected = self.running.try_connect();
        let denied = |_| {
            Fault::new("this user may not ask the gateway")
                .hint("run it as root, or as the user that the gateway runs as")
        };
        let mut client = connected.map_err(denied)?.ok_or_else(|| {
            Fault::new("no gateway is running").hint("`journalctl -u fieldgate` says why")
        })?;
        client.set_timeout(STEP_TIMEOUT)?;
        Ok(client)
    }

    fn check_start(&self, status: &Status) -> Result<(), Fault> {
        if status.readiness.ready {
            return Ok(());
        }
        let awaiting = status.readiness.awaiting.join(", ");
        Err(Fault::new(format!("not ready: awaiting {awaiting}")))
    }

    fn check_store(&self, status: &Status) -> Result<(), Fault> {
        let store = &status.store;
        let complaint = store.complaint().unwrap_or_default();
        match store.state {
            StoreState::Ready => self.say("store: ready"),
            // What was lost is lost; another image would not bring it back.
            StoreState::Degraded => self.say(format!("store: takes everything, but {complaint}")),
            StoreState::Full if self.known.store_full => {
                self.say(format!("store: as before the update, {complaint}"));
            }
            StoreState::Full | StoreState::Failing | StoreState::Missing => {
                return Err(Fault::new(format!("the store: {complaint}"))
                    .hint("`fieldgate status` shows the volume and how much of it is free"));
            }
        }
        Ok(())
    }

    /// Every port that does not serve is named; the first one is the fault, unless it did not serve before the update either.
    fn check_open(&self, ports: &[ProbePort]) -> Result<(), Fault> {
        let mut first = None;
        for port in ports.iter().filter(|port| !is_open(port)) {
            let state = port.state.replace('-', " ");
            let detail = port.detail.as_deref().unwrap_or("no reason is known");
            let text = format!("port {} is not open: {state}: {detail}", port.endpoint);
            if self.known.ports.contains(&port.endpoint) {
                self.say(format!("as before the update, {text}"));
                continue;
            }
            self.say(&*text);
            let hint = match &*port.state {
                "awaiting-certificate" => {
                    "`fieldgate check` says what is wrong with the files of the certificate"
                }
                "awaiting-address" => {
                    "another process may have the address, or no interface has it: `ss -ltnp` and `ip address` tell"
                }
                _ => "`fieldgate status` shows what it waits for",
            };
            first.get_or_insert_with(|| Fault::new(text).hint(hint));
        }
        first.map_or(Ok(()), Err)
    }

    /// Connects to a port. Says whether a message may go by it.
    fn reach(
        &self,
        client: &mut ControlClient,
        before: &Status,
        port: &ProbePort,
    ) -> Result<bool, Fault> {
        let name = &port.endpoint;
        let reached =
            reach(port, STEP_TIMEOUT).map_err(|error| port_fault(name, &error.to_string()))?;
        if let Some(fault) = &port.certificate_fault {
            self.say(format!(
                "port {name}: the former certificate is in use: {fault}"
            ));
        }
        let tls = if port.tls {
            "TLS with its certificate"
        } else {
            "accepts"
        };
        match reached {
            Reached::Open(_) if port.websocket_path.is_some() => {
                self.say(format!("port {name}: {tls}, WebSocket"));
                Ok(false)
            }
            Reached::Open(_) => {
                self.say(format!("port {name}: {tls}"));
                // A ticket that comes from elsewhere is a failed login, and may get this machine banned.
                Ok(!port.proxy_protocol && is_on_loopback(port))
            }
            Reached::Cut => {
                // With TLS, a connection over a bound is closed without a word.
                if refused(&client.status()?, name) == refused(before, name) {
                    return Err(port_fault(name, "it closes connections at once"));
                }
                self.say(format!("port {name}: listens; it takes no connection more"));
                Ok(false)
            }
            Reached::Elsewhere(why) => {
                self.say(format!("port {name}: listens; {why}"));
                Ok(false)
            }
        }
    }

    /// Sends a message by the first port that takes it, or else by the inner way.
    fn send_message(&self, client: &mut ControlClient, ways: &[&ProbePort]) -> Result<(), Fault> {
        for port in ways {
            let name = &port.endpoint;
            // Each ticket is good once.
            let probe = client.probe()?;
            let Ok(Reached::Open(mut wire)) = reach(port, STEP_TIMEOUT) else {
                continue;
            };
            match round_trip(&mut *wire, &probe).map_err(|fault| trip_fault(name, &fault))? {
                Trip::Whole => {
                    let over = match port.tls {
                        true => "over TLS",
                        false => "without TLS, which no port takes it by",
                    };
                    self.say(format!("message by port {name}, {over}: {}", whole()));
                    return Ok(());
                }
                Trip::Full(why) | Trip::NotHere(why) => {
                    self.say(format!("port {name}: no message by it, {why}"));
                }
            }
        }
        self.send_inside(client)
    }

    fn send_inside(&self, client: &mut ControlClient) -> Result<(), Fault> {
        let probe = client.probe()?;
        let mut wire = self.connect()?.into_probe_link()?;
        let name = "inner way";
        match round_trip(&mut wire, &probe).map_err(|fault| trip_fault(name, &fault))? {
            Trip::Whole => self.say(format!(
                "message by the inner way, because no port takes it: {}",
                whole()
            )),
            // An answer from the core all the same.
            Trip::Full(why) => self.say(format!("the gateway serves and is full: {why}")),
            Trip::NotHere(why) => return Err(Fault::new(format!("{name}: {why}"))),
        }
        Ok(())
    }

    /// The process must be the same, and up for a while.
    fn check_process(&self, before: &Status) -> Result<(), Fault> {
        loop {
            let after = self.connect()?.status()?;
            if after.pid != before.pid || after.uptime_seconds < before.uptime_seconds {
                return Err(Fault::new(format!(
                    "the gateway does not stay up: process {} has become {}",
                    before.pid, after.pid
                ))
                .hint("`journalctl -u fieldgate` says why it ended"));
            }
            if after.uptime_seconds >= STEADY.as_secs() {
                self.say(format!("still process {}", after.pid));
                return Ok(());
            }
            thread::park_timeout(PAUSE);
        }
    }
}

fn is_open(port: &ProbePort) -> bool {
    port.state == "listening"
}

/// Connections to a port that were not taken because of a bound.
fn refused(status: &Status, name: &str) -> u64 {
    let ports = status.ports.iter().filter(|port| port.endpoint == name);
    ports.flat_map(|port| port.refused.values()).sum()
}

fn port_fault(name: &str, why: &str) -> Fault {
    Fault::new(format!("port {name}: {why}"))
        .hint("`fieldgate status` shows the port, the journal what became of the connection")
}

fn whole() -> &'static str {
    "connected, subscribed, stored, acknowledged, delivered"
}

fn trip_fault(way: &str, fault: &TripFault) -> Fault {
    Fault::new(format!("message by {way}: {fault}"))
        .hint("`fieldgate status` shows how the gateway fares, and the journal why it refused")
}
