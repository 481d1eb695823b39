//! Changing the configuration while clients are served.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::command::run_on;
use crate::support::{TestClient, TestGateway, V5};

fn ports(binds: &[&str], more: &str) -> String {
    let mut text =
        format!("{more}\n[admin]\nhttp = \"127.0.0.1:0\"\n[[listener]]\nname = \"test\"\n");
    for bind in binds {
        text.push_str(&format!(
            "[[listener.port]]\nport = 0\nbind = \"{bind}\"\nauthentication = \"none\"\nauthorization = \"none\"\n"
        ));
    }
    text
}

/// The client is still served.
#[track_caller]
fn assert_served(client: &mut TestClient) {
    assert!(client.ping().is_empty());
}

#[test]
fn ports_open_and_close_and_the_others_keep_their_clients() {
    let Some(mut gateway) = TestGateway::configured(&ports(&["127.0.0.1"], "")) else {
        return;
    };
    let before = gateway.address();
    let mut client = gateway.v5("stays");

    gateway.write_config(&ports(&["127.0.0.1", "127.0.0.2"], ""));
    gateway.signal(Signal::SIGHUP);
    gateway.await_notification("READY=1");
    gateway.refresh_addresses();
    assert_eq!(gateway.address(), before, "the socket stays");
    assert_served(&mut client);
    let mut other = TestClient::new(TcpStream::connect(gateway.address_of(1)).unwrap(), V5);
    other.connect(&crate::support::Connect::new(V5, "other"));

    gateway.write_config(&ports(&["127.0.0.1"], ""));
    gateway.signal(Signal::SIGHUP);
    gateway.await_notification("READY=1");
    other.expect_disconnect(0x98);
    assert_served(&mut client);
}

/// The limit of the system follows `connections_max`, as far as the process may raise it.
#[test]
fn more_connections_get_more_descriptors() {
    let limits = |max: u32| {
        ports(
            &["127.0.0.1"],
            &format!("[limits]\nconnections_max = {max}"),
        )
    };
    let Some(mut gateway) = TestGateway::configured(&limits(20)) else {
        return;
    };
    let pid = gateway.pid().to_string();
    let lowered = Command::new("prlimit")
        .args(["--nofile=100:", "--pid", &pid])
        .status()
        .expect("prlimit of util-linux");
    assert!(lowered.success());
    gateway.write_config(&limits(300));
    gateway.signal(Signal::SIGHUP);
    gateway.await_notification("READY=1");
    let now = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = now.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.unwrap().split_whitespace().nth(3).unwrap();
    assert!(soft.parse::<u32>().unwrap() > 300, "{soft} descriptors");
}

#[test]
fn changed_file_is_noticed_without_being_told() {
    let Some(mut gateway) = TestGateway::configured(&ports(&["127.0.0.1"], "")) else {
        return;
    };
    gateway.write_config(&ports(&["127.0.0.1", "127.0.0.2"], ""));
    gateway.await_notification("RELOADING=1");
    gateway.await_notification("READY=1");
    gateway.refresh_addresses();
    TcpStream::connect(gateway.address_of(1)).unwrap();
}

#[test]
fn fragment_in_conf_d_is_merged() {
    let Some(mut gateway) = TestGateway::configured(&ports(&["127.0.0.1"], "")) else {
        return;
    };
    fs::create_dir(gateway.path("conf.d")).unwrap();
    fs::write(
        gateway.path("conf.d/10-log.toml"),
        "[log]\nlevel = \"debug\"\n",
    )
    .unwrap();
    gateway.await_notification("RELOADING=1");
    gateway.await_notification("READY=1");
    let status = gateway.control("status");
    assert_eq!(status["configuration"]["last_reload"]["outcome"], "applied");
    assert_eq!(
        status["configuration"]["last_reload"]["changes"][0],
        "[log] changes"
    );
    assert_eq!(
        status["configuration"]["sources"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn command_waits_and_says_what_changed() {
    let Some(gateway) = TestGateway::configured(&ports(&["127.0.0.1"], "")) else {
        return;
    };
    let state = gateway.path("state");

    let said = run_on(&state, &["reload"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert!(
        said.stdout.contains("says what it said before"),
        "{}",
        said.stdout
    );

    // The gateway may notice a change before the command asks: another one, then.
    let (bind, said) = (2..20)
        .map(|number| {
            let bind = format!("127.0.0.{number}");
            let limits = format!("[limits]\nreceive_maximum = {number}\n");
            gateway.write_config(&ports(&["127.0.0.1", &bind], &limits));
            (bind, run_on(&state, &["reload"]))
        })
        .find(|(_, said)| !said.stdout.contains("says what it said before"))
        .expect("the command comes first once");
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let opens = format!("port {bind}:0 of test opens");
    assert!(said.stdout.contains(&opens), "{}", said.stdout);
    assert!(said.stdout.contains("[limits] changes"), "{}", said.stdout);
}

#[test]
fn bad_file_changes_nothing_and_is_reported_everywhere() {
    let Some(mut gateway) = TestGateway::configured(&ports(&["127.0.0.1"], "")) else {
        return;
    };
    let state = gateway.path("state");
    let mut client = gateway.v5("stays");

    gateway.write_config(&ports(
        &["127.0.0.1", "127.0.0.2"],
        "[limits]\nreceive_maximun = 7\n",
    ));
    let said = run_on(&state, &["reload"]);
    assert_eq!((said.code, said.stdout.as_str()), (78, ""));
    assert!(said.stderr.contains("receive_maximun"), "{}", said.stderr);
    assert!(said.stderr.contains("receive_maximum"), "{}", said.stderr);

    assert_served(&mut client);
    gateway.refresh_addresses();
    let status = gateway.control("status");
    assert_eq!(status["ports"].as_array().unwrap().len(), 1);
    assert_eq!(status["configuration"]["last_reload"]["outcome"], "refused");
    assert_eq!(status["alarms"][0]["name"], "configuration-refused");
    assert_eq!(status["readiness"]["ready"], true);
    assert!(
        run_on(&state, &["status"])
            .stdout
            .contains("refused, the old configuration stays in force")
    );
    assert!(
        gateway.log().contains("receive_maximun"),
        "{}",
        gateway.log()
    );

    gateway.write_config(&ports(&["127.0.0.1"], ""));
    assert_eq!(run_on(&state, &["reload"]).code, 0);
    assert!(
        gateway.control("status")["alarms"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    assert_served(&mut client);
}

#[test]
fn file_that_goes_away_is_refused() {
    let Some(gateway) = TestGateway::configured(&ports(&["127.0.0.1"], "")) else {
        return;
    };
    fs::remove_file(gateway.path("gateway.toml")).unwrap();
    let said = run_on(&gateway.path("state"), &["reload"]);
    assert_eq!(said.code, 78, "{}", said.stdout);
    assert_eq!(
        gateway.control("status")["ports"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn admin_address_moves() {
    let Some(gateway) = TestGateway::configured(&ports(&["127.0.0.1"], "")) else {
        return;
    };
    let config = ports(&["127.0.0.1"], "").replace("127.0.0.1:0\"", "127.0.0.2:0\"");
    gateway.write_config(&config);
    assert_eq!(run_on(&gateway.path("state"), &["reload"]).code, 0);
    let address = gateway.await_status(|status| {
        let address = status["admin"]["address"].as_str()?;
        (status["admin"]["state"] == "listening" && address.starts_with("127.0.0.2:"))
            .then(|| address.to_owned())
    });
    TcpStream::connect(address).unwrap();
}
