//! Cases that are data: bytes sent, bytes expected. The files are in `tests/flows`.

use std::collections::HashMap;

use serde::Deserialize;

use crate::support::client::DEADLINE;
use crate::support::hex::{bytes, show};
use crate::support::{Bystander, Connect, TestClient, TestGateway, V3_1_1, V5, Version};

/// One bad packet of a connected client; `reason` lists the codes that DISCONNECT may carry, `|` between them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Malformed {
    name: String,
    clause: String,
    send: String,
    #[serde(default)]
    reason: String,
}

/// One bad CONNECT; `code` lists the codes that CONNACK may carry, and is empty where there must be no answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadConnect {
    name: String,
    clause: String,
    send: String,
    code: String,
}

/// Steps of named clients: `a > bytes` sends, `a < bytes | bytes` expects one of these packets, `a < 20 *` expects any
/// packet that begins so, `a !` expects the end of the connection. A client that begins again opens a new connection.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flow {
    name: String,
    clause: String,
    steps: Vec<String>,
}

fn codes(text: &str) -> Vec<u8> {
    text.split('|')
        .filter(|code| !code.is_empty())
        .map(|code| bytes(code)[0])
        .collect()
}

/// Runs every case, and shows all that fail together.
fn run_all<T>(
    cases: &[T],
    name: impl Fn(&T) -> String,
    mut run: impl FnMut(&T) -> Result<(), String>,
) {
    let faults: Vec<_> = cases
        .iter()
        .filter_map(|case| {
            run(case)
                .err()
                .map(|fault| format!("{}: {fault}", name(case)))
        })
        .collect();
    assert!(
        faults.is_empty(),
        "{} of {} cases:\n{}",
        faults.len(),
        cases.len(),
        faults.join("\n")
    );
}

#[track_caller]
fn malformed(version: Version, file: &str) {
    let cases: Vec<Malformed> = serde_json::from_str(file).expect("the cases");
    let gateway = TestGateway::start();
    let mut bystander = Bystander::new(&gateway);
    run_all(
        &cases,
        |case| format!("{} [{}]", case.name, case.clause),
        |case| {
            let mut client = gateway.connect(&Connect::new(version, "malformed")).0;
            client.hex(&case.send);
            let answer = client.try_raw_packet(DEADLINE);
            let closed = match &answer {
                Ok(Some(_)) => client.try_raw_packet(DEADLINE) == Ok(None),
                _ => true,
            };
            bystander.is_served();
            let allowed = codes(&case.reason);
            match answer? {
                None if version == V5 => Err("closed without a word".to_owned()),
                Some(found) if version != V5 => Err(format!("answered with {}", show(&found))),
                Some(found) if found[0] != 0xE0 || found.len() < 3 => {
                    Err(format!("answered with {}", show(&found)))
                }
                Some(found) if !allowed.contains(&found[2]) => {
                    Err(format!("reason {:02X}", found[2]))
                }
                Some(_) if !closed => Err("not closed".to_owned()),
                _ => Ok(()),
            }
        },
    );
}

/// MQTT-4.13.1-1
#[test]
fn malformed_packets_of_version_5_are_answered_by_disconnect() {
    malformed(V5, include_str!("../../flows/malformed_v5.json"));
}

/// MQTT-4.8.0-1 of MQTT 3.1.1: the connection is closed, and nothing else happens.
#[test]
fn malformed_packets_of_version_3_1_1_close_the_connection() {
    malformed(V3_1_1, include_str!("../../flows/malformed_v3_1_1.json"));
}

/// MQTT-3.1.4-1
#[test]
fn malformed_connects_are_refused() {
    let cases: Vec<BadConnect> =
        serde_json::from_str(include_str!("../../flows/malformed_connect.json"))
            .expect("the cases");
    let gateway = TestGateway::start();
    let mut bystander = Bystander::new(&gateway);
    run_all(
        &cases,
        |case| format!("{} [{}]", case.name, case.clause),
        |case| {
            let mut client = gateway.open(V5);
            client.hex(&case.send);
            let answer = client.try_raw_packet(DEADLINE);
            let closed = match &answer {
                Ok(Some(_)) => client.try_raw_packet(DEADLINE) == Ok(None),
                _ => true,
            };
            bystander.is_served();
            let allowed = codes(&case.code);
            match answer? {
                Some(found) if found[0] != 0x20 || found.len() < 4 => {
                    Err(format!("answered with {}", show(&found)))
                }
                Some(found) if !allowed.contains(&found[3]) => {
                    Err(format!("code {:02X}", found[3]))
                }
                Some(found) if found[2] != 0 => Err("a session is present".to_owned()),
                Some(_) if !closed => Err("not closed".to_owned()),
                _ => Ok(()),
            }
        },
    );
}

#[test]
fn flows_have_their_bytes() {
    let flows: Vec<Flow> =
        serde_json::from_str(include_str!("../../flows/flow.json")).expect("the flows");
    run_all(
        &flows,
        |flow| format!("{} [{}]", flow.name, flow.clause),
        run_flow,
    );
}

fn run_flow(flow: &Flow) -> Result<(), String> {
    let gateway = TestGateway::start();
    let mut clients: HashMap<&str, TestClient> = HashMap::new();
    for step in &flow.steps {
        let (name, rest) = step
            .split_once(' ')
            .ok_or("a step begins with the name of a client")?;
        let client = clients.entry(name).or_insert_with(|| gateway.open(V5));
        match rest.split_at(1) {
            (">", sent) => client.hex(sent),
            ("<", expected) => {
                let found = client
                    .try_raw_packet(DEADLINE)
                    .map_err(|fault| format!("`{step}`: {fault}"))?;
                let found = found.ok_or(format!("`{step}`: the connection was closed"))?;
                if !expected.split('|').any(|each| fits(each, &found)) {
                    return Err(format!("`{step}`: found {}", show(&found)));
                }
            }
            ("!", _) => {
                match client.try_raw_packet(DEADLINE) {
                    Ok(None) => {}
                    Ok(Some(found)) => return Err(format!("`{step}`: found {}", show(&found))),
                    Err(fault) => return Err(format!("`{step}`: {fault}")),
                }
                clients.remove(name);
            }
            _ => return Err(format!("`{step}` is no step")),
        }
    }
    Ok(())
}

fn fits(expected: &str, found: &[u8]) -> bool {
    match expected.split_once('*') {
        Some((start, "")) => found.starts_with(&bytes(start)),
        _ => found == bytes(expected),
    }
}
