//! Debian's mosquitto in place of the gateway: it keeps everything over a stop and forgets everything with a kill, which
//! shows that the ledger neither cries wolf nor sleeps.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::stage::rest;
use crate::support::free_port;

pub(crate) struct Mosquitto {
    dir: TempDir,
    pub(crate) address: SocketAddr,
    child: Option<Child>,
}

impl Mosquitto {
    /// If the environment asks for it.
    pub(crate) fn wanted() -> Option<Self> {
        std::env::var("FIELDGATE_TEST_BROKER")
            .ok()
            .filter(|broker| broker == "mosquitto")?;
        Some(Self {
            dir: tempfile::tempdir().expect("a folder"),
            address: SocketAddr::from(([127, 0, 0, 1], free_port())),
            child: None,
        })
    }

    pub(crate) fn start(&mut self) {
        let config = self.dir.path().join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\npersistence_location {}/\n\
             max_queued_messages 0\nmax_inflight_messages 1000\n",
            self.address.port(),
            self.dir.path().display()
        );
        fs::write(&config, text).expect("write the configuration");
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("start mosquitto"));
        while TcpStream::connect(self.address).is_err() {
            rest(5);
        }
    }

    pub(crate) fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.child.take() {
            kill(Pid::from_raw(child.id() as i32), signal).expect("send a signal");
            child.wait().expect("its end");
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.end(Signal::SIGKILL);
    }
}
