//! The real binary takes a configuration from a boot partition, and serves with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::command::{Said, fieldgate};
use crate::support::{Connect, TestGateway, V5};

const CONFIG: &str = r#"
[[listener]]
name = "hall"

[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "people"
authorization = "none"

[authentication.people]
methods = ["password"]

[admin]
http = "127.0.0.1:0"
"#;

fn card(gateway: &TestGateway, name: &str, content: &str) {
    let folder = gateway.path("boot/fieldgate");
    fs::create_dir_all(&folder).expect("make a card");
    fs::write(folder.join(name), content).expect("write to the card");
}

/// Imports into the folders of a gateway that is not running.
fn import(gateway: &TestGateway) -> Said {
    let etc = gateway.path("gateway.toml");
    // As the service has it; what the gateway is to read is readable none the less.
    Command::new("sh")
        .args(["-c", "umask 077; exec \"$0\" \"$@\""])
        .arg(fieldgate().get_program())
        .args(["import", "boot"])
        .arg(gateway.path("boot"))
        .arg("--etc-dir")
        .arg(etc.parent().unwrap_or(Path::new("/")))
        .arg("--state-dir")
        .arg(gateway.path("state"))
        .output()
        .expect("run the binary")
        .into()
}

#[test]
fn user_of_the_card_logs_in_with_the_configuration_of_the_card() {
    let Some(mut gateway) = TestGateway::unstarted("# as delivered\n") else {
        return;
    };
    card(&gateway, "gateway.toml", &CONFIG.replace('\n', "\r\n"));
    card(&gateway, "users", "press-1:correct horse\r\n");
    fs::create_dir_all(gateway.path("boot/fieldgate/tls")).expect("a folder on the card");
    card(&gateway, "tls/clients.pem", "none yet\n");
    let said = import(&gateway);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
    assert_eq!(
        said.stdout,
        "Taken from the boot partition: gateway.toml, tls/clients.pem, users\n"
    );
    assert!(!gateway.path("boot/fieldgate/users").exists());
    for (name, mode) in [
        ("tls", 0o755),
        ("tls/clients.pem", 0o644),
        ("gateway.toml", 0o644),
    ] {
        let found = fs::metadata(gateway.path(name)).expect("it is installed");
        assert_eq!(found.permissions().mode() & 0o777, mode, "{name}");
    }
    let again = import(&gateway);
    assert_eq!(again.stdout, "There is nothing new on the boot partition\n");
    gateway.run();
    for (password, code) in [("correct horse", 0), ("wrong horse", 0x86)] {
        let mut client = gateway.open(V5);
        let connect = Connect::new(V5, "press-1")
            .username("press-1")
            .password(password.as_bytes());
        client.send(connect.encode());
        if code == 0 {
            assert_eq!(client.connack().code, 0);
        } else {
            client.expect_refused(code);
        }
    }
    // A gateway that runs has its database to itself, and nothing of the card is taken meanwhile.
    card(&gateway, "users", "press-2:correct horse\n");
    let said = import(&gateway);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.stderr.contains("in use by another gateway"),
        "{said:?}"
    );
}

#[test]
fn faults_end_with_78_and_are_told_in_the_words_of_check() {
    let Some(gateway) = TestGateway::unstarted("# as delivered\n") else {
        return;
    };
    let wrong = CONFIG.replace("\"people\"\n", "\"persons\"\n");
    card(&gateway, "gateway.toml", &wrong);
    let said = import(&gateway);
    assert_eq!(said.code, 78, "{said:?}");
    assert!(said.stderr.contains("gateway.toml:8"), "{said:?}");
    let errors = gateway.path("boot/fieldgate/errors.txt");
    let errors = fs::read_to_string(errors).expect("a note on the card");
    assert!(errors.contains("gateway.toml:8"), "{errors}");
    assert!(errors.contains("\r\n"), "{errors}");
    let kept = fs::read_to_string(gateway.path("gateway.toml")).expect("the old one");
    assert!(kept.starts_with("# as delivered"), "{kept}");
}

#[test]
fn status_tells_that_the_card_was_refused() {
    let Some(mut gateway) = TestGateway::unstarted(CONFIG) else {
        return;
    };
    card(&gateway, "gateway.toml", "nonsense = true\n");
    assert_eq!(import(&gateway).code, 78);
    gateway.run();
    let status = gateway.control("status");
    assert_eq!(status["alarms"][0]["name"], "boot-import", "{status}");
}
