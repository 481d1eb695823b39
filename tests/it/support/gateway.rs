//! Starts the real binary with a configuration, in a folder of its own, on ports that the system chooses.
//!
//! `FIELDGATE_TEST_BROKER` lets the wire tests run against another broker: `mosquitto` starts Debian's for each test,
//! `host:port` uses one that runs already, one test at a time. Tests that need a configuration of ours pass over then.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::client::{DEADLINE, TestClient};
use super::command;
use super::packet::{ConnAck, Connect, V3_1_1, V5, Version};

/// One listener with one port, on loopback.
const PLAIN: &str = r#"
[[listener]]
name = "test"

[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "none"
authorization = "none"
"#;

/// The parts of every configuration that tests have no interest in.
const QUIET: &str = "\n[admin]\nhttp = \"127.0.0.1:0\"\n";

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A broker under test. Ends with the test.
pub(crate) struct TestGateway {
    dir: TempDir,
    child: Option<Child>,
    extra: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
    around: Vec<OsString>,
    notify: Option<UnixDatagram>,
    addresses: Vec<Option<SocketAddr>>,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl TestGateway {
    /// A broker with its defaults and one plain port on loopback.
    #[track_caller]
    pub(crate) fn start() -> Self {
        match std::env::var("FIELDGATE_TEST_BROKER").ok().as_deref() {
            None | Some("") => Self::launch(&format!("{PLAIN}{QUIET}")),
            Some("mosquitto") => Self::mosquitto(),
            Some(address) => Self::other(address),
        }
    }

    /// A gateway with lines of `[limits]`; `None` when another broker is under test.
    #[track_caller]
    pub(crate) fn with_limits(lines: &str) -> Option<Self> {
        Self::configured(&format!("{PLAIN}\n[limits]\n{lines}\n"))
    }

    /// A gateway with a configuration; `{dir}` stands for its folder. `None` when another broker is under test.
    #[track_caller]
    pub(crate) fn configured(config: &str) -> Option<Self> {
        Self::configured_with(config, |_| {})
    }

    /// As [`Self::configured`], with files put into the folder first.
    #[track_caller]
    pub(crate) fn configured_with(config: &str, prepare: impl FnOnce(&Path)) -> Option<Self> {
        if std::env::var("FIELDGATE_TEST_BROKER").is_ok_and(|broker| !broker.is_empty()) {
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder for the test");
        prepare(dir.path());
        let quiet = if config.contains("[admin]") {
            ""
        } else {
            QUIET
        };
        Some(Self::launch_in(dir, &format!("{config}{quiet}")))
    }

    /// As [`Self::configured`], without starting it; [`Self::run`] does.
    #[track_caller]
    pub(crate) fn unstarted(config: &str) -> Option<Self> {
        if std::env::var("FIELDGATE_TEST_BROKER").is_ok_and(|broker| !broker.is_empty()) {
            return None;
        }
        Some(Self::here(config))
    }

    /// As [`Self::unstarted`], whatever other broker is under test.
    #[track_caller]
    pub(crate) fn here(config: &str) -> Self {
        let gateway = Self {
            dir: tempfile::tempdir().expect("a folder for the test"),
            child: None,
            extra: Vec::new(),
            variables: Vec::new(),
            around: Vec::new(),
            notify: None,
            addresses: Vec::new(),
            _turn: None,
        };
        let quiet = if config.contains("[admin]") {
            ""
        } else {
            QUIET
        };
        gateway.write_config(&format!("{config}{quiet}"));
        gateway
    }

    /// Adds an argument to the command line.
    pub(crate) fn add_arg(&mut self, arg: impl Into<OsString>) {
        self.extra.push(arg.into());
    }

    /// Adds a variable to the environment.
    pub(crate) fn add_variable(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.variables.push((name, value.into()));
    }

    /// Lets another command start it, which has its command line as its last arguments and becomes it.
    #[cfg(feature = "kube")]
    pub(crate) fn start_by(&mut self, command: Vec<OsString>) {
        self.around = command;
    }

    #[track_caller]
    fn launch(config: &str) -> Self {
        Self::launch_in(tempfile::tempdir().expect("a folder for the test"), config)
    }

    #[track_caller]
    fn launch_in(dir: TempDir, config: &str) -> Self {
        let mut gateway = Self {
            dir,
            child: None,
            extra: Vec::new(),
            variables: Vec::new(),
            around: Vec::new(),
            notify: None,
            addresses: Vec::new(),
            _turn: None,
        };
        gateway.write_config(config);
        gateway.run();
        gateway
    }

    /// Writes the configuration file; a running gateway sees it.
    pub(crate) fn write_config(&self, config: &str) {
        let config = config.replace(
            "{dir}",
            self.dir
                .path()
                .to_str()
                .expect("a folder with a plain name"),
        );
        let new = self.path("gateway.toml.new");
        fs::write(&new, config).expect("write the configuration");
        fs::rename(&new, self.path("gateway.toml")).expect("put the configuration in place");
    }

    /// Starts the binary and waits until it says that it is ready.
    #[track_caller]
    pub(crate) fn run(&mut self) {
        self.begin();
        self.await_notification("READY=1");
        self.refresh_addresses();
    }

    /// Starts the binary.
    pub(crate) fn begin(&mut self) {
        let socket = self.path("notify.sock");
        let _ = fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).expect("a socket for readiness");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("gateway.log"))
            .expect("a log file");
        let child = command::binary_by(&self.around)
            .arg("serve")
            .arg("--config")
            .arg(self.path("gateway.toml"))
            .arg("--state-dir")
            .arg(self.path("state"))
            .args(&self.extra)
            .env("NOTIFY_SOCKET", &socket)
            .env_remove("JOURNAL_STREAM")
            .env_remove("STATE_DIRECTORY")
            .env_remove("RUNTIME_DIRECTORY")
            .env_remove("WATCHDOG_USEC")
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log file again"))
            .stderr(log)
            .spawn()
            .expect("start the gateway");
        self.child = Some(child);
        self.notify = Some(notify);
    }

    /// Waits until the gateway tells its service manager `wanted`.
    #[track_caller]
    pub(crate) fn await_notification(&mut self, wanted: &str) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            let notify = self.notify.as_ref().expect("a gateway of ours");
            notify
                .set_read_timeout(Some(Duration::from_millis(250)))
                .expect("set a timeout");
            let mut buffer = [0; 4096];
            if let Ok(count) = notify.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                if text.lines().any(|line| line.starts_with(wanted)) {
                    return text;
                }
            }
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().expect("ask for the exit code"));
            if let Some(status) = ended {
                panic!(
                    "the gateway ended with {status} instead of {wanted}:\n{}",
                    self.log()
                );
            }
            assert!(
                Instant::now() < end,
                "the gateway did not say {wanted} in time:\n{}",
                self.log()
            );
        }
    }

    /// Reads the addresses of the ports again, after a change of the configuration.
    #[track_caller]
    pub(crate) fn refresh_addresses(&mut self) {
        let status = self.control("status");
        let ports = status["ports"].as_array().expect("status lists the ports");
        self.addresses = ports
            .iter()
            .map(|port| port["address"].as_str()?.parse().ok())
            .collect();
    }

    /// Carries out a command over the control socket.
    #[track_caller]
    pub(crate) fn control(&self, command: &str) -> Value {
        let socket = self.control_socket();
        let mut stream = UnixStream::connect(&socket).expect("connect to the control socket");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("set a timeout");
        writeln!(stream, "{{\"command\":\"{command}\"}}").expect("send a command");
        let mut line = String::new();
        BufReader::new(stream)
            .read_line(&mut line)
            .expect("an answer in time");
        let answer: Value = serde_json::from_str(&line).expect("an answer in JSON");
        match answer.get("ok") {
            Some(answer) => answer.clone(),
            None => panic!("{command} was refused: {answer}"),
        }
    }

    /// Asks for the status until `found` finds in it what it looks for.
    #[track_caller]
    pub(crate) fn await_status<T>(&self, found: impl Fn(&Value) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            let status = self.control("status");
            if let Some(found) = found(&status) {
                return found;
            }
            assert!(
                Instant::now() < end,
                "the status did not change in time: {status:#}"
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// The next notification, if one comes in time.
    pub(crate) fn notification_within(&mut self, time: Duration) -> Option<String> {
        let notify = self.notify.as_ref().expect("a gateway of ours");
        notify.set_read_timeout(Some(time)).expect("set a timeout");
        let mut buffer = [0; 4096];
        let count = notify.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
    }

    /// Hears no notifications any more. Those of many reloads would wait for somebody, and the gateway with them.
    #[cfg(feature = "kube")]
    pub(crate) fn close_notifications(&mut self) {
        self.notify = None;
    }

    /// Throws away what was notified and not yet looked at.
    pub(crate) fn forget_notifications(&mut self) {
        while self
            .notification_within(Duration::from_millis(20))
            .is_some()
        {}
    }

    /// The control socket, in the runtime folder if there is one.
    fn control_socket(&self) -> PathBuf {
        let runtime = self.path("run/control.sock");
        if runtime.exists() {
            runtime
        } else {
            self.path("state/control.sock")
        }
    }

    /// Debian's mosquitto as a stand-in.
    fn mosquitto() -> Self {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let address = SocketAddr::from(([127, 0, 0, 1], super::free_port()));
        let config = dir.path().join("mosquitto.conf");
        fs::write(
            &config,
            format!(
                "listener {} 127.0.0.1\nallow_anonymous true\n",
                address.port()
            ),
        )
        .expect("write");
        let log = File::create(dir.path().join("gateway.log")).expect("a log file");
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(&config)
            .stderr(log)
            .spawn()
            .expect("start mosquitto");
        let gateway = Self {
            dir,
            child: Some(child),
            extra: Vec::new(),
            variables: Vec::new(),
            around: Vec::new(),
            notify: None,
            addresses: vec![Some(address)],
            _turn: None,
        };
        let end = Instant::now() + DEADLINE;
        while TcpStream::connect(address).is_err() {
            assert!(
                Instant::now() < end,
                "mosquitto did not start:\n{}",
                gateway.log()
            );
            std::thread::park_timeout(Duration::from_millis(5));
        }
        gateway
    }

    fn other(address: &str) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let address = address
            .to_socket_addrs()
            .expect("FIELDGATE_TEST_BROKER is host:port")
            .next();
        Self {
            dir: tempfile::tempdir().expect("a folder for the test"),
            child: None,
            extra: Vec::new(),
            variables: Vec::new(),
            around: Vec::new(),
            notify: None,
            addresses: vec![address],
            _turn: Some(turn),
        }
    }

    /// A file in the folder of the gateway.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// All that the gateway has written to its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("gateway.log")).unwrap_or_default()
    }

    /// Address of the first port.
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address_of(0)
    }

    /// Address of a port by its place in the configuration.
    #[track_caller]
    pub(crate) fn address_of(&self, port: usize) -> SocketAddr {
        self.addresses[port].expect("the port listens")
    }

    /// A network connection to the first port, with nothing said.
    #[track_caller]
    pub(crate) fn open(&self, version: Version) -> TestClient {
        let stream = TcpStream::connect(self.address()).expect("connect to the broker");
        stream.set_nodelay(true).expect("send at once");
        TestClient::new(stream, version)
    }

    /// A client that was accepted.
    #[track_caller]
    pub(crate) fn connect(&self, connect: &Connect) -> (TestClient, ConnAck) {
        let mut client = self.open(connect.version);
        let connack = client.connect(connect);
        assert_eq!(connack.code, 0, "CONNACK accepts");
        (client, connack)
    }

    /// A client of version 5 with a clean start.
    #[track_caller]
    pub(crate) fn v5(&self, client_id: &str) -> TestClient {
        self.connect(&Connect::new(V5, client_id)).0
    }

    /// A client of version 3.1.1 with a clean session.
    #[track_caller]
    pub(crate) fn v3(&self, client_id: &str) -> TestClient {
        self.connect(&Connect::new(V3_1_1, client_id)).0
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("a gateway of ours").id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).expect("send a signal");
    }

    /// Waits until the process has ended by itself.
    #[track_caller]
    pub(crate) fn await_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a gateway of ours");
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = child.try_wait().expect("ask for the exit code") {
                return status;
            }
            if Instant::now() > end {
                let _ = child.kill();
                panic!("the gateway did not end:\n{}", self.log());
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Ends the process as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(20)..];
            let _ = writeln!(
                std::io::stderr(),
                "--- end of the broker's log\n{}",
                last.join("\n")
            );
        }
    }
}
