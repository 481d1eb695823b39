//! What is written down, and in which form.

use serde_json::Value;

use crate::support::TestGateway;

/// A gateway that was started with arguments and variables, and to which a client has said something forbidden.
fn gateway(args: &[&str], variables: &[(&'static str, &str)], log: &str) -> Option<TestGateway> {
    let config = format!(
        "[log]\n{log}\n[[listener]]\nname = \"test\"\n[[listener.port]]\nport = 0\nbind = \"127.0.0.1\"\n\
         authentication = \"none\"\nauthorization = \"none\"\n"
    );
    let mut gateway = TestGateway::unstarted(&config)?;
    for arg in args {
        gateway.add_arg(*arg);
    }
    for (name, value) in variables {
        gateway.add_variable(name, *value);
    }
    gateway.run();
    let mut client = gateway.v5("pump-7");
    client.send([0x36, 0x00]);
    client.expect_disconnect(0x81);
    client.expect_closed();
    Some(gateway)
}

#[test]
fn json_has_one_object_for_each_line() {
    for (args, log) in [
        (&["--log-format", "json"][..], ""),
        (&[], "format = \"json\""),
    ] {
        let Some(gateway) = gateway(args, &[], log) else {
            return;
        };
        let text = gateway.log();
        let entries: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect();
        let fault = entries
            .iter()
            .find(|entry| entry["client_id"] == "pump-7")
            .expect("the fault is logged");
        assert_eq!(fault["port"], "127.0.0.1:0");
        assert!(
            fault["clause"]
                .as_str()
                .is_some_and(|clause| clause.contains("3.3.1")),
            "{fault}"
        );
        assert_eq!(fault["level"], "INFO");
    }
}

#[test]
fn lines_of_text_are_plain_when_nobody_looks() {
    let Some(gateway) = gateway(&[], &[], "") else {
        return;
    };
    let text = gateway.log();
    assert!(text.contains("client_id=\"pump-7\""), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn level_of_the_configuration_and_filter_of_the_environment() {
    let Some(quiet) = gateway(&[], &[], "level = \"error\"") else {
        return;
    };
    assert_eq!(quiet.log(), "");
    let Some(filtered) = gateway(
        &[],
        &[("FIELDGATE_LOG", "fieldgate=info")],
        "level = \"error\"",
    ) else {
        return;
    };
    assert!(filtered.log().contains("pump-7"), "{}", filtered.log());
}

#[test]
fn what_cannot_be_had_is_warned_about_and_starts_all_the_same() {
    let Some(gateway) = gateway(&[], &[("FIELDGATE_LOG", "fieldgate=shout")], "") else {
        return;
    };
    assert!(
        gateway.log().contains("FIELDGATE_LOG is not a filter"),
        "{}",
        gateway.log()
    );
    if !std::path::Path::new("/run/systemd/journal/socket").exists() {
        let Some(gateway) = self::gateway(&["--log-format", "journald"], &[], "") else {
            return;
        };
        assert!(
            gateway.log().contains("the journal cannot be reached"),
            "{}",
            gateway.log()
        );
    }
}
