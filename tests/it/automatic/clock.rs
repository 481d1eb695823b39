//! A gateway without a clock battery: it begins in 1970, and its clock is set while clients are connected.

use std::fs;
use std::path::PathBuf;

use super::{DEVICES, Site};
use crate::est;
use crate::support::tls::client_config_of_pem;
use crate::support::{TestClient, TestGateway};

/// What a clock without a battery shows after half a minute.
const EARLY: &str = "@1970-01-01 00:00:30";

/// Shows other times to the gateway than the machine has; `scripts/test` installs it.
fn faketime() -> PathBuf {
    let found = fs::read_dir("/usr/lib")
        .expect("a system")
        .find_map(|folder| {
            let library = folder.ok()?.path().join("faketime/libfaketime.so.1");
            library.exists().then_some(library)
        });
    found.expect("the package `faketime`")
}

struct Clock {
    site: Site,
    file: PathBuf,
}

impl Clock {
    fn starting_at(time: &str, config: &str) -> Option<Self> {
        let mut gateway = TestGateway::unstarted(config)?;
        let file = gateway.path("time");
        gateway.add_variable("LD_PRELOAD", faketime());
        gateway.add_variable("FAKETIME_TIMESTAMP_FILE", &file);
        gateway.add_variable("FAKETIME_NO_CACHE", "1");
        gateway.add_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        gateway.add_variable("DONT_FAKE_MONOTONIC", "1");
        fs::write(&file, time).expect("set the clock");
        gateway.run();
        Some(Self {
            site: Site(gateway),
            file,
        })
    }

    fn set(&self, time: &str) {
        let new = self.file.with_extension("new");
        fs::write(&new, time).expect("set the clock");
        fs::rename(new, &self.file).expect("set the clock");
    }

    /// What the gateway says of its clock, and the problems that it has.
    fn says(&self) -> String {
        self.site.fine(&["status"])
    }
}

#[test]
fn first_start_in_1970_serves_and_no_jump_of_the_clock_drops_anybody() {
    let Some(clock) = Clock::starting_at(EARLY, DEVICES) else {
        return;
    };
    let site = &clock.site;
    let said = clock.says();
    assert!(said.contains("the clock is behind"), "{said}");

    // Both ends verify each other; the clock of the client is right.
    let pump = site.issue("pump-7", &["--attr", "hall=2"]);
    let mut early = site.connect(&pump, "early").expect("both trust each other");
    let root = client_config_of_pem(&site.root(), None);
    let provisional = site.presented(&root);
    let list = site.fine(&["list"]);
    assert!(list.contains("provisional"), "{list}");

    // The time comes from the network.
    clock.set("+0");
    site.await_other(&root, &provisional);
    assert!(early.ping().is_empty());
    let mut today = site.connect(&pump, "today").expect("the same certificate");
    let fan = site.issue("fan-1", &[]);
    let mut fan = site.connect(&fan, "fan").expect("a certificate of today");

    // Thirty years forward, and back before anybody has noticed; then to 1970.
    let everybody = |clients: &mut [&mut TestClient]| {
        for client in clients {
            assert!(client.ping().is_empty());
        }
    };
    clock.set("+30y");
    site.0
        .await_status(|_| site.0.log().contains("a new root was made").then_some(()));
    everybody(&mut [&mut early, &mut today, &mut fan]);
    clock.set("+0");
    site.0.await_status(|_| site.tls(&root).ok().map(drop));
    everybody(&mut [&mut early, &mut today, &mut fan]);
    clock.set(EARLY);
    let said = clock.says();
    assert!(said.contains("the clock is behind"), "{said}");
    everybody(&mut [&mut early, &mut today, &mut fan]);
    assert!(site.connect(&pump, "again").is_some());
}

#[test]
fn device_enrols_and_enrols_again_in_1970() {
    let config = format!("{DEVICES}[est]\nhttps = \"127.0.0.1:0\"\n");
    let Some(clock) = Clock::starting_at(EARLY, &config) else {
        return;
    };
    let said = clock.says();
    assert!(said.contains("the clock is behind"), "{said}");
    let Some(site) = est::Site::of(clock.site.0) else {
        return;
    };
    site.enrolled("pump-7");
    site.request("next", "/CN=pump-7");
    let answered = site.again("pump-7", "next").expect(200, "");
    site.keep("next", &answered);
    assert!(site.connects("pump-7") && site.connects("next"));
}
