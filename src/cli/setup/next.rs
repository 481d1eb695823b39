//! What to do after a setup.

use std::net::IpAddr;
use std::path::Path;

use fieldgate::config::{GatewayName, SetupPort, SetupTls};

use super::{Outcome, shown};
use crate::cli::Output;

/// Prints lines to paste and where to go on.
pub(super) fn print(outcome: &Outcome, main: &Path, output: &mut Output) {
    output.line("");
    if let (Some(user), Some(port)) = (&outcome.user, &outcome.port) {
        paste(user, port, outcome.password_file.as_deref(), output);
    } else if outcome.port.is_none() {
        output.line(
            "No port was opened. A port asks for users where its authentication has methods = [\"password\"]; see config/examples.",
        );
        output.line("");
    }
    output.line("What comes next:");
    for (command, what) in [
        ("fieldgate user add NAME", "makes another user"),
        ("fieldgate user list", "shows who there is"),
        ("fieldgate check", "says whether the configuration is right"),
        ("fieldgate status", "shows how the gateway fares"),
        (
            "fieldgate audit",
            "shows who has logged in and who was refused",
        ),
        ("journalctl -u fieldgate -f", "shows the log as it comes"),
    ] {
        output.line(format!("  {command:<28}{what}"));
    }
    output.line(format!(
        "The configuration is {}, with the files of conf.d beside it",
        shown(main)
    ));
}

/// Lines for a shell that show whether it works: one that receives and one that sends.
fn paste(user: &str, port: &SetupPort, password_file: Option<&Path>, output: &mut Output) {
    let host = host(port);
    let name = quoted(user);
    let mut common = format!("-V 5 -h {host} -p {} -u {name}", port.port);
    if port.tls.is_some() {
        common.push_str(" --cafile ca.crt");
    }
    let password = match password_file {
        Some(path) => format!("\"$(cat {})\"", quoted(&path.display().to_string())),
        None => "\"$(cat)\"".to_owned(),
    };
    if matches!(port.tls, Some(SetupTls::Automatic(_))) {
        output.line("What clients have to trust, when the gateway has taken the port into use:");
        output
            .line("  fieldgate ca export-root ca.crt     (--qr shows it to the camera of a phone)");
    }
    output.line("To see whether it works, in one terminal:");
    let topic = |end: &str| quoted(&format!("{user}/{end}"));
    let id = |end: &str| quoted(&format!("{user}-{end}"));
    output.line(format!(
        "  mosquitto_sub {common} -P {password} -i {} -t {} -v",
        id("sub"),
        topic("#")
    ));
    output.line("and in another:");
    output.line(format!(
        "  mosquitto_pub {common} -P {password} -i {} -t {} -m hello",
        id("pub"),
        topic("greeting")
    ));
    if password_file.is_none() {
        output.line("Each waits for the password: type it, then Enter and Ctrl-D");
    }
    output.line(match port.tls {
        Some(SetupTls::Automatic(_)) => {
            "ca.crt is the root of the gateway's own authority; copy it to the clients"
        }
        Some(SetupTls::Files(_)) => "ca.crt is the authority that has issued the certificate of the port",
        None => {
            "The port has no TLS, so passwords travel in clear text: write tls = { mode = \"Automatic\" } outside of a network of your own"
        }
    });
    output.line("");
}

/// Where clients find the port.
fn host(port: &SetupPort) -> String {
    let bind = port.bind.as_deref().and_then(|bind| bind.parse().ok());
    match bind {
        Some(address) if !IpAddr::is_unspecified(&address) => address.to_string(),
        Some(_) | None => GatewayName::of_this_machine().to_string(),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_safe_to_paste() {
        assert_eq!(quoted("press-1"), "press-1");
        assert_eq!(quoted("a b;'rm"), "'a b;'\\''rm'");
        assert_eq!(quoted(""), "''");
    }
}
